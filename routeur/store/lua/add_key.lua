-- ARGV[5]: a key's hash; ARGV[6]: the key as JSON, after 1 if it is disabled, else 0.

if call('HSETNX', ROOT .. ':keys', ARGV[5], ARGV[6]) == 0 then
  return 0
end
local version = call('HINCRBY', ROOT .. ':meta', 'version', 1)
call('HSET', ROOT .. ':accounts', ARGV[5], packed({0, 0, 0, 0, 0, 0, 0, 0, 0}))
call('ZADD', ROOT .. ':keys:order', version, ARGV[5])
call('ZADD', ROOT .. ':keys:versions', version, ARGV[5])
return 1
