package store

import (
	"context"

	"github.com/hearthstore/hearth"
)

// ProbeChannel returns a channel of a node's own that is where the channels of a partition's rooms are.
func (s *Store) ProbeChannel(partition int, node string) string { return s.keys.probe(partition, node) }

// Heads returns where the logs of rooms stand, which are of one partition: zero where there is no session.
func (s *Store) Heads(ctx context.Context, rooms []string) ([]hearth.Cursor, error) {
	if len(rooms) == 0 {
		return nil, nil
	}
	keys := make([]string, len(rooms))
	for i, room := range rooms {
		keys[i] = s.keys.state(room)
	}
	r, err := s.run(ctx, verbHeads, keys)
	if err != nil {
		return nil, readError(err)
	}
	out := make([]hearth.Cursor, len(rooms))
	for i := range out {
		out[i] = hearth.Cursor{Epoch: r.str(3 * i), Seq: uint64(r.num(3*i + 1)), Nonce: r.str(3*i + 2)}
	}
	return out, nil
}

// Rewound says that the change at was heard and that the store seems to have lost it, as a failover to a replica that
// lagged does. If that is so, and the log still is of that epoch, the session goes on in an empty log under another epoch,
// with seqs beyond all that were given, and began is true: every cursor into the old one is void. If not, or there is no
// session any more, nothing is done; so it may be repeated, and called by every node that finds out.
func (s *Store) Rewound(ctx context.Context, room string, at hearth.Cursor) (began bool, err error) {
	r, err := s.call(ctx, verbRewound, s.keys.room(room),
		room, hearth.NewNonce(), at.Epoch, int64(at.Seq), at.Nonce, hearth.NewEpoch())
	return err == nil && r.num(0) == 1, err
}
