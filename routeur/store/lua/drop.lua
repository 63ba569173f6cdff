-- Forget the response ARGV[5], if it is the owner's ARGV[6].

local owner, _, size = about(ARGV[5])
if owner ~= ARGV[6] then
  return 0
end
drop(ARGV[5], size)
return 1
