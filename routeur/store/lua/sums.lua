-- Sums of calls by hour, key, provider and model, in one hash for a key's day, and one for all
-- keys. A row: requests, those of unknown price, micro-dollars, and the buckets.

local ROW_MICRO, ROW_TOKENS = 3, 4
local sums = {}

local function plus(row, more, sign)
  for i = 1, #more do
    row[i] = (row[i] or 0) + sign * more[i]
  end
end

local function add_sums(group, row, sign)
  local name = packed(group)
  sums[name] = sums[name] or {group = group, row = {}}
  plus(sums[name].row, row, sign)
end

local function add(group, row)
  local it = account(group[2])
  if it then
    roll(it)
    charge(it, row[ROW_MICRO])
    changed[group[2]] = true
  end
  add_sums(group, row, 1)
end

-- Take back what was booked for a silent call, if anything, as so much is booked instead; returns the
-- windows that it counts in.
local function undo(id, instead)
  local name = ROOT .. ':expired:' .. id
  local found = call('GET', name)
  if found then
    local group, when, row = unpack(unpacked(found))
    call('DEL', name)
    local it = account(group[2])
    if it then
      roll(it)
      take_back(it, row[ROW_MICRO], instead, unpack(when))
      changed[group[2]] = true
    end
    add_sums(group, row, -1)
    return when
  end
end

local function keep_row(name, field, row)
  local known = call('HGET', name, field)
  local all = known and unpacked(known) or {}
  plus(all, row, 1)
  call('HSET', name, field, packed(all))
end

local function keep_sums()
  local totals, days = {}, {}
  for _, each in pairs(sums) do
    local hour, key, provider, model = unpack(each.group)
    local day, field = floor(hour / 86400), packed({hour, provider, model})
    keep_row(ROOT .. ':usage:' .. day .. ':' .. key, field, each.row)
    totals[field] = totals[field] or {day = day, row = {}}
    plus(totals[field].row, each.row, 1)
    days[day] = true
  end
  for field, each in pairs(totals) do
    keep_row(ROOT .. ':total:' .. each.day, field, each.row)
  end
  for day in pairs(days) do
    call('ZADD', ROOT .. ':days', day, day)
  end
end
