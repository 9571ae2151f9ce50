-- Remember what became of a request, unless its key is another's by now. It may be nobody's:
-- Redis may have lost it while the request was answered.
-- KEYS: the key. ARGV: digest of the request, token, the sealed answer or nothing, for how many
-- milliseconds.

local token = redis.call('HGET', KEYS[1], 't')
if token and token ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'd', ARGV[1], 't', ARGV[2], 's', 'done', 'a', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
