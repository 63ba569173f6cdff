-- The key ARGV[5] is gone. Its version stays, so that everybody learns of that.

if call('HDEL', ROOT .. ':keys', ARGV[5]) == 0 then
  return 0
end
call('HDEL', ROOT .. ':accounts', ARGV[5])
call('ZREM', ROOT .. ':keys:order', ARGV[5])
call('ZADD', ROOT .. ':keys:versions', call('HINCRBY', ROOT .. ':meta', 'version', 1), ARGV[5])
return 1
