-- Replace the response ARGV[5] of ARGV[6], if its version is still ARGV[9], by one of the time
-- ARGV[7] with the body ARGV[8]. Returns its new version, or nothing.

local owner, version = about(ARGV[5])
if owner ~= ARGV[6] or version ~= tonumber(ARGV[9]) then
  return false
end
return put(ARGV[5], ARGV[6], ARGV[7], ARGV[8])
