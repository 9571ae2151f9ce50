-- Forget an idempotency key, if it is still the asker's.
-- KEYS: the key. ARGV: token.

if redis.call('HGET', KEYS[1], 't') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
