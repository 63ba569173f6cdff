-- Requests and tokens of the last minute: windows.py says how they are counted. Here, a slot is a
-- quarter of a second of the clock, and a field of the window: its requests, tokens and last moment,
-- and the number of the next slot, 0 if there is none. The field `sums` has those of all slots, the
-- first slot's number, and the last moments of all and of the first.

local WINDOW, SLOT, AHEAD = 60000, 250, 1000 -- milliseconds
local REQUESTS, TOKENS, LAST, NEXT = 1, 2, 3, 4
local windows = {}

-- Brings the slot of a moment, too.
local function window(name, at)
  local it = windows[name]
  if not it then
    local key, number = ROOT .. ':window:' .. name, floor(at / SLOT)
    local found = call('HMGET', key, 'sums', number)
    local sums = found[1] and unpacked(found[1]) or {0, 0}
    it = {key = key, requests = sums[1], tokens = sums[2], first = sums[3], last = sums[4],
      oldest = sums[5], slots = {[number] = found[2] and unpacked(found[2])}, touched = {}}
    windows[name] = it
  end
  return it
end

local function slot(it, number)
  local known = it.slots[number]
  if known == nil then
    local found = call('HGET', it.key, number)
    known = found and unpacked(found)
    it.slots[number] = known
  end
  return known
end

local function count(it, number, requests, tokens)
  local found = slot(it, number)
  found[REQUESTS], found[TOKENS] = found[REQUESTS] + requests, found[TOKENS] + tokens
  it.requests, it.tokens = it.requests + requests, it.tokens + tokens
  it.touched[number], it.changed = true, true
end

-- What is later than now was counted by a clock that is lost.
local function forget(it, now)
  if it.last and (it.last + WINDOW <= now or it.last > now + AHEAD) then
    call('DEL', it.key)
    it.requests, it.tokens, it.first, it.last, it.oldest = 0, 0, nil, nil, nil
    it.slots, it.touched, it.changed = {}, {}, false
  end
  while it.last and it.oldest + WINDOW <= now do
    local gone = slot(it, it.first)
    call('HDEL', it.key, it.first)
    it.slots[it.first], it.touched[it.first] = false, nil
    it.requests, it.tokens = it.requests - gone[REQUESTS], it.tokens - gone[TOKENS]
    it.first, it.changed = gone[NEXT], true
    it.oldest = slot(it, it.first)[LAST]
  end
end

local function fits(limit, used, wanted)
  return limit < 0 or used <= 0 or used + wanted <= limit
end

-- Milliseconds until there is room; 0: there is.
local function wait(it, rpm, tpm, wanted, now)
  local requests, tokens, when, at = it.requests, it.tokens, now, it.first or 0
  while at > 0 and not (fits(rpm, requests, 1) and fits(tpm, tokens, wanted)) do
    local gone = slot(it, at)
    requests, tokens = requests - gone[REQUESTS], tokens - gone[TOKENS]
    when, at = gone[LAST] + WINDOW, gone[NEXT]
  end
  return when - now
end

-- Count one request; returns when it counts as made.
local function enter(it, wanted, now)
  now = max(now, it.last or 0)
  local number = floor(now / SLOT)
  if not slot(it, number) then
    it.slots[number], it.is_new = {0, 0, now, 0}, true
    if it.last then
      local before = floor(it.last / SLOT)
      slot(it, before)[NEXT], it.touched[before] = number, true
    end
  end
  count(it, number, 1, wanted)
  it.slots[number][LAST], it.last, it.first = now, now, it.first or number
  if it.first == number then
    it.oldest = now
  end
  return now
end

local function move(name, more, at, calls)
  local it = (more ~= 0 or calls ~= 0) and window(name, at)
  if it and slot(it, floor(at / SLOT)) then
    count(it, floor(at / SLOT), calls, more)
  end
end

local function keep_windows()
  for _, it in pairs(windows) do
    if it.changed then
      local fields = {'sums', packed({it.requests, it.tokens, it.first, it.last, it.oldest})}
      for number in pairs(it.touched) do
        fields[#fields + 1] = number
        fields[#fields + 1] = packed(it.slots[number])
      end
      call('HSET', it.key, unpack(fields))
    end
    if it.is_new then
      call('PEXPIRE', it.key, WINDOW + SLOT + AHEAD)
    end
  end
end
