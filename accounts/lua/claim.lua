-- Say who builds the budgets that are unknown, for five seconds.
-- KEYS: the budgets. ARGV: a token of the asker's own, clock.
-- Returns {now, claims}: of each 0 if it is known, 1 if it is the asker's to build, 2 if
-- somebody else is building it. From a claim on, what is settled is kept beside.

local BUILD_US = 5000000
local token, now = ARGV[1], clock(tonumber(ARGV[2]))
local claims = {}

for index, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'w', 'bt')
  if state[1] then
    claims[index] = 0
  elseif state[2] and now < tonumber(state[2]) then
    claims[index] = 2
  else
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if string.sub(field, 1, 2) == 'e:' then
        redis.call('HDEL', key, field)
      end
    end
    redis.call('HSET', key, 'b', token, 'bt', now + BUILD_US)
    redis.call('PEXPIRE', key, KEPT_MS)
    claims[index] = 1
  end
end

return { now, claims }
