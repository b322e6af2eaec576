package node

import (
	"cmp"
	"context"
	"slices"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// ChangeRoles gives every peer of some roles another one, or asks them to take it; the caller too, if it has such a role,
// and that last, since it may need the old one. Each peer is a write of its own: who joins meanwhile is in it or not, and
// who has left is passed over. It takes no op_id, and need not: who has the role is left alone. Errors: as of SetRole;
// some peers may be changed then.
func (n *Node) ChangeRoles(ctx context.Context, c *Caller, roles []string, role string, force bool) error {
	switch {
	case len(roles) > hearth.MaxGroups:
		return hearth.Errorf(hearth.ReasonTooMany, "at most %d roles can be named", hearth.MaxGroups)
	case c.Op != "":
		return hearth.BadParams("op_id is not for many peers at once; without it, repeating is safe")
	}
	// The store decides again with each peer, but there may be none.
	if err := cmp.Or(n.allow(c, auth.ChangeRole), hearth.CheckName("role", role)); err != nil {
		return err
	}
	ctx = n.counted(ctx, c) // once, however many they are
	peers, err := n.ofRoles(ctx, c, roles)
	if err != nil {
		return err
	}
	for _, peer := range peers {
		if force {
			_, err = n.SetRole(ctx, c, peer, role)
		} else {
			err = n.AskRole(ctx, c, peer, role)
		}
		if err != nil && hearth.ReasonOf(err) != hearth.ReasonNotFound {
			return err
		}
	}
	return nil
}

// ofRoles returns the peers of some roles that the caller may know of, itself last.
func (n *Node) ofRoles(ctx context.Context, c *Caller, roles []string) (ids []string, err error) {
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	_, peers, err := n.store.Peers(ctx, c.Room, c.Session)
	if err != nil {
		return nil, err
	}
	itself := false
	for i := range peers {
		switch p := &peers[i]; {
		case !slices.Contains(roles, p.Role) || !c.sees(p):
		case p.ID == c.Conn.Peer:
			itself = true
		default:
			ids = append(ids, p.ID)
		}
	}
	if itself {
		ids = append(ids, c.Conn.Peer)
	}
	return ids, nil
}
