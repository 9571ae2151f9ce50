-- What is used of each limit. Reserves nothing.
-- KEYS: one per limit. ARGV: length of a slot (0 for concurrency) of each; then clock.
-- Returns {now, used, newest}, the newest slot in use being 0 where there is none.

local now = clock(tonumber(ARGV[#ARGV]))
local used, newest = {}, {}

for index, key in ipairs(KEYS) do
  local slot_us = tonumber(ARGV[index])
  if slot_us == 0 then
    used[index], newest[index] = open_leases(key, now), 0
  else
    local total, slot = turn(key, slot_us, now)
    used[index], newest[index] = total, newest_in_use(key, slot)
  end
end

return { now, used, newest }
