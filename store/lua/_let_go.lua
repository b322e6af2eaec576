-- What goes with a peer that has left: its place among waiters, its entries, its locks. held is what W has of it. Needs _record.
-- include: _emits _time _lock _entry _meta
local keys, locks = {}, {}
for _, member in ipairs(held) do
  local kind, name = string.match(member, '^[^/]+/(.)/(.*)$')
  if kind == 'q' then
    unqueue(name, peer)
  elseif kind == 'k' then
    keys[#keys + 1] = name
  else
    locks[#locks + 1] = name
  end
end
discard(keys, 'owner_left')
for _, name in ipairs(locks) do free(lock_of(name), 'released') end
