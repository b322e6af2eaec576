-- What the change after one has: a second change of a script derives its nonce from the first. Needs _event.
coming, nonce = num(seq + 1), ARGV[2] .. composed
