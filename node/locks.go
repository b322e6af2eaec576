package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// Held is a holding of a lock as its holder is told of it.
type Held = store.Held

// AcquireParams is what a peer, or a server on its behalf, says when it takes a lock.
type AcquireParams struct {
	Lock string
	Peer string // the holder to be; "" for the caller itself
	TTL  time.Duration
	Keys *[]string // nil: none are bound, or a holder that extends keeps those it has
}

// request checks what a caller says and makes the store's request of it.
func (q *AcquireParams) request(c *Caller) (store.AcquireRequest, error) {
	r := store.AcquireRequest{Lock: q.Lock, Peer: cmp.Or(q.Peer, c.Conn.Peer), TTL: q.TTL, SetKeys: q.Keys != nil}
	err := cmp.Or(hearth.CheckName("lock name", q.Lock), hearth.CheckLockTTL(q.TTL), holder(c, r.Peer))
	if err == nil && q.Keys != nil {
		r.Keys, err = hearth.ParseLockKeys(*q.Keys)
	}
	return r, err
}

// holder returns an error if the caller can't hold a lock as peer.
func holder(c *Caller, peer string) error {
	switch {
	case peer == "":
		return hearth.BadParams("peer_id is missing: a server holds a lock for a peer")
	case c.Conn.Peer != "" && c.Conn.Peer != peer:
		return hearth.Errorf(hearth.ReasonForbidden, "a peer holds locks for itself only")
	}
	return hearth.CheckName("peer_id", peer)
}

// Acquire takes a lock, or extends it if its holder is the caller. Errors: lock_held with the lock, not_found (a server
// names no member), too_many, and those of every write.
func (n *Node) Acquire(ctx context.Context, c *Caller, q AcquireParams) (Held, error) {
	return n.acquire(ctx, c, q, 0)
}

func (n *Node) acquire(ctx context.Context, c *Caller, q AcquireParams, wait time.Duration) (Held, error) {
	// What it binds nobody else can write, so the holder has to be allowed to.
	w, err := n.allowed(c, func(role string) error {
		err := n.roles.Allow(c.Principal, c.Room, role, auth.Lock)
		if q.Keys != nil {
			for _, key := range *q.Keys {
				err = cmp.Or(err, n.roles.AllowWrite(c.Principal, c.Room, role, key))
			}
		}
		return err
	})
	if err != nil {
		return Held{}, err
	}
	r, err := q.request(c)
	if err != nil {
		return Held{}, err
	}
	r.Wait = wait
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	n.sweeper.expect(c.Room, q.TTL)
	return n.store.Acquire(ctx, c.Room, w, r)
}

// RenewLock extends a holding; ttl 0 means as long as before. A peer renews its own only. Errors: lock_lost with the lock,
// and those of every write.
func (n *Node) RenewLock(ctx context.Context, c *Caller, h hearth.Holding, ttl time.Duration, peer string) (Held, error) {
	w, err := n.lockWriter(c, h, &peer)
	if err != nil {
		return Held{}, err
	}
	if ttl != 0 {
		if err := hearth.CheckLockTTL(ttl); err != nil {
			return Held{}, err
		}
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	held, err := n.store.RenewLock(ctx, c.Room, w, h, ttl, peer)
	if err == nil && ttl > 0 {
		n.sweeper.expect(c.Room, ttl)
	}
	return held, err
}

// ReleaseLock gives a lock up; who waits first is given it. Errors: as of RenewLock.
func (n *Node) ReleaseLock(ctx context.Context, c *Caller, h hearth.Holding) error {
	peer := ""
	w, err := n.lockWriter(c, h, &peer)
	if err != nil {
		return err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.ReleaseLock(ctx, c.Room, w, h, peer)
}

// lockWriter checks a call about a holding and returns its fence. The holder is a peer's own; a server may name one.
func (n *Node) lockWriter(c *Caller, h hearth.Holding, peer *string) (store.Writer, error) {
	w, err := n.writer(c, auth.Lock)
	if err != nil {
		return store.Writer{}, err
	}
	if c.Conn.Peer != "" {
		if *peer != "" {
			if err := holder(c, *peer); err != nil {
				return store.Writer{}, err
			}
		}
		*peer = c.Conn.Peer
	}
	if h == (hearth.Holding{}) {
		return store.Writer{}, hearth.BadParams("name and token are missing")
	}
	return w, h.Check()
}

// Locks returns the locks that are held, sorted by name.
func (n *Node) Locks(ctx context.Context, c *Caller) (hearth.Session, []hearth.Lock, error) {
	if err := n.allow(c, auth.Read); err != nil {
		return hearth.Session{}, nil, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Locks(ctx, c.Room, c.Session)
}

// maxWaits is for how many locks one member may wait at a time.
const maxWaits = 64

// A Wait is one call that waits for a lock.
type Wait struct {
	member *Member
	lock   string
	ttl    time.Duration
	from   uint64 // the lowest token that it can be given: of an earlier holding the node may hear late
	timer  *time.Timer
	got    chan Held // has room for one: the newest
}

// Acquire is Node.Acquire for a member, which is told of the lock's changes and so can wait for it. If it has to, it
// returns a Wait, whose End has to be called. The queue is the store's: it has its order across nodes and outlives none of
// the peer's connections.
func (m *Member) Acquire(ctx context.Context, op string, q AcquireParams, patience time.Duration) (Held, *Wait, error) {
	if patience < 0 || patience > hearth.MaxLockWait {
		return Held{}, nil, hearth.BadParams("wait_ms must be 0–%d", hearth.MaxLockWait.Milliseconds())
	}
	c := m.Caller(op)
	if patience == 0 {
		held, err := m.node.Acquire(ctx, c, q)
		return held, nil, err
	}
	w := &Wait{member: m, lock: q.Lock, ttl: q.TTL, got: make(chan Held, 1)}
	if err := m.await(w); err != nil { // before the call: its turn may come before the answer does
		return Held{}, nil, err
	}
	held, err := m.node.acquire(ctx, c, q, patience)
	if !errors.Is(err, store.ErrWaiting) {
		m.unawait(w)
		return held, nil, err
	}
	w.from, w.timer = held.Token, time.NewTimer(patience)
	return Held{}, w, nil
}

// End returns when the lock is the member's, or lock_held when its patience has ended. ctx is the connection's.
func (w *Wait) End(ctx context.Context) (Held, error) {
	m := w.member
	defer m.unawait(w)
	defer w.timer.Stop()
	for late := false; !late; {
		select {
		case held := <-w.got:
			if held.Token < w.from {
				continue
			}
			m.node.sweeper.expect(m.room, w.ttl)
			return held, nil
		case <-ctx.Done(): // the socket is gone, and the place in the queue goes with the membership
			return Held{}, &hearth.Error{Reason: hearth.ReasonNotMember, Detail: "the connection has ended", Cause: ctx.Err()}
		case <-w.timer.C:
			late = true
		}
	}
	if m.unawait(w) { // another call of the same peer still waits for it: the place in the queue is its, too
		return Held{}, hearth.Errorf(hearth.ReasonLockHeld, "the lock was not free within wait_ms")
	}
	ctx, cancel := within(ctx)
	defer cancel()
	return m.node.store.StopWaiting(ctx, m.room, m.fence(), w.lock)
}

func (m *Member) await(w *Wait) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waits) >= maxWaits {
		return hearth.Errorf(hearth.ReasonTooMany, "a peer can wait for %d locks at a time", maxWaits)
	}
	m.waits = append(m.waits, w)
	return nil
}

// unawait takes a wait off the member's, and reports whether another call waits for the same lock.
func (m *Member) unawait(w *Wait) (others bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits = slices.DeleteFunc(m.waits, func(o *Wait) bool { return o == w })
	return slices.ContainsFunc(m.waits, func(o *Wait) bool { return o.lock == w.lock })
}

// given takes note of a lock that became the member's. m.mu is held.
func (m *Member) given(c *change) {
	if c.Kind != hearth.KindLock || c.Lock.State != hearth.LockAcquired {
		return
	}
	for _, w := range m.waits {
		if w.lock == c.Lock.Name {
			select {
			case <-w.got: // an older one
			default:
			}
			w.got <- Held{Session: m.session, Token: c.Lock.Token, ExpiresAt: c.Lock.ExpiresAt}
		}
	}
}
