-- What is known about the response ARGV[5], and its body.

return {call('HGET', ROOT .. ':kept:about', ARGV[5]), call('HGET', ROOT .. ':kept', ARGV[5])}
