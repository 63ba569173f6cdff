-- The record of the key ARGV[5], its account, and when that is looked at.

local record = call('HGET', ROOT .. ':keys', ARGV[5])
local account = call('HGET', ROOT .. ':accounts', ARGV[5])
return record and account and {record, account, format('%.6f', wall)} or {}
