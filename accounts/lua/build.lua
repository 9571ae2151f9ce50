-- Make budgets known: what the ledger has, and what was settled since they were claimed.
-- KEYS: the budgets. ARGV: the token of the claim; then of each budget its newest window, 1 if
-- it is rolling, how many figures follow, and those: a window and what was spent in it.
-- Returns of each 1, or 0 where the claim is no longer the asker's.

local token, at, built = ARGV[1], 2, {}

local function build(key, window, rolling, figures)
  local spent = 0
  for index = 1, figures do
    local slot, amount = ARGV[at + 2 * index + 1], tonumber(ARGV[at + 2 * index + 2])
    amount = amount + tonumber(redis.call('HGET', key, 'e:' .. slot) or 0)
    redis.call('HDEL', key, 'e:' .. slot)
    spent = spent + amount
    if rolling and amount > 0 then
      redis.call('HSET', key, 'c:' .. slot, amount)
    end
  end
  redis.call('HSET', key, 'w', window, 'spent', spent)
  redis.call('HDEL', key, 'b', 'bt')
  redis.call('PEXPIRE', key, KEPT_MS)
end

for index, key in ipairs(KEYS) do
  local figures = tonumber(ARGV[at + 2])
  built[index] = 0
  if redis.call('HGET', key, 'b') == token then
    build(key, ARGV[at], ARGV[at + 1] == '1', figures)
    built[index] = 1
  end
  at = at + 3 + 2 * figures
end

return built
