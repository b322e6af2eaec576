package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/store"
)

// In each partition where it has peers with sockets a node has an incarnation, which it renews: that keeps all of them, so a
// peer costs the store nothing while it is idle. An incarnation that was not renewed for a lease is ended in the store by
// whoever sweeps, and its peers leave. The node judges by its own clock as well, which runs while it is cut off: from the
// sending of the last renewal that was confirmed it counts the lease. Shortly before the end its members' calls are refused,
// at the end their sockets are closed, and the next join begins a new incarnation.

// leaseMargin is how long before its end by the node's own clock a lease is not relied on any more.
const leaseMargin = 2 * time.Second

// joinPatience is how long a join waits for the store, which is as long as the store's client waits for any answer.
const joinPatience = 3 * time.Second

// cutOff is what the clients of an incarnation that has ended are told.
const cutOff = "cut off from the store: reconnect and resume"

// lease is the node's place in one partition.
type lease struct {
	node      *Node
	partition int
	beginning chan struct{} // has room for one: who begins an incarnation

	mu      sync.Mutex
	current *incarnation       // nil before the first join
	members map[string]*Member // by the secret of their connection, from before the join to the end of delivery
	doubt   bool               // the store failed: what it holds and what is here may differ
	ticks   int                // since the last comparison of both

	clock storeClock
}

// incarnation is one life of a node in a partition, as long as its lease is renewed.
type incarnation struct {
	id string
	// until is the end of the lease by the node's own clock, which no step of the machine's clock moves: nanoseconds since
	// began. It is over for good once it is ended.
	until atomic.Int64
	ended atomic.Bool
}

// began is the beginning of the node's own clock.
var began = time.Now()

// renewed takes note of a renewal that was sent at a time and confirmed.
func (i *incarnation) renewed(sent time.Time, lease time.Duration) {
	for until := int64(sent.Add(lease).Sub(began)); ; {
		old := i.until.Load()
		if until <= old || i.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// left returns for how long the lease is good; nothing if it was ended.
func (i *incarnation) left() time.Duration {
	if i.ended.Load() {
		return 0
	}
	return time.Duration(i.until.Load()) - time.Since(began)
}

// fresh reports whether the lease was renewed lately, as it is while somebody is here by it, by a tick that is late by half of
// itself at most. While nobody is it runs down: one that is only reliable would be over before its next renewal, and a node that
// stands still just after the join would lose a peer in less than what is promised.
func (i *incarnation) fresh(lease time.Duration) bool { return i.left() > lease-tickEvery(lease)*3/2 }

// reliable reports whether a peer that joins now, or calls, can be sure to be kept.
func (i *incarnation) reliable() bool { return i.left() > leaseMargin }

func newLeases(n *Node) []*lease {
	out := make([]*lease, n.store.Partitions())
	for p := range out {
		out[p] = &lease{node: n, partition: p, beginning: make(chan struct{}, 1), members: map[string]*Member{}}
	}
	return out
}

func (n *Node) leaseOf(room string) *lease { return n.leases[n.store.Partition(room)] }

// incarnation returns the node's incarnation in the partition, begun anew if the last one can't be relied on.
func (l *lease) incarnation(ctx context.Context) (*incarnation, error) {
	if now, fresh := l.now(); fresh {
		return now, nil
	}
	fiber.From(ctx).Leave()
	select {
	case l.beginning <- struct{}{}:
		defer func() { <-l.beginning }()
	case <-ctx.Done():
		return nil, unavailable(noAnswer, ctx.Err())
	}
	now, fresh := l.now()
	if fresh { // somebody else has just seen to it
		return now, nil
	}
	if now != nil && now.left() > 0 {
		if _, err := l.renew(ctx, now, 0); err != nil {
			return nil, err
		}
		if now.reliable() {
			return now, nil
		}
	}
	if now != nil {
		l.end(now, CloseTryLater, "its lease was not renewed in time")
	}
	next, sent := &incarnation{id: hearth.NewEpoch()}, time.Now()
	clock, err := l.node.store.Begin(ctx, l.partition, next.id)
	if err != nil {
		if hearth.ReasonOf(err) == hearth.ReasonOutcomeUnknown { // begun or not, nobody will join by it
			err = unavailable(noAnswer, err)
		}
		return nil, err
	}
	l.clock.told(clock, sent, time.Now())
	next.renewed(sent, l.node.Limits().NodeLease)
	l.mu.Lock()
	l.current = next
	l.mu.Unlock()
	return next, nil
}

// now returns the incarnation that there is, nil for none, and whether a peer can join by it.
func (l *lease) now() (now *incarnation, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.current
	return now, now != nil && now.fresh(l.node.Limits().NodeLease)
}

// join runs the join script for a socket of m. If the store has ended the incarnation meanwhile, it begins the next.
func (l *lease) join(ctx context.Context, m *Member, r *store.JoinRequest) (store.Joined, error) {
	for again := false; ; again = true {
		inc, err := l.incarnation(ctx)
		if err != nil {
			return store.Joined{}, err
		}
		r.Incarnation = inc.id
		l.mu.Lock()
		m.inc = inc
		l.members[r.Conn] = m
		l.mu.Unlock()
		j, err := l.joinInTime(ctx, r)
		if err != nil {
			fiber.From(ctx).Leave() // there may be many to tell of it
		}
		if errors.Is(err, store.ErrLapsed) {
			l.end(inc, CloseLost, "the store had ended it")
			if !again {
				continue
			}
			err = unavailable("the node was given up by the others meanwhile; try again", nil)
		}
		if err != nil {
			l.forget(m)
		}
		return j, err
	}
}

// joinInTime runs the join script, which does nothing once this call has given up: the peer may have come back by then, and
// its newer connection stays. If the script was late by the clock as the node knew it, it is sent once more.
func (l *lease) joinInTime(ctx context.Context, r *store.JoinRequest) (store.Joined, error) { //nolint:contextcheck // dated wraps ctx
	if fiber.From(ctx) != nil {
		ctx = dated{ctx, time.Now().Add(joinPatience)}
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, joinPatience)
		defer cancel()
	}
	for again := false; ; again = true {
		asked := time.Now()
		if until, ok := ctx.Deadline(); ok {
			r.NotAfter = l.clock.at(until)
		}
		j, err := l.node.store.Join(ctx, *r)
		if late, ok := errors.AsType[*store.LateError](err); ok {
			l.clock.told(late.Now, asked, time.Now())
			if !again && ctx.Err() == nil {
				continue
			}
			err = unavailable("the join reached the store too late; join again", nil)
		}
		return j, err
	}
}

// dated is a fiber's context with a deadline of its own, by which its calls of the store are given up. It has no timer: that would go on
// with the fiber's context, which is another call's by then.
type dated struct {
	context.Context //nolint:containedctx // it is one

	at time.Time
}

// Deadline implements context.Context.
func (d dated) Deadline() (time.Time, bool) {
	if at, ok := d.Context.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

// Err implements context.Context.
func (d dated) Err() error {
	if err := d.Context.Err(); err != nil || time.Now().Before(d.at) {
		return err //nolint:wrapcheck // as of a context
	}
	return context.DeadlineExceeded
}

// settle takes note that the store has m: a socket of an incarnation that ended meanwhile is closed.
func (l *lease) settle(m *Member) {
	l.mu.Lock()
	m.joined = true
	l.mu.Unlock()
	if m.inc.left() <= 0 {
		m.sink.Close(CloseTryLater, cutOff)
	}
}

func (l *lease) forget(m *Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.members, m.conn.Secret)
}

// end gives an incarnation up: the sockets that it had are closed, and their clients come back to the next one, here or
// elsewhere; at once if the store can be reached, which has ended it, and else after a pause.
func (l *lease) end(inc *incarnation, code CloseCode, why string) {
	if inc.ended.Swap(true) {
		return
	}
	var cut []*Member
	l.mu.Lock()
	if l.current == inc {
		l.current = nil
	}
	for _, m := range l.members {
		if m.inc == inc && m.joined {
			cut = append(cut, m)
		}
	}
	l.mu.Unlock()
	if len(cut) > 0 {
		l.node.log.Warn("cut off from a partition", "partition", l.partition, "incarnation", inc.id, "sockets", len(cut), "because", why)
	}
	for _, m := range cut {
		m.sink.Close(code, cutOff)
	}
}

// used reports whether somebody is here by the partition's incarnation.
func (l *lease) used() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current != nil && len(l.members) > 0
}

// tick looks after the partition: it renews the incarnation if somebody is here by it, and returns what is due if that is
// this node's to settle.
func (l *lease) tick(ctx context.Context, limit int) (store.Ticked, error) {
	l.mu.Lock()
	inc := l.current
	if len(l.members) == 0 {
		inc = nil
	}
	l.mu.Unlock()
	if inc == nil && limit == 0 {
		return store.Ticked{Next: -1}, nil
	}
	return l.renew(ctx, inc, limit)
}

// renew is tick for an incarnation, or nil.
func (l *lease) renew(ctx context.Context, inc *incarnation, limit int) (store.Ticked, error) {
	id := ""
	if inc != nil {
		id = inc.id
	}
	ctx, cancel := within(ctx)
	defer cancel()
	sent := time.Now()
	t, err := l.node.store.Tick(ctx, l.partition, id, limit)
	if err == nil {
		l.clock.told(t.Now, sent, time.Now())
	}
	switch {
	case err != nil:
		l.doubtful()
	case t.Lapsed:
		l.end(inc, CloseLost, "the store had ended it")
	case id != "":
		inc.renewed(sent, l.node.Limits().NodeLease)
		l.compareNow(ctx, inc)
	}
	return t, err
}

// expire ends the incarnation if its lease is over by the node's own clock.
func (l *lease) expire() {
	l.mu.Lock()
	inc, here := l.current, len(l.members)
	l.mu.Unlock()
	if inc != nil && here > 0 && inc.left() <= 0 {
		l.end(inc, CloseTryLater, "it could not be renewed")
	}
}
