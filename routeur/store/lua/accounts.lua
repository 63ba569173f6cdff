-- What keys have used: accounts.py says how that is counted.

local USAGE, DAY, USAGE_DAILY, WEEK, USAGE_WEEKLY, MONTH, USAGE_MONTHLY, RESERVED, PARALLEL =
  1, 2, 3, 4, 5, 6, 7, 8, 9

local accounts, changed = {}, {}

-- Days, weeks and months since 1970. The month: http://howardhinnant.github.io/date_algorithms.html
local function periods(wall)
  local day = floor(wall / 86400)
  local since = day + 719468 -- days from 1 March of the year 0
  local era = floor(since / 146097)
  local rest = since - era * 146097
  local year = floor(
    (rest - floor(rest / 1460) + floor(rest / 36524) - floor(rest / 146096)) / 365)
  local of_year = rest - (365 * year + floor(year / 4) - floor(year / 100))
  local months = floor((5 * of_year + 2) / 153) -- since March
  return day, floor((day + 3) / 7), (year + era * 400 - 1970) * 12 + months + 2
end

local function account(hash)
  local known = accounts[hash]
  if known == nil then
    local found = hash and call('HGET', ROOT .. ':accounts', hash)
    known = found and unpacked(found) or false
    accounts[hash] = known
  end
  return known
end

local function roll(it)
  local day, week, month = periods(wall)
  if day > it[DAY] then
    it[DAY], it[USAGE_DAILY] = day, 0
  end
  if week > it[WEEK] then
    it[WEEK], it[USAGE_WEEKLY] = week, 0
  end
  if month > it[MONTH] then
    it[MONTH], it[USAGE_MONTHLY] = month, 0
  end
end

local function charge(it, micro)
  for _, each in ipairs({USAGE, USAGE_DAILY, USAGE_WEEKLY, USAGE_MONTHLY}) do
    it[each] = it[each] + micro
  end
end

local function take_back(it, micro, instead, day, week, month)
  it[USAGE] = it[USAGE] - micro
  it[USAGE_DAILY] = it[USAGE_DAILY] - (day == it[DAY] and micro or instead)
  it[USAGE_WEEKLY] = it[USAGE_WEEKLY] - (week == it[WEEK] and micro or instead)
  it[USAGE_MONTHLY] = it[USAGE_MONTHLY] - (month == it[MONTH] and micro or instead)
end

local function keep_accounts()
  for hash in pairs(changed) do
    call('HSET', ROOT .. ':accounts', hash, packed(accounts[hash]))
  end
end
