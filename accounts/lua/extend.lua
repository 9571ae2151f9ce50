-- Hold more in all budgets, or in none.
-- KEYS: the budgets. ARGV: of each as in budgets.lua; then what is held, how much more, lease,
-- clock. Returns 1 if it is held, 0 if a hard budget has no room, -2 if one is unknown.
-- An empty lease asks which it would be, and holds nothing.

local held, more = tonumber(ARGV[#ARGV - 3]), tonumber(ARGV[#ARGV - 2])
local lease, now = ARGV[#ARGV - 1], clock(tonumber(ARGV[#ARGV]))
local at = 1

for _, key in ipairs(KEYS) do
  local b
  b, at = budget_at(key, at, now)
  if not open_budget(b, now) then
    return -2
  end
  local own = tonumber(redis.call('HGET', key, 'h:' .. lease) or 0)
  if b.hard and b.spent + b.reserved - own + held + more > b.amount then
    return 0
  end
end

if lease == '' then
  return 1
end
for _, key in ipairs(KEYS) do
  take_hold(key, lease, held + more, now)
end
return 1
