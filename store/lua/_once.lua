-- The memory of a write's op_id. Needs _event. ARGV[7]: op ('' for none). `first` is the first result of this op_id, if it was
-- done before. Else `remember`, if there is an op_id, keeps its result: it writes, so it is called after all checks.
local OP, first, remember = ARGV[7], nil, nil
if OP ~= '' then
  -- include: _op
end
