package node

import (
	"context"

	"github.com/hearthstore/hearth"
)

// probes returns channels on which this node hears itself, one a partition: a cluster's servers have different ones.
func (n *Node) probes() []string {
	process := hearth.NewEpoch() // this one, not the next of the same ID
	out := make([]string, n.store.Partitions())
	for p := range out {
		out[p] = n.store.ProbeChannel(p, process)
	}
	return out
}

// rewound is called by the hub when the store has lost changes that were heard. Whichever node comes first has the session
// begin a new log; by that all nodes learn of it, and tell their members and streams.
func (n *Node) rewound(ctx context.Context, room string, at hearth.Cursor) error {
	ctx, cancel := within(ctx)
	defer cancel()
	began, err := n.store.Rewound(ctx, room, at)
	n.leaseOf(room).doubtful() // members and sockets may differ now
	if began {
		n.log.Warn("a session goes on in a new log", "room", room, "heard", at.Seq)
	}
	return err
}
