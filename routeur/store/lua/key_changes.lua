-- The version of now; and if it is not ARGV[5], the hashes of the keys that are newer, each with its
-- record. One that is gone has none.

local version, since = tonumber(call('HGET', ROOT .. ':meta', 'version') or 0), tonumber(ARGV[5])
local found = {version}
if version ~= since then
  since = version > since and since or 0 -- an older state was restored
  for _, hash in ipairs(
    call('ZRANGEBYSCORE', ROOT .. ':keys:versions', format('(%.0f', since), '+inf')) do
    found[#found + 1] = hash
    found[#found + 1] = call('HGET', ROOT .. ':keys', hash)
  end
end
return found
