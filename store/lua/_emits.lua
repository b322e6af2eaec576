-- _emit and _commit for scripts that may tell of several changes, or of none. Needs _event.
local committed = 0

local function emit(...)
  -- include: _emit(...)
  -- include: _next
end

local function commit(...)
  -- include: _commit(...)
  committed = composed
end

-- flush commits what has been emitted, if anything has: what the script met on its way that was over.
local function flush()
  if composed > committed then commit() end
end

-- refuse ends a script by a refusal. What it met on its way there that was over has ended all the same.
local function refuse(...)
  flush()
  return {...}
end
