-- Say whose an idempotency key is.
-- KEYS: the key. ARGV: digest of the request, a token of the asker's own, for how many
-- milliseconds the asker is believed to be alive, for how many the key is remembered.
-- Returns {state, answer}: `new` (it is the asker's now), `other` (it belongs to another
-- request), `running`, `lost` (who had it has not been heard of for too long), or `done`.

local known = redis.call('HMGET', KEYS[1], 'd', 's', 'u', 'a')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if not known[1] then
  redis.call('HSET', KEYS[1], 'd', ARGV[1], 't', ARGV[2], 's', 'running', 'u', now + ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return { 'new', '' }
end
if known[1] ~= ARGV[1] then
  return { 'other', '' }
end
if known[2] == 'done' then
  -- Versions before this one kept no answer where there was none.
  return { 'done', known[4] or '' }
end
return { now < tonumber(known[3]) and 'running' or 'lost', '' }
