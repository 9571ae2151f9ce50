-- Correct what was reserved, count what was spent, and end the leases.
-- KEYS: the limits on tokens and on concurrency, then the budgets. ARGV: how many limits; the
-- length of a slot of each (0 for concurrency); of each budget length of a slot and slots kept;
-- then of each limit its difference and the slot that was reserved; of each budget the window
-- that it was admitted in; then cost, whether it may have been told before, lease, clock.
-- Returns how many budgets had given the hold up already.

local cost, again = tonumber(ARGV[#ARGV - 3]), ARGV[#ARGV - 2] == '1'
local lease, now = ARGV[#ARGV - 1], clock(tonumber(ARGV[#ARGV]))
local limits, late = tonumber(ARGV[1]), 0
local budgets = #KEYS - limits
local told = 1 + limits + 2 * budgets

local function correct(key, difference, slot_us, reserved)
  local _, slot = turn(key, slot_us, now)
  if difference > 0 then
    add(key, slot, difference)
  elseif reserved > slot - RING and reserved <= slot then
    local held = tonumber(redis.call('HGET', key, reserved % RING) or 0)
    add(key, reserved, 0 - math.min(held, -difference))
  end
end

for index = 1, limits do
  local slot_us, at = tonumber(ARGV[1 + index]), told + 2 * index
  local difference = tonumber(ARGV[at - 1])
  if slot_us == 0 then
    redis.call('ZREM', KEYS[index], lease)
  elseif difference ~= 0 then
    correct(KEYS[index], difference, slot_us, tonumber(ARGV[at]))
  end
end

for index = 1, budgets do
  local key, at = KEYS[limits + index], limits + 2 * index
  local window = tonumber(ARGV[told + 2 * limits + index])
  local held = end_hold(key, lease)
  if not held and cost > 0 then
    late = late + 1
  end
  -- Told before and no hold left: it was counted then. If not, the ledger will tell.
  if cost > 0 and (held or not again) then
    spend(key, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), window, cost)
  end
end

return late
