-- Whether this Redis throws keys away when its memory is full. Returns its policy, or ''.

local info = redis.call('INFO', 'memory')
local policy = string.match(info, 'maxmemory_policy:([%w-]+)') or 'noeviction'
local most = tonumber(string.match(info, 'maxmemory:(%d+)') or 0)
return most > 0 and policy ~= 'noeviction' and policy or ''
