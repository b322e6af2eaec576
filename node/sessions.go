package node

import (
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// SessionFilter picks sessions; see store.SessionFilter.
type SessionFilter = store.SessionFilter

// Sessions returns a page of live and ended sessions and the cursor of the next ("" after the last). Who may see one room
// only, by its token, is shown that room's.
func (n *Node) Sessions(
	ctx context.Context, p *auth.Principal, f SessionFilter, limit int, cursor string,
) ([]hearth.Summary, string, error) {
	if f.Room == "" {
		f.Room = p.Room
	}
	if err := n.roles.Allow(p, f.Room, p.Role, auth.Read); err != nil {
		return nil, "", err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	if f.Room != "" {
		if err := hearth.CheckName("room_id", f.Room); err != nil {
			return nil, "", err
		}
	}
	ctx, cancel := n.within(ctx, &Caller{Principal: p})
	defer cancel()
	if err := n.store.Count(ctx, p.Room); err != nil {
		return nil, "", err
	}
	return n.store.Sessions(ctx, f, cursor, limit)
}

// Summary returns how a session is, or how it ended. Errors: not_found, also if it is of a room that the caller's token
// is not for.
func (n *Node) Summary(ctx context.Context, p *auth.Principal, session string) (hearth.Summary, error) {
	if err := n.roles.Allow(p, p.Room, p.Role, auth.Read); err != nil {
		return hearth.Summary{}, err
	}
	if err := hearth.CheckName("session_id", session); err != nil {
		return hearth.Summary{}, err
	}
	ctx, cancel := n.within(ctx, &Caller{Principal: p})
	defer cancel()
	if err := n.store.Count(ctx, p.Room); err != nil {
		return hearth.Summary{}, err
	}
	sum, err := n.store.Summary(ctx, session)
	if err == nil && p.CheckRoom(sum.Room) != nil {
		return hearth.Summary{}, hearth.Errorf(hearth.ReasonNotFound, "no such session, or its summary is not kept any more")
	}
	return sum, err
}
