-- ARGV[5]: finished calls as JSON; then the trace of each, '' for none. A call's place is a member
-- of `settled`: its owner, a zero byte and its number.

local function release(id, charges)
  local held = held_as(id)
  if not held then
    return
  end
  let_go(id, held)
  local used, corrected = {[0] = 0}, {}
  for _, each in ipairs(charges) do
    local attempt, row = each[3], each[4]
    for i = ROW_TOKENS, #row do
      used[0] = used[0] + row[i]
      used[attempt] = (used[attempt] or 0) + row[i]
    end
  end
  for _, taken in ipairs(held[TAKEN]) do
    if not corrected[taken[1]] then
      corrected[taken[1]] = true
      correct(held, taken[1], used[taken[1]] or 0)
    end
  end
end

for i, done in ipairs(cjson.decode(ARGV[5])) do
  local place, id, key, ended_at, reserved, charges = unpack(done)
  if call('ZADD', ROOT .. ':settled', 0, place) == 1 then
    if reserved then
      release(id, charges)
      local spent = 0
      for _, each in ipairs(charges) do
        spent = spent + each[4][ROW_MICRO]
      end
      undo(id, spent)
    end
    for _, each in ipairs(charges) do
      add({floor(ended_at / 3600) * 3600, key, each[1], each[2]}, each[4])
    end
    local trace = ARGV[5 + i]
    if trace ~= '' and call('HSETNX', ROOT .. ':traces', id, trace) == 1 then
      call('ZADD', ROOT .. ':traces:ended', ended_at, id)
    end
  end
end
keep_accounts()
keep_windows()
keep_sums()
