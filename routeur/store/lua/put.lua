-- Set the value named ARGV[5] to ARGV[6], or remove it if ARGV[7] is 0; only if its version is
-- ARGV[8], if that is not ''. Returns its new version, or nothing. A value stands after its version
-- and a space.

local known = string.match(call('HGET', ROOT .. ':values', ARGV[5]) or '0 ', '^%d+')
if ARGV[8] ~= '' and ARGV[8] ~= known then
  return false
end
local version = call('HINCRBY', ROOT .. ':meta', 'values', 1)
if ARGV[7] == '0' then
  call('HDEL', ROOT .. ':values', ARGV[5])
  call('ZREM', ROOT .. ':values:names', ARGV[5])
else
  call('HSET', ROOT .. ':values', ARGV[5], format('%.0f ', version) .. ARGV[6])
  call('ZADD', ROOT .. ':values:names', 0, ARGV[5])
end
return version
