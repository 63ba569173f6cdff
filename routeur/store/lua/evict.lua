-- Forget responses from before ARGV[5], then the oldest until the rest has ARGV[6] bytes; not more
-- than ARGV[7]. Returns how many.

local left, gone = tonumber(call('HGET', ROOT .. ':meta', 'kept_size') or 0), 0
local oldest = call('ZRANGE', ROOT .. ':kept:times', 0, ARGV[7] - 1, 'WITHSCORES')
for i = 1, #oldest, 2 do
  if tonumber(oldest[i + 1]) >= tonumber(ARGV[5]) and left <= tonumber(ARGV[6]) then
    break
  end
  local _, _, size = about(oldest[i])
  drop(oldest[i], size)
  left, gone = left - size, gone + 1
end
return gone
