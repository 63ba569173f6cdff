-- A new connection of the owner ARGV[5]: what was sent on others is refused from now on. Returns
-- the version of what is kept here, and the connection's number. ARGV[6]: the version we know.

local version = call('HGET', ROOT .. ':meta', 'schema')
if not version then
  version = ARGV[6]
  call('HSET', ROOT .. ':meta', 'schema', version)
elseif tonumber(version) > tonumber(ARGV[6]) then
  return {version, '0'}
end
local number = format('%.0f', call('HINCRBY', ROOT .. ':meta', 'connection', 1))
call('HSET', ROOT .. ':connections', ARGV[5], number)
call('ZADD', ROOT .. ':owners', now, ARGV[5])
return {version, number}
