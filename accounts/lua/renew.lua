-- Prolong the lease of a request that is still running.
-- KEYS: its limits on concurrency. ARGV: lease, clock.

local now = clock(tonumber(ARGV[2]))
for _, key in ipairs(KEYS) do
  take_lease(key, ARGV[1], now)
end
