-- Nobody waits any more for the admission of the call ARGV[5], if that was its first attempt.

local held = held_as(ARGV[5])
if held and held[ATTEMPT] == 1 then
  let_go(ARGV[5], held)
  for _, taken in ipairs(held[TAKEN]) do
    move(taken[2], -taken[3], taken[4], -1)
  end
  keep_accounts()
  keep_windows()
end
