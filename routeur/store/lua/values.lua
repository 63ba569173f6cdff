-- Names from ARGV[5] until ARGV[6], as ZRANGEBYLEX wants them, and their values.

local found = {}
for _, name in ipairs(call('ZRANGEBYLEX', ROOT .. ':values:names', ARGV[5], ARGV[6])) do
  found[#found + 1] = name
  found[#found + 1] = call('HGET', ROOT .. ':values', name)
end
return found
