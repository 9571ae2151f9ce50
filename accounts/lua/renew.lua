-- Prolong the leases of a request that is still running, also where Redis has forgotten them.
-- KEYS: its limits on concurrency, then its budgets. ARGV: how many limits, what it holds of
-- each budget, lease, clock.

local limits, held = tonumber(ARGV[1]), tonumber(ARGV[2])
local lease, now = ARGV[3], clock(tonumber(ARGV[4]))
for index, key in ipairs(KEYS) do
  if index <= limits then
    take_lease(key, lease, now)
  else
    -- An extension may have overtaken it, so that more is held by now.
    local own = tonumber(redis.call('HGET', key, 'h:' .. lease) or 0)
    take_hold(key, lease, math.max(held, own), now)
  end
end
