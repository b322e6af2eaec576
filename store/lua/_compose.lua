-- How a change takes its seq and nonce and becomes text; hearth.Event says what the lines mean. For _emit and _tell. The body may
-- be given in three parts: a long text costs its length each time that it is made longer.
local text = coming .. ' ' .. nonce .. ' ' .. last .. ' ' .. epoch .. '\n'
  .. kind .. ' ' .. at .. ' ' .. peer .. ' ' .. conn .. ' ' .. audience .. '\n' .. extra .. '\n' .. body .. (more or '') .. (rest or '')
seq, seqtext, last = seq + 1, coming, nonce
composed = composed + 1
