-- One replica is alive, and this is what it has settled that the ledger does not have yet.
-- KEYS: the replicas by their last sign of life, this replica, when this Redis began to know
-- of any. ARGV: the replica's id, what it tells, clock.
-- Returns {now, born, how many replicas are alive}.

local ALIVE_US = 10000000
local now = clock(tonumber(ARGV[3]))

redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ALIVE_US)
redis.call('SET', KEYS[2], string.format('%.0f', now) .. ' ' .. ARGV[2], 'PX', ALIVE_US / 1000)
redis.call('SET', KEYS[3], string.format('%.0f', now), 'NX')
return { now, tonumber(redis.call('GET', KEYS[3])), redis.call('ZCARD', KEYS[1]) }
