-- What every script begins with.
--
-- KEYS[1] is what all names begin with. It holds the hash tag, so that a cluster keeps them in one
-- place. ARGV[1], ARGV[2]: Unix seconds and steady milliseconds, '' for this server's. ARGV[3],
-- ARGV[4]: an owner and the number of its connection. What is asked for begins with ARGV[5].

local ROOT = KEYS[1]
local call, floor, format, max = redis.call, math.floor, string.format, math.max
local packed, unpacked = cmsgpack.pack, cmsgpack.unpack

-- An owner has one connection. What was sent on the one before, and is read only now, was given up.
if ARGV[3] ~= '' and call('HGET', ROOT .. ':connections', ARGV[3]) ~= ARGV[4] then
  return redis.error_reply('FENCED this connection is not the latest of its owner')
end

local wall = tonumber(ARGV[1])
if not wall then
  local time = call('TIME')
  wall = time[1] + time[2] / 1e6
end

-- Whole numbers as text, to the last digit (Lua's own way keeps 14).
local function text(numbers)
  local parts = {}
  for i = 1, #numbers do
    parts[i] = format('%.0f', numbers[i])
  end
  return table.concat(parts, ' ')
end
