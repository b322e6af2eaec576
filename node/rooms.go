package node

import (
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// Room returns the state of a room's session; live is false if it has none.
func (n *Node) Room(ctx context.Context, c *Caller) (ses hearth.Session, live bool, err error) {
	if err := n.allow(c, auth.Read); err != nil {
		return hearth.Session{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	ses, err = n.store.Room(ctx, c.Room)
	if hearth.ReasonOf(err) == hearth.ReasonNoSession {
		return hearth.Session{}, false, nil
	}
	return ses, err == nil, err
}

// Rooms returns a page of live rooms and the cursor of the next ("" after the last). Only a server may list them.
func (n *Node) Rooms(ctx context.Context, p *auth.Principal, limit int, cursor string) ([]hearth.Session, string, error) {
	if err := n.roles.Allow(p, "", "", auth.Read); err != nil {
		return nil, "", err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return n.store.Rooms(ctx, cursor, limit)
}

// End ends the room's session for all, who are told text, and returns its id.
func (n *Node) End(ctx context.Context, c *Caller, text string) (session string, err error) {
	w, err := n.writer(c, auth.EndRoom)
	if err != nil {
		return "", err
	}
	if err := hearth.CheckText("reason", text, hearth.MaxReasonLen); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return n.store.End(ctx, c.Room, w, text)
}
