-- What the scripts share about budgets. Needs windows.lua. Money is in nano-dollars.
-- A budget is a hash: w, its newest window; spent, in that window or in all slots of a rolling
-- one; c:<slot>, what each slot spent; reserved, the sum of all holds; h:<lease>, each of them;
-- e:<window>, what was settled while w was not known; b and bt, who is building it and until
-- when. A sorted set beside it says when each lease ends.
-- A budget without w is unknown, which is not zero.

local HOLD_US = 120000000
local KEPT_MS = 7 * 86400000
local FOREVER = 9007199254740991
-- Of each budget in ARGV: length of a slot (0: calendar), slots kept, four bounds, hard,
-- amount, raises; then of each raise: start, end, extra.
local PARTS = 9

-- The rule at this place of ARGV, and the place of the next.
local function budget_at(key, at, now)
  local b = { key = key, slot_us = tonumber(ARGV[at]), kept = tonumber(ARGV[at + 1]) }
  b.ends = FOREVER
  if b.slot_us > 0 then
    b.window = math.floor(now / b.slot_us)
  else
    local first = now < tonumber(ARGV[at + 3]) and 2 or now < tonumber(ARGV[at + 4]) and 3 or 4
    b.window, b.ends = tonumber(ARGV[at + first]), tonumber(ARGV[at + first + 1])
  end
  b.hard, b.amount = ARGV[at + 6] == '1', tonumber(ARGV[at + 7])
  local raises = tonumber(ARGV[at + 8])
  for index = 0, raises - 1 do
    local from = at + PARTS + 3 * index
    if tonumber(ARGV[from]) <= now and now < tonumber(ARGV[from + 1]) then
      b.amount = b.amount + tonumber(ARGV[from + 2])
    end
  end
  return b, at + PARTS + 3 * raises
end

-- End a lease. Returns what it held, or nil if it has ended before.
local function end_hold(key, lease)
  redis.call('ZREM', key .. ':leases', lease)
  local held = redis.call('HGET', key, 'h:' .. lease)
  if not held then
    return nil
  end
  redis.call('HDEL', key, 'h:' .. lease)
  redis.call('HINCRBY', key, 'reserved', 0 - tonumber(held))
  return tonumber(held)
end

local function drop_ended(key, now)
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', key .. ':leases', '-inf', now)) do
    end_hold(key, lease)
  end
end

-- Take the lease, or prolong it. `amount` is what it holds in all from now on.
local function take_hold(key, lease, amount, now)
  local held = tonumber(redis.call('HGET', key, 'h:' .. lease) or 0)
  redis.call('HSET', key, 'h:' .. lease, amount)
  redis.call('HINCRBY', key, 'reserved', amount - held)
  redis.call('PEXPIRE', key, KEPT_MS)
  redis.call('ZADD', key .. ':leases', now + HOLD_US, lease)
  redis.call('PEXPIRE', key .. ':leases', 2 * KEPT_MS)
end

-- Drop the slots from `from` to `to`. Returns what was in them.
local function drop_slots(key, from, to)
  local fields, gone = {}, 0
  for slot = from, to do
    fields[#fields + 1] = 'c:' .. string.format('%.0f', slot)
  end
  if #fields > 0 then
    for _, amount in ipairs(redis.call('HMGET', key, unpack(fields))) do
      gone = gone + tonumber(amount or 0)
    end
    redis.call('HDEL', key, unpack(fields))
  end
  return gone
end

-- Go on to a later window.
local function rotate(b, newest)
  if b.slot_us > 0 then
    local last = math.min(newest, b.window - b.kept)
    b.spent = b.spent - drop_slots(b.key, newest - b.kept + 1, last)
    redis.call('HSET', b.key, 'w', b.window, 'spent', b.spent)
  else
    redis.call('HSET', b.key, 'w', b.window, 'spent', 0)
    b.spent = 0
  end
end

-- Drop what has ended and turn to the present window. False if the budget is unknown.
-- A clock that goes back stays in the newest window, so that nothing is forgotten.
local function open_budget(b, now)
  drop_ended(b.key, now)
  local state = redis.call('HMGET', b.key, 'w', 'spent', 'reserved')
  b.reserved = tonumber(state[3] or 0)
  if not state[1] then
    b.spent, b.window = 0, -1
    return false
  end
  local newest = tonumber(state[1])
  b.spent = tonumber(state[2] or 0)
  if b.window > newest then
    rotate(b, newest)
  else
    b.window = newest
  end
  return true
end

-- Count what was spent by a request that was admitted in `window`. Of one that is over only the
-- ledger tells.
local function spend(key, slot_us, kept, window, amount)
  local newest = tonumber(redis.call('HGET', key, 'w'))
  if not newest then
    redis.call('HINCRBY', key, 'e:' .. string.format('%.0f', window), amount)
    redis.call('PEXPIRE', key, KEPT_MS)
  elseif slot_us > 0 then
    if window > newest - kept then
      redis.call('HINCRBY', key, 'c:' .. string.format('%.0f', math.min(window, newest)), amount)
      redis.call('HINCRBY', key, 'spent', amount)
    end
  elseif window >= newest then
    redis.call('HINCRBY', key, 'spent', amount)
  end
end

-- When a refused budget is open again, in microseconds from now; 0 if never.
local function budget_wait(b, excess, now)
  if b.slot_us == 0 then
    return b.ends < FOREVER and math.max(b.ends - now, 1) or 0
  end
  local oldest, fields = b.window - b.kept + 1, {}
  for slot = oldest, b.window do
    fields[#fields + 1] = 'c:' .. string.format('%.0f', slot)
  end
  for index, amount in ipairs(redis.call('HMGET', b.key, unpack(fields))) do
    excess = excess - tonumber(amount or 0)
    if excess <= 0 then
      return (oldest + index - 1 + b.kept) * b.slot_us - now
    end
  end
  return (b.window + b.kept) * b.slot_us - now
end
