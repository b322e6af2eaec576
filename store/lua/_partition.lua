-- What scripts about a partition begin with: Redis's clock and numbers as text. Scripts about a room have _keys
-- and _event for that.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function num(n) return string.format('%.0f', n) end
