-- Correct what budgets have spent to what the ledger says.
-- KEYS: the lock, the budgets. ARGV: the token of the lock; of each 1 if it is rolling, the window that is meant, `raise` or
-- `lower`, an amount, and what is expected to be spent (-1: anything). Raises to the amount, or
-- lowers by it. Returns by how much each was moved: nothing where its window is another or
-- something else than expected is spent, and nowhere if the lock has passed to somebody else.

local function add_to(key, rolling, window, amount)
  if rolling then
    redis.call('HINCRBY', key, 'c:' .. window, amount)
  end
  redis.call('HINCRBY', key, 'spent', amount)
end

-- Of a rolling budget the newest slots go first: what is old leaves by itself.
local function lower(key, rolling, window, amount)
  if not rolling then
    redis.call('HINCRBY', key, 'spent', 0 - amount)
    return
  end
  local slot, left = tonumber(window), amount
  while left > 0 and slot > tonumber(window) - RING do
    local field = 'c:' .. string.format('%.0f', slot)
    local part = math.min(left, tonumber(redis.call('HGET', key, field) or 0))
    redis.call('HINCRBY', key, field, 0 - part)
    left, slot = left - part, slot - 1
  end
  redis.call('HINCRBY', key, 'spent', left - amount)
end

local is_holder = redis.call('GET', KEYS[1]) == ARGV[1]
local moved = {}
for index = 1, #KEYS - 1 do
  local key, at = KEYS[index + 1], 5 * index - 3
  local rolling, window = ARGV[at] == '1', ARGV[at + 1]
  local amount, expected = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local state = redis.call('HMGET', key, 'w', 'spent')
  local spent = tonumber(state[2] or 0)
  moved[index] = 0
  if is_holder and state[1] == window and (expected < 0 or expected == spent) then
    if ARGV[at + 2] == 'lower' then
      lower(key, rolling, window, math.min(amount, spent))
      moved[index] = 0 - math.min(amount, spent)
    elseif amount > spent then
      add_to(key, rolling, window, amount - spent)
      moved[index] = amount - spent
    end
  end
end

return moved
