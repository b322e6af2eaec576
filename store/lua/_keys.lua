-- What scripts about one room begin with. The names of keys are defined by store.roomKeys, which says what is in each.

-- Numbers go into strings by this alone: real Redis prints 14 digits otherwise.
local function num(n) return string.format('%.0f', n) end
