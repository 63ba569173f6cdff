-- The owner ARGV[8] has ended, and all that it has booked is here.

local ended = end_calls(ARGV[8], tonumber(ARGV[5]))
forget_owner(ARGV[8])
keep_accounts()
keep_sums()
return ended
