-- Responses: their bodies in one hash; in another the version, size, time and owner of each, as
-- text; and their times in order.

local function about(id)
  local found = call('HGET', ROOT .. ':kept:about', id)
  if found then
    local version, size, owner = string.match(found, '^(%d+) (%d+) %S+ (.*)$')
    return owner, tonumber(version), tonumber(size)
  end
end

local function put(id, owner, at, body)
  local _, _, size = about(id)
  local version = call('HINCRBY', ROOT .. ':meta', 'kept', 1)
  call('HSET', ROOT .. ':kept:about', id,
    text({version, #body}) .. ' ' .. at .. ' ' .. owner)
  call('HSET', ROOT .. ':kept', id, body)
  call('ZADD', ROOT .. ':kept:times', at, id)
  call('HINCRBY', ROOT .. ':meta', 'kept_size', #body - (size or 0))
  return version
end

local function drop(id, size)
  call('HDEL', ROOT .. ':kept', id)
  call('HDEL', ROOT .. ':kept:about', id)
  call('ZREM', ROOT .. ':kept:times', id)
  call('HINCRBY', ROOT .. ':meta', 'kept_size', -size)
end
