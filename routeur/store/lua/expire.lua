-- End the calls of other owners that were silent for ARGV[8] milliseconds; returns how many.

local ended, at_most = 0, tonumber(ARGV[5])
local before = format('(%.0f', now - tonumber(ARGV[8]))
for _, owner in ipairs(call('ZRANGEBYSCORE', ROOT .. ':owners', '-inf', before)) do
  if owner ~= ARGV[3] and ended < at_most then
    ended = ended + end_calls(owner, at_most - ended)
  end
end
before = format('(%.0f', now - EXPIRY * 1000)
for _, owner in ipairs(call('ZRANGEBYSCORE', ROOT .. ':owners', '-inf', before)) do
  if owner ~= ARGV[3] and ended < at_most then
    forget_owner(owner)
  end
end
keep_accounts()
keep_sums()
return ended
