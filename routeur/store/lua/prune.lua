-- Forget traces of calls that ended before ARGV[5], and all but the last ARGV[6], but not more than
-- ARGV[7]; returns how many.

local name, at_most = ROOT .. ':traces:ended', tonumber(ARGV[7])
local many = max(call('ZCARD', name) - tonumber(ARGV[6]), call('ZCOUNT', name, '-inf', '(' .. ARGV[5]))
if many > at_most then
  many = at_most
end
for _, id in ipairs(many > 0 and call('ZRANGE', name, 0, many - 1) or {}) do
  call('HDEL', ROOT .. ':traces', id)
  call('ZREM', name, id)
end
return max(many, 0)
