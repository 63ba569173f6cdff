-- ARGV[5]: a reservation as JSON, in the order in which it is taken apart here.

local SOON = 1000 -- milliseconds after which a call under way may have ended: nobody knows

local id, hash, micro, input, output, attempt, provider, model, wants, ended =
  unpack(cjson.decode(ARGV[5]))
local held, key, it, own = held_as(id), nil, nil, nil
local tokens = input + output

local function given(limit)
  return limit ~= cjson.null and limit or nil
end

-- What is neither spent nor reserved, nil without a limit.
local function budget()
  local sums = {daily = USAGE_DAILY, weekly = USAGE_WEEKLY, monthly = USAGE_MONTHLY}
  local limit = given(key.limit)
  return limit and limit - it[sums[key.limit_reset] or USAGE] - it[RESERVED]
end

local function over_budget()
  local left, mine = budget(), held and held[MICRO] or 0
  if left and micro > left + mine and not (held and micro <= mine) then
    return {'no', 'budget', text({max(left + mine, 0)}), given(key.limit_reset) or '', it[DAY],
      it[WEEK], it[MONTH], format('%.6f', wall)}
  end
end

-- Milliseconds to wait for a window, and what for.
local function full(name, rpm, tpm)
  local its = window(name, now)
  forget(its, now)
  local pause = wait(its, rpm, tpm, tokens, now)
  if pause > 0 then
    return pause, wait(its, rpm, -1, 0, now) > 0 and 'rpm' or 'tpm'
  end
end

local function refused()
  if key then
    local no = over_budget()
    if no then
      return no
    end
    if not held then
      if given(key.max_parallel) and it[PARALLEL] >= key.max_parallel then
        return {'no', 'parallel', SOON}
      end
      if own then
        local pause, what = full(unpack(own))
        if pause then
          return {'no', what, pause}
        end
      end
    end
  end
  local longest, no = 0, nil
  for _, want in ipairs(wants) do
    local pause, what = full(unpack(want))
    if pause and pause > longest then
      longest, no = pause, {'no', what, pause, want[1]}
    end
  end
  return no
end

local function take()
  if not held then
    held = {ARGV[3], hash, 0, 0, 0, 0, '', '', {}, false}
    call('ZADD', ROOT .. ':held:owners', 0, ARGV[3] .. '\0' .. id)
    if key then
      it[PARALLEL] = it[PARALLEL] + 1
      if own then
        held[TAKEN][1] = {0, own[1], tokens, enter(window(own[1], now), tokens, now)}
      end
    end
  end
  if key then
    it[RESERVED] = it[RESERVED] + micro - held[MICRO]
    changed[hash] = true
  end
  for _, each in ipairs(ended) do
    correct(held, each[1], each[2])
  end
  held[ATTEMPT], held[MICRO], held[INPUT], held[OUTPUT] = attempt, micro, input, output
  held[PROVIDER], held[MODEL] = provider, model
  for _, want in ipairs(wants) do
    local taken = held[TAKEN]
    taken[#taken + 1] = {attempt, want[1], tokens, enter(window(want[1], now), tokens, now)}
  end
  hold(id, held)
end

local function left()
  local answer = {'yes', '', '', ''}
  local micro = key and budget()
  if micro then
    answer[4] = text({max(micro, 0)})
  end
  if own then
    local its = window(own[1], now)
    forget(its, now)
    answer[2] = own[2] >= 0 and text({max(own[2] - its.requests, 0)}) or ''
    answer[3] = own[3] >= 0 and text({max(own[3] - its.tokens, 0)}) or ''
  end
  return answer
end

if hash then
  local record = call('HGET', ROOT .. ':keys', hash)
  key, it = record and cjson.decode(string.sub(record, 2)), account(hash)
  if not (key and it) or key.disabled or (given(key.expires_at) and wall >= key.expires_at) then
    return {'no', 'key'}
  end
  roll(it)
  if given(key.rpm) or given(key.tpm) then
    own = {'key ' .. hash, given(key.rpm) or -1, given(key.tpm) or -1}
  end
end
local answer = nil
if not held or held[ATTEMPT] < attempt then
  answer = refused()
  if not answer then
    take()
    keep_accounts()
  end
end
answer = answer or left()
keep_windows()
return answer
