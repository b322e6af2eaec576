-- The keys of a room, in the order in which store.keyspace.room gives them to every script about one room.
local S, C, P, M, L, OA, OB, E, DUE, ROOMS, K, Q, Z, W, X, V, R, USERS, SUMS, ENDED = unpack(KEYS)

-- Numbers go into strings by this alone: real Redis prints 14 digits otherwise.
local function num(n) return string.format('%.0f', n) end
