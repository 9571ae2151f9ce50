-- Who is alive, and what they have settled that the ledger does not have yet.
-- KEYS: the replicas by their last sign of life, when this Redis began to know of any.
-- ARGV: what the keys of replicas begin with, clock.
-- Returns {now, born, what each replica told last, or nothing}.

local told = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  told[#told + 1] = redis.call('GET', ARGV[1] .. id)
end
return { clock(tonumber(ARGV[2])), tonumber(redis.call('GET', KEYS[2]) or 0), told }
