-- Replace the record of the key ARGV[5], if it is still ARGV[6], by ARGV[7].

if call('HGET', ROOT .. ':keys', ARGV[5]) ~= ARGV[6] then
  return 0
end
call('HSET', ROOT .. ':keys', ARGV[5], ARGV[7])
call('ZADD', ROOT .. ':keys:versions', call('HINCRBY', ROOT .. ':meta', 'version', 1), ARGV[5])
return 1
