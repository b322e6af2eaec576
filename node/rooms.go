package node

import (
	"context"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// RoomState is how a room is.
type RoomState = store.RoomState

// Room returns what a room keeps beyond its sessions, and its session.
func (n *Node) Room(ctx context.Context, c *Caller) (RoomState, error) {
	if err := n.allow(c, auth.Read); err != nil {
		return RoomState{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.RoomState(ctx, c.Room)
}

// PutRoom changes what a room keeps beyond its sessions, for which nobody has to be in it.
func (n *Node) PutRoom(ctx context.Context, c *Caller, q hearth.RoomChange) (RoomState, error) {
	w, err := n.writer(c, auth.EndRoom)
	if err != nil {
		return RoomState{}, err
	}
	if err := q.Check(n.Limits()); err != nil {
		return RoomState{}, err
	}
	if q.Until != nil && *q.Until > time.Now().Add(hearth.MaxSettingTime).UnixMilli() {
		return RoomState{}, hearth.BadParams("until must be within a year")
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.PutRoom(ctx, c.Room, w, q)
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
	ctx, cancel := within(ctx)
	defer cancel()
	return n.store.Rooms(ctx, cursor, limit)
}

// End ends the room's session for all, who are told text, and returns its id. With shut the room takes no new peers for a
// day: see PutRoom.
func (n *Node) End(ctx context.Context, c *Caller, text string, shut bool) (session string, err error) {
	w, err := n.writer(c, auth.EndRoom)
	if err != nil {
		return "", err
	}
	if err := hearth.CheckText("reason", text, hearth.MaxReasonLen); err != nil {
		return "", err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	n.sweeper.expect(c.Room, 0) // to take its peers off the indexes
	if shut {
		return n.store.EndAndShut(ctx, c.Room, w, text, hearth.DefaultSettingTime)
	}
	return n.store.End(ctx, c.Room, w, text)
}
