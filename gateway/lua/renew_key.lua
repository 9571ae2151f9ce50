-- Tell that whoever has an idempotency key is alive, unless it is another's by now. If Redis has
-- lost it, it is theirs again.
-- KEYS: the key. ARGV: digest of the request, token, for how many milliseconds it is believed,
-- for how many the key is remembered.

local token = redis.call('HGET', KEYS[1], 't')
if token and token ~= ARGV[2] then
  return 0
end
if not token then
  redis.call('HSET', KEYS[1], 'd', ARGV[1], 't', ARGV[2], 's', 'running')
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'u', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3])
return 1
