-- What the scripts share. A window is a ring of slots: 60 of them are the window, and one
-- more is the oldest, which has partly left it and is counted whole. So no stretch of time as
-- long as the window ever holds more than the amount. Times are microseconds.

local RING = 61
local LEASE_US = 60000000

-- Redis's own clock, which all instances share. Tests pass one; 0 asks for the real one.
local function clock(override)
  if override > 0 then
    return override
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Drop the slots that have left the window. Returns what is used, and the present slot.
local function turn(key, slot_us, now)
  local slot = math.floor(now / slot_us)
  local state = redis.call('HMGET', key, 'total', 'slot')
  local total, last = tonumber(state[1] or 0), tonumber(state[2] or slot - RING)
  local passed = slot - last
  if passed == 0 then
    return total, slot
  end
  if passed < 0 and passed > -RING then
    -- The clock went back a little: stay in the newest slot, so that nothing is forgotten.
    return total, last
  end
  if math.abs(passed) >= RING then
    redis.call('DEL', key)
    total = 0
  else
    local places = {}
    for gone = last + 1, slot do
      places[#places + 1] = gone % RING
    end
    for _, amount in ipairs(redis.call('HMGET', key, unpack(places))) do
      total = total - tonumber(amount or 0)
    end
    redis.call('HDEL', key, unpack(places))
  end
  redis.call('HSET', key, 'total', total, 'slot', slot)
  redis.call('PEXPIRE', key, math.ceil(RING * slot_us / 1000))
  return total, slot
end

local function add(key, slot, amount)
  redis.call('HINCRBY', key, slot % RING, amount)
  redis.call('HINCRBY', key, 'total', amount)
end

-- The slots in use, the oldest first, as pairs of slot and amount.
local function slots_in_use(key, slot)
  local places, used = {}, {}
  for index = 1, RING do
    places[index] = (slot - RING + index) % RING
  end
  for index, amount in ipairs(redis.call('HMGET', key, unpack(places))) do
    if tonumber(amount or 0) > 0 then
      used[#used + 1] = { slot - RING + index, tonumber(amount) }
    end
  end
  return used
end

local function newest_in_use(key, slot)
  local used = slots_in_use(key, slot)
  return #used > 0 and used[#used][1] or 0
end

-- The moment, in microseconds from now, at which `excess` will have left the window.
local function wait_for(used, excess, slot, slot_us, now)
  for _, pair in ipairs(used) do
    excess = excess - pair[2]
    if excess <= 0 then
      return (pair[1] + RING) * slot_us - now
    end
  end
  return (slot + RING) * slot_us - now
end

local function open_leases(key, now)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return redis.call('ZCARD', key)
end

local function take_lease(key, lease, now)
  redis.call('ZADD', key, now + LEASE_US, lease)
  redis.call('PEXPIRE', key, LEASE_US / 1000)
end
