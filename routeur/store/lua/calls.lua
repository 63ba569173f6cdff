-- What calls under way hold: ledger.py says what is decided. A member of `held:owners` is the
-- owner, a zero byte and the call's id.

local OWNER, KEY, ATTEMPT, MICRO, INPUT, OUTPUT, PROVIDER, MODEL, TAKEN, SEEN =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10

local function held_as(id)
  local found = call('HGET', ROOT .. ':held', id)
  return found and unpacked(found)
end

local function hold(id, held)
  call('HSET', ROOT .. ':held', id, packed(held))
end

local function let_go(id, held)
  call('HDEL', ROOT .. ':held', id)
  call('ZREM', ROOT .. ':held:owners', held[OWNER] .. '\0' .. id)
  local it = account(held[KEY])
  if it then
    it[RESERVED], it[PARALLEL] = it[RESERVED] - held[MICRO], it[PARALLEL] - 1
    changed[held[KEY]] = true
  end
end

-- An attempt is over: its tokens in windows are now those that it has used.
local function correct(held, attempt, used)
  for _, taken in ipairs(held[TAKEN]) do
    if taken[1] == attempt then
      move(taken[2], used - taken[3], taken[4], 0)
      taken[3] = used
    end
  end
end
