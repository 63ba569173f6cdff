-- The time for windows that slide, in milliseconds: what has passed on this server's clock. When it
-- is set back, or another server takes over, the time stands still for that once.

local now = tonumber(ARGV[2])
if not now then
  local here = floor(wall * 1000)
  local last, steady = string.match(call('GET', ROOT .. ':clock') or '', '^(%d+) (%d+)$')
  now = steady and steady + max(here - last, 0) or here
  call('SET', ROOT .. ':clock', text({here, now}))
end
