-- Owners that have ended. ARGV[5]: how many calls at most; ARGV[6], ARGV[7]: how long a row of sums
-- is, and where output stands in it.

local EXPIRY = 30 * 86400 -- seconds for which somebody who was taken for dead may come back

-- Settle what an owner's calls hold, as seen or as reserved; returns how many that were.
local function end_calls(owner, at_most)
  local members = call('ZRANGEBYLEX', ROOT .. ':held:owners', '[' .. owner .. '\0',
    '(' .. owner .. '\1', 'LIMIT', 0, at_most)
  for _, member in ipairs(members) do
    local id = string.sub(member, #owner + 2)
    local held = held_as(id)
    let_go(id, held)
    local micro, output = held[MICRO], held[OUTPUT]
    if held[SEEN] then
      micro, output = unpack(held[SEEN])
    end
    local row = {1, 0, micro, held[INPUT]}
    for i = #row + 1, tonumber(ARGV[6]) do
      row[i] = 0
    end
    row[tonumber(ARGV[7])] = output
    local key = held[KEY] or ''
    local group = {floor(wall / 3600) * 3600, key, held[PROVIDER], held[MODEL]}
    local before = undo(id, micro) -- it came back, and is silent again
    add(group, row)
    local it = account(key)
    local when = before or it and {it[DAY], it[WEEK], it[MONTH]} or {periods(wall)}
    call('SET', ROOT .. ':expired:' .. id, packed({group, when, row}), 'EX', EXPIRY)
  end
  return #members
end

local function forget_owner(owner)
  call('ZREM', ROOT .. ':owners', owner)
  call('HDEL', ROOT .. ':connections', owner)
  call('ZREMRANGEBYLEX', ROOT .. ':settled', '[' .. owner .. '\0', '(' .. owner .. '\1')
end
