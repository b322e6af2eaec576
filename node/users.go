package node

import (
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// UserPeer is one place where a user is.
type UserPeer = store.UserPeer

// UserPeers returns where a user is, sorted by room and peer_id. Only a server may ask; one whose token is narrowed to a
// room is told of that one.
func (n *Node) UserPeers(ctx context.Context, p *auth.Principal, user string) ([]UserPeer, error) {
	if err := n.aboutUser(p, user, auth.Read); err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	return n.store.UserPeers(ctx, user, p.Room)
}

// Disconnect removes a user's peers from all rooms, or from the one that the caller's token is narrowed to, as Remove does
// one, and returns how many they were. Nothing keeps the user from joining again. If it fails, some may be removed: a
// repeat with the same op_id removes the others and counts all.
func (n *Node) Disconnect(ctx context.Context, p *auth.Principal, op, user, text string) (removed int, err error) {
	if err := n.aboutUser(p, user, auth.RemoveOthers); err != nil {
		return 0, err
	}
	if err := hearth.CheckOpID(op); err != nil {
		return 0, err
	}
	if err := hearth.CheckText("reason", text, hearth.MaxReasonLen); err != nil {
		return 0, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	peers, err := n.store.UserPeers(ctx, user, p.Room)
	if err != nil {
		return 0, err
	}
	last := ""
	for i := range peers {
		room := peers[i].Room
		if room == last {
			continue // sorted: all of a room go at once
		}
		last = room
		count, err := n.store.Disconnect(ctx, room, store.Writer{Key: p.AccessKey, Op: op}, user, text)
		if err != nil && hearth.ReasonOf(err) != hearth.ReasonNoSession {
			return removed, err
		}
		removed += count
	}
	return removed, nil
}

// aboutUser decides whether the caller may do what needs perm about a user, wherever it is.
func (n *Node) aboutUser(p *auth.Principal, user string, perm auth.Permission) error {
	if !p.Management {
		return hearth.Errorf(hearth.ReasonForbidden, "where a user is, is for servers to ask")
	}
	if err := n.roles.Allow(p, p.Room, "", perm); err != nil {
		return err
	}
	return hearth.CheckUser(user)
}
