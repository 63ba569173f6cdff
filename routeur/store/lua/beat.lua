-- The owner is alive. ARGV[5], ARGV[6]: which of its places in `settled` are forgotten; ARGV[7]:
-- what its calls under way have cost so far, as JSON.

call('ZADD', ROOT .. ':owners', now, ARGV[3])
call('ZREMRANGEBYLEX', ROOT .. ':settled', ARGV[5], ARGV[6])
for _, each in ipairs(cjson.decode(ARGV[7])) do
  local id, micro, output = unpack(each)
  local held = held_as(id)
  if held then
    held[SEEN] = {micro, output}
    hold(id, held)
  end
end
