package node

import (
	"context"
	"errors"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/pubsub"
	"github.com/hearthstore/hearth/store"
)

// Resume is what a client that comes back knows.
type Resume struct {
	Session string        // that it was in
	At      hearth.Cursor // up to where it was given what it may see
}

// comeback is how a member came back.
type comeback struct {
	Resumed   bool // the membership was kept: nobody saw it leave
	Recovered bool // what was missed follows, all of it, instead of a snapshot

	from hearth.Cursor // what it is given begins there
	gap  *gap          // nil for none, and once it has been sent
}

// gap is what a member missed.
type gap struct {
	changes []*change
	reader  view // by which it is shown them
}

// enter runs the join script. Who resumes asks for no snapshot at first: most get what they missed from the log. If that
// can't be, the script runs once more, as a takeover by the same connection, and brings the snapshot of one seq. Whoever took
// the peer over or ended its membership in between came later, and that stands.
func (m *Member) enter(ctx context.Context, q *JoinParams, r *store.JoinRequest) error {
	if q.Resume != nil {
		r.Peers, r.Watch = 0, nil
	}
	ctx = m.node.counted(ctx, &Caller{Principal: m.principal})
	j, err := m.lease.join(ctx, m, r)
	if err != nil {
		return err
	}
	m.Welcome, m.from = &j, j.Cursor()
	m.Resumed = j.TakenOver
	if q.Resume == nil {
		return nil
	}
	same := q.Resume.Session == j.ID
	// A cursor from before the join is of an earlier membership, whose leave was seen. One of another epoch tells nothing.
	m.Resumed = j.TakenOver && same && (q.Resume.At.Epoch != j.Epoch || q.Resume.At.Seq >= j.OwnSeq)
	if same && q.Resume.At.Epoch == j.Epoch && m.recover(ctx, q.Resume.At) {
		return nil
	}
	r.Peers, r.Watch, r.Again = hearth.MaxSnapshotPeer, q.Listen, true
	if j, err = m.lease.join(ctx, m, r); err != nil {
		m.node.handOver(m.room, m.conn.Peer, m.conn.Secret) //nolint:contextcheck // it has to be repeated after ctx has ended
		if errors.Is(err, store.ErrSuperseded) {
			err = unavailable("the membership ended or was taken over meanwhile; join again", nil)
		}
		return err
	}
	m.from = j.Cursor()
	return nil
}

// recover reports whether the member can be given all that it missed, and gets that.
func (m *Member) recover(ctx context.Context, from hearth.Cursor) bool {
	n, j := m.node, m.Welcome
	// As whoever reads by its token does: it may not have been a member all the while.
	r := reader{view: n.readerView(m.principal, m.room, m.conn.Peer, m.view.keys), since: j.Cursor(), joined: j.OwnSeq}
	r.adopt(&j.Own)
	r.allPeers = m.view.allPeers
	r.free = n.roles.Allow(m.principal, m.room, j.Own.Role, auth.History) == nil
	missed, err := n.missed(ctx, &Caller{Principal: m.principal, Room: m.room}, &r, from)
	if err != nil {
		if !errors.Is(err, pubsub.ErrGone) {
			n.log.Warn("what a member missed can't be read", "room", m.room, "peer", m.conn.Peer, "error", err)
		}
		return false
	}
	m.Recovered, m.from, m.gap = true, from, &gap{missed, r.view}
	return true
}

// replay sends what was missed, and returns up to where that was. It doesn't count against the queue's bound: it answers
// the join, and the log bounds it.
func (m *Member) replay() hearth.Cursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys, allPeers := m.view.keys, m.view.allPeers // which the batch of the join may have changed since
	m.view = m.gap.reader
	at := m.from
	for _, c := range m.gap.changes {
		if m.over { // by one of them
			break
		}
		m.take(c, m.sink.Snapshot)
		at = c.Cursor
	}
	m.gap = nil
	m.view.roams, m.view.peer = false, m.conn.Peer // by its socket from here on
	m.view.keys, m.view.allPeers = keys, allPeers
	return at
}
