-- Sums of the day ARGV[5]: of all keys, or of one, ARGV[6]; of one provider, ARGV[7], and of one
-- model, ARGV[8]; of hours from ARGV[9] until before ARGV[10]. Of these, '' is any, else a value
-- stands after '='. ARGV[11]: 'hour', or 'model' for each provider's. Returns triples: the hour or
-- provider, the model, and the row.

local first, last, by_hour = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] == 'hour'
local rows, names, found = {}, {}, {}

local function is(asked, value)
  return asked == '' or string.sub(asked, 2) == value
end

local name = ARGV[6] == '' and ':total:' .. ARGV[5]
  or ':usage:' .. ARGV[5] .. ':' .. string.sub(ARGV[6], 2)
local all = call('HGETALL', ROOT .. name)
for i = 1, #all, 2 do
  local hour, provider, model = unpack(unpacked(all[i]))
  if hour >= first and hour < last and is(ARGV[7], provider) and is(ARGV[8], model) then
    local pair = by_hour and {text({hour}), ''} or {provider, model}
    local id = #pair[1] .. ' ' .. pair[1] .. pair[2]
    rows[id], names[id] = rows[id] or {}, pair
    for at, each in ipairs(unpacked(all[i + 1])) do
      rows[id][at] = (rows[id][at] or 0) + each
    end
  end
end
for id, row in pairs(rows) do
  found[#found + 1] = names[id][1]
  found[#found + 1] = names[id][2]
  found[#found + 1] = packed(row)
end
return found
