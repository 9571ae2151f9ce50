-- Tell that whoever has an idempotency key is alive.
-- KEYS: the key. ARGV: token, for how many milliseconds.

if redis.call('HGET', KEYS[1], 't') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'u', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
return 1
