package node

import (
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// What Return finds if there is nothing to come back to.
var (
	ErrAbsent   = store.ErrAbsent   // the peer is no member, or another user's
	ErrTimedOut = store.ErrTimedOut // it was one until it timed out not long ago
)

// Return gives a 100ms client its membership back: such a client knows that it has joined, and neither joins nor listens
// again when it comes back. Of q only Room, Peer and Meet count. Nobody sees anything of it, and nothing happens if the
// peer is no member or is another user's. From Member.Begin on the sink is sent the leaves that it may have missed, the
// peers, the entries that it watches, and the changes after them.
//
// Such a client takes for gone whomever a second list has not, so the list is of all peers. In a large room there is none:
// of who comes and goes there the client isn't told while it is connected either.
func (n *Node) Return(ctx context.Context, p *auth.Principal, q JoinParams, sink Sink) (*Member, error) {
	if q.Peer == "" {
		q.Peer = p.Peer
	}
	if id, err := wantedPeer(p, q.Peer); err != nil || id != q.Peer || hearth.CheckName("room_id", q.Room) != nil {
		return nil, ErrAbsent // the join says why
	}
	q.Implicit = true
	r := store.JoinRequest{
		Room: q.Room, Peer: hearth.Peer{ID: q.Peer, User: p.User, Role: p.Role}, KeepName: true, KeepData: true,
		Conn: hearth.NewConnSecret(), Implicit: true, Return: true,
	}
	m, err := n.admit(ctx, p, &q, &r, sink)
	if err != nil {
		return nil, err
	}
	m.back = true
	return m, nil
}

// missedLeaves returns the leaves that a peer which has come back may have missed and may see.
func (m *Member) missedLeaves() []*change {
	var out []*change
	for _, text := range m.Welcome.Left {
		c, err := m.node.parse(text)
		if err != nil {
			m.node.log.Error("a change in the log is malformed", "room", m.room, "error", err)
			continue
		}
		if m.view.sees(c) == whole {
			out = append(out, c)
		}
	}
	return out
}

// Supersede makes way for another membership by the same socket, which the peer has asked for although it has one: join is
// called while nothing that ends the old one is acted upon. If it succeeds the old one is over, and the store knows.
func (m *Member) Supersede(join func() error) error {
	m.Hold()
	if err := join(); err != nil {
		m.Release()
		return err
	}
	m.mu.Lock()
	m.ending = nil
	m.mu.Unlock()
	m.stop()
	return nil
}
