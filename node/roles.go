package node

import (
	"cmp"
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// SetRole gives a peer another role at once, which its user keeps for the session. It may be any name: one that the
// configuration doesn't know permits what it gives to those. Errors: not_found, and those of every write.
func (n *Node) SetRole(ctx context.Context, c *Caller, peer, role string) (hearth.Peer, error) {
	w, err := n.roleWriter(c, peer, role)
	if err != nil {
		return hearth.Peer{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.SetRole(ctx, c.Room, w, peer, role)
}

// AskRole asks a peer to take another role. Errors: as of SetRole.
func (n *Node) AskRole(ctx context.Context, c *Caller, peer, role string) error {
	w, err := n.roleWriter(c, peer, role)
	if err != nil {
		return err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.AskRole(ctx, c.Room, w, peer, role)
}

// roleWriter checks a call that changes a role and returns its fence. One's own role is no exception: nobody may do more
// because it wants to.
func (n *Node) roleWriter(c *Caller, peer, role string) (store.Writer, error) {
	w, err := n.writer(c, auth.ChangeRole)
	if err != nil {
		return store.Writer{}, err
	}
	return w, cmp.Or(hearth.CheckName("peer_id", peer), hearth.CheckName("role", role))
}

// AcceptRole makes the caller take the role that it was asked to take, by the token that the request had; by may be "".
// Errors: not_found if no such request stands, and those of every write.
func (n *Node) AcceptRole(ctx context.Context, c *Caller, by, role, token string) (hearth.Peer, error) {
	w, err := n.writer(c, "")
	if err != nil {
		return hearth.Peer{}, err
	}
	if w.Peer == "" {
		return hearth.Peer{}, hearth.BadParams("only the peer that was asked can accept")
	}
	if by != "" {
		if err := hearth.CheckName("requested_by", by); err != nil {
			return hearth.Peer{}, err
		}
	}
	if err := cmp.Or(hearth.CheckName("role", role), hearth.CheckText("token", token, hearth.MaxNameLen)); err != nil {
		return hearth.Peer{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.AcceptRole(ctx, c.Room, w, by, role, token)
}
