-- Check all limits, then reserve in all of them or in none.
-- KEYS: one per limit. ARGV: metric, amount and slot of each; then tokens, lease, clock.
-- Returns {refused, wait, now, used, newest}: the index of the limit that refuses for the
-- longest, or -1; what is used of each; the newest slot in use of each (0 for concurrency).

local tokens, lease = tonumber(ARGV[#ARGV - 2]), ARGV[#ARGV - 1]
local now = clock(tonumber(ARGV[#ARGV]))
local BUSY_US = 1000000

local used, newest, needs = {}, {}, {}
local refused, longest = -1, -1

for index, key in ipairs(KEYS) do
  local metric, amount = ARGV[3 * index - 2], tonumber(ARGV[3 * index - 1])
  local slot_us = tonumber(ARGV[3 * index])
  needs[index] = metric == 'tokens' and tokens or 1
  if metric == 'concurrency' then
    used[index], newest[index] = open_leases(key, now), 0
  else
    used[index], newest[index] = turn(key, slot_us, now)
  end
  local excess = used[index] + needs[index] - amount
  if excess > 0 then
    local wait = BUSY_US
    if metric ~= 'concurrency' then
      wait = wait_for(slots_in_use(key, newest[index]), excess, newest[index], slot_us, now)
    end
    if wait > longest then
      refused, longest = index - 1, wait
    end
  end
end

for index, key in ipairs(KEYS) do
  local leased = ARGV[3 * index - 2] == 'concurrency'
  if refused < 0 then
    used[index] = used[index] + needs[index]
    if leased then
      take_lease(key, lease, now)
    else
      add(key, newest[index], needs[index])
    end
  elseif not leased then
    newest[index] = newest_in_use(key, newest[index])
  end
end

return { refused, longest, now, used, newest }
