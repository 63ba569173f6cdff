-- One page of keys: ARGV[5] are left out, ARGV[6] follow, the oldest first; ARGV[7] is 1 if those
-- count that are disabled. Returns when this is, then each one's record and account.

local AT_ONCE = 500
local skip, size, all = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local start, found = 0, {format('%.6f', wall)}
if all then
  start, skip = skip, 0
end
while size > 0 do
  local hashes = call('ZRANGE', ROOT .. ':keys:order', start, start + AT_ONCE - 1)
  if #hashes == 0 then
    break
  end
  for i, record in ipairs(call('HMGET', ROOT .. ':keys', unpack(hashes))) do
    if size > 0 and (all or string.sub(record, 1, 1) == '0') then
      if skip > 0 then
        skip = skip - 1
      else
        found[#found + 1] = record
        found[#found + 1] = call('HGET', ROOT .. ':accounts', hashes[i])
        size = size - 1
      end
    end
  end
  start = start + AT_ONCE
end
return found
