-- Be the one who compares, for a while. A lock that is held already is prolonged.
-- KEYS: the lock. ARGV: a token of the asker's own, for how many milliseconds.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
