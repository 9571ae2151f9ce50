-- Correct what was reserved, and end the leases.
-- KEYS: the limits on tokens and on concurrency. ARGV: length of a slot (0 for concurrency)
-- and the slot that was reserved, of each; then the difference in tokens, lease, clock.

local difference, lease = tonumber(ARGV[#ARGV - 2]), ARGV[#ARGV - 1]
local now = clock(tonumber(ARGV[#ARGV]))

for index, key in ipairs(KEYS) do
  local slot_us, reserved = tonumber(ARGV[2 * index - 1]), tonumber(ARGV[2 * index])
  if slot_us == 0 then
    redis.call('ZREM', key, lease)
  elseif difference ~= 0 then
    local _, slot = turn(key, slot_us, now)
    if difference > 0 then
      add(key, slot, difference)
    elseif reserved > slot - RING and reserved <= slot then
      local held = tonumber(redis.call('HGET', key, reserved % RING) or 0)
      add(key, reserved, 0 - math.min(held, -difference))
    end
  end
end
