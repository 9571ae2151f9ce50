-- Remember what became of a request, if its key is still the asker's.
-- KEYS: the key. ARGV: token, the sealed answer or nothing, for how many milliseconds.

if redis.call('HGET', KEYS[1], 't') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 's', 'done')
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'a', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
