package node

import (
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// Broadcast sends a message. Its ID, if the caller gave one, is the op_id under which a repeat does nothing; else it is
// given one, which the caller finds in m. Errors: not_found if it is for a peer that isn't there, too_large, and those of
// every write.
func (n *Node) Broadcast(ctx context.Context, c *Caller, m *hearth.Message) (store.Sent, error) {
	if m.ID != "" {
		c.Op = m.ID
	}
	w, err := n.writer(c, auth.Broadcast)
	if err != nil {
		return store.Sent{}, err
	}
	if m.Message, err = hearth.CompactJSON("message", m.Message); err != nil {
		return store.Sent{}, err
	}
	if err := m.Check(n.Limits()); err != nil {
		return store.Sent{}, err
	}
	if m.ID == "" {
		if m.ID = w.Op; m.ID == "" {
			m.ID = hearth.NewMessageID()
		}
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Broadcast(ctx, c.Room, w, m)
}
