-- What is used of each limit and budget. Reserves nothing, but keeps what is known in memory.
-- KEYS: the limits, then the budgets. ARGV: how many limits; length of a slot (0 for
-- concurrency) of each; of each budget as in budgets.lua; then clock.
-- Returns {now, used, newest, spent, reserved, windows, amounts}. The newest slot in use is 0
-- where there is none; what is spent is -1 where it is unknown.

local now = clock(tonumber(ARGV[#ARGV]))
local limits = tonumber(ARGV[1])
local used, newest, spent, reserved, windows, amounts = {}, {}, {}, {}, {}, {}

for index = 1, limits do
  local key, slot_us = KEYS[index], tonumber(ARGV[index + 1])
  if slot_us == 0 then
    used[index], newest[index] = open_leases(key, now), 0
  else
    local total, slot = turn(key, slot_us, now)
    used[index], newest[index] = total, newest_in_use(key, slot)
  end
end

local at = limits + 2
for index = 1, #KEYS - limits do
  local b
  b, at = budget_at(KEYS[limits + index], at, now)
  local known = open_budget(b, now)
  if known then
    redis.call('PEXPIRE', b.key, KEPT_MS)
  end
  spent[index] = known and b.spent or -1
  reserved[index], windows[index], amounts[index] = b.reserved, b.window, b.amount
end

return { now, used, newest, spent, reserved, windows, amounts }
