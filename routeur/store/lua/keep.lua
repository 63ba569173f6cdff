-- Add or replace responses: from ARGV[5] on the id, owner, time and body of each.

for i = 5, #ARGV, 4 do
  local owner = about(ARGV[i])
  if not owner or owner == ARGV[i + 1] then
    put(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  end
end
