-- Check all limits and budgets, then reserve in all of them or in none.
-- KEYS: the limits, then the budgets. ARGV: how many limits; metric, amount and slot of each;
-- of each budget as in budgets.lua; then input tokens, output tokens, cost, requests, lease,
-- clock.
-- Returns {refused, wait, now, used, newest, spent, reserved, windows, amounts}. `refused` is
-- -1 (all reserved), -2 (a budget is unknown), or the index in KEYS, from 0, of what refuses:
-- an exhausted budget before anything else, else whatever refuses for the longest.
-- An empty lease asks what would be said: the answer is the same, and nothing is reserved.

local input, output = tonumber(ARGV[#ARGV - 5]), tonumber(ARGV[#ARGV - 4])
local cost, requests = tonumber(ARGV[#ARGV - 3]), tonumber(ARGV[#ARGV - 2])
local lease = ARGV[#ARGV - 1]
local now = clock(tonumber(ARGV[#ARGV]))
local BUSY_US = 1000000
local limits = tonumber(ARGV[1])

local used, newest, needs = {}, {}, {}
local refused, longest = -1, -1

local function need_of(metric)
  if metric == 'tokens' then
    return input + output
  elseif metric == 'input_tokens' then
    return input
  elseif metric == 'output_tokens' then
    return output
  end
  return metric == 'requests' and requests or 1
end

local function refuse(index, wait)
  if wait > longest then
    refused, longest = index - 1, wait
  end
end

for index = 1, limits do
  local key, at = KEYS[index], 3 * index - 1
  local metric, amount, slot_us = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  needs[index] = need_of(metric)
  if metric == 'concurrency' then
    used[index], newest[index] = open_leases(key, now), 0
  else
    used[index], newest[index] = turn(key, slot_us, now)
  end
  local excess = used[index] + needs[index] - amount
  if excess > 0 then
    if metric == 'concurrency' then
      refuse(index, BUSY_US)
    else
      refuse(index, wait_for(slots_in_use(key, newest[index]), excess, newest[index], slot_us, now))
    end
  end
end

local budgets, spent, reserved, windows, amounts = {}, {}, {}, {}, {}
local unknown, tightest, least = false, nil, 0
local at = 3 * limits + 2

for index = 1, #KEYS - limits do
  local b
  b, at = budget_at(KEYS[limits + index], at, now)
  unknown = not open_budget(b, now) or unknown
  budgets[index], spent[index], reserved[index] = b, b.spent, b.reserved
  windows[index], amounts[index] = b.window, b.amount
  if b.hard and cost > 0 and b.spent + b.reserved + cost > b.amount then
    if b.spent + cost <= b.amount then
      refuse(limits + index, BUSY_US)
    elseif not tightest or b.amount - b.spent < least then
      tightest, least = index, b.amount - b.spent
    end
  end
end

if unknown then
  refused, longest = -2, BUSY_US
elseif tightest then
  local b = budgets[tightest]
  refused = limits + tightest - 1
  longest = budget_wait(b, b.spent + cost - b.amount, now)
end

for index = 1, limits do
  local key, leased = KEYS[index], ARGV[3 * index - 1] == 'concurrency'
  if refused == -1 then
    used[index] = used[index] + needs[index]
    if lease == '' then
      -- Only asked for.
    elseif leased then
      take_lease(key, lease, now)
    else
      add(key, newest[index], needs[index])
    end
  elseif not leased then
    newest[index] = newest_in_use(key, newest[index])
  end
end

if refused == -1 then
  for index, b in ipairs(budgets) do
    if lease ~= '' then
      take_hold(b.key, lease, cost, now)
    end
    reserved[index] = reserved[index] + cost
  end
end

return { refused, longest, now, used, newest, spent, reserved, windows, amounts }
