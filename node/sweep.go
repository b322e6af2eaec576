package node

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

const (
	sweepBatch = 100 // items of a partition that are settled before the next one's turn
	// settleBatch is how many items go by one round trip: enough that this is little of their cost, and so few that no call
	// waits long for them.
	settleBatch = 20
	// settlers is how many batches of a node are under way at once, of whichever partitions.
	settlers = 2
	// settlersTrust is how long a batch waits for its turn: those before it are of a server that stands still, then.
	settlersTrust = 100 * time.Millisecond
	// sweepGap is how close two sweeps of a partition follow each other: what is due in between is settled together,
	// well within the second that a deadline may be late.
	sweepGap = 500 * time.Millisecond
	// warnEvery is how often a failure is a line in the log.
	warnEvery = 10 * time.Second
	// expireEvery is how late a lease may be found over by the node's own clock.
	expireEvery = 250 * time.Millisecond
)

// tickEvery is how often a node looks after each of its partitions: often enough that a lease outlives several ticks that
// fail, and that the store does not take it for away.
func tickEvery(lease time.Duration) time.Duration { return min(3*time.Second, lease/5) }

// announceEvery is how often a node tells that it lives. It is taken for alive for three times that. So another one that looked
// after a partition is found gone before half a lease has passed since it last did: else the store would be taken for away
// then, and nobody be timed out.
func announceEvery(lease time.Duration) time.Duration { return tickEvery(lease) / 3 }

// sweeper looks after partitions: it renews the node's leases and settles what ends by time. Each partition is swept by one
// live node, chosen by rendezvous hash; every node comes to the same choice without asking. While nodes disagree, for a tick
// after one came or went, a partition may be swept twice or not at all: settling is fenced, and what was left out is still
// due at the next tick. A partition that nobody has swept for long is swept by whoever has peers there. Between ticks a node
// sweeps a partition when the next deadline that it knows of comes.
type sweeper struct {
	node *Node
	wake chan struct{}
	tick time.Duration

	settlers chan struct{} // has a place for each batch that is under way
	trust    time.Duration // settlersTrust, but in tests

	mu       sync.Mutex
	alive    []string          // nodes, as they were told last
	next     map[int]time.Time // partition → the next deadline known here
	warned   time.Time         // when a failure was logged last
	ticking  map[int]bool      // partitions whose tick is under way: one that does not answer holds up no other
	settling map[int]bool      // partitions whose due items are being settled
}

func (s *sweeper) init(n *Node) {
	s.node, s.wake, s.tick = n, make(chan struct{}, 1), tickEvery(n.Limits().NodeLease)
	s.next, s.ticking, s.settling = map[int]time.Time{}, map[int]bool{}, map[int]bool{}
	s.settlers, s.trust = make(chan struct{}, settlers), settlersTrust
}

// expect takes note that something of the room is due in d.
func (s *sweeper) expect(room string, d time.Duration) { s.note(s.node.store.Partition(room), d) }

func (s *sweeper) note(partition int, d time.Duration) {
	at := time.Now().Add(max(d, sweepGap))
	s.mu.Lock()
	old, ok := s.next[partition]
	if ok = !ok || at.Before(old); ok {
		s.next[partition] = at
	}
	s.mu.Unlock()
	if ok {
		s.rouse()
	}
}

func (s *sweeper) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run looks after the partitions one after the other, all of them in the time of a tick, until the node closes.
func (s *sweeper) run() {
	ctx, leases := s.node.ctx, s.node.leases
	step := s.tick / time.Duration(len(leases))
	turn, at := 0, time.Now()
	for ctx.Err() == nil {
		for now := time.Now(); !at.After(now); at = at.Add(step) {
			if now.Sub(at) > s.tick { // the process stood still
				at = now
			}
			s.look(turn, false)
			turn = (turn + 1) % len(leases)
		}
		for _, l := range leases {
			l.expire()
		}
		for _, p := range s.due(time.Now()) {
			s.look(p, true)
		}
		timer := time.NewTimer(min(time.Until(s.earliest(at)), expireEvery))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
}

// announce tells that the node lives, and learns who else does, until the node closes. What another one leaves is swept
// within two ticks of its last sign.
func (s *sweeper) announce() {
	every := announceEvery(s.node.Limits().NodeLease)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.node.ctx.Done():
			return
		case <-timer.C:
		}
		ctx, cancel := context.WithTimeout(s.node.ctx, CallTimeout)
		alive, err := s.node.store.Live(ctx, s.node.id, 3*every)
		cancel()
		if err != nil {
			s.warn("telling that this node lives", err)
		} else {
			for _, p := range s.learn(alive) {
				s.look(p, true)
			}
		}
		timer.Reset(every)
	}
}

// learn takes note of which nodes live and returns the partitions that are this one's by that and were not before.
func (s *sweeper) learn(alive []string) (gained []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(alive, s.alive) {
		return nil
	}
	for p := range s.node.leases {
		if owner(p, alive) == s.node.id && owner(p, s.alive) != s.node.id {
			gained = append(gained, p)
		}
	}
	s.alive = alive
	return gained
}

// look looks after a partition, and sweeps it if that is this node's or it is told to.
func (s *sweeper) look(partition int, sweep bool) {
	s.mu.Lock()
	busy := s.ticking[partition]
	sweep = sweep || owner(partition, s.alive) == s.node.id
	if busy && sweep {
		s.next[partition] = time.Now().Add(sweepGap)
	}
	if !busy && (sweep || s.node.leases[partition].used()) {
		s.ticking[partition] = true
	} else {
		busy = true
	}
	s.mu.Unlock()
	if busy {
		return
	}
	s.node.wg.Go(func() {
		s.lookNow(partition, sweep)
		s.mu.Lock()
		delete(s.ticking, partition)
		s.mu.Unlock()
	})
}

func (s *sweeper) lookNow(partition int, sweep bool) {
	ctx := s.node.ctx
	limit := 0
	if sweep {
		limit = sweepBatch
	}
	t, err := s.node.leases[partition].tick(ctx, limit)
	if err == nil && t.Unseen {
		t, err = s.node.leases[partition].tick(ctx, sweepBatch)
	}
	if err != nil {
		s.warn("looking after a partition", err, "partition", partition)
		return
	}
	if len(t.Due) == 0 {
		if t.Next >= 0 {
			s.note(partition, t.Next)
		}
		return
	}
	s.mu.Lock()
	busy := s.settling[partition]
	s.settling[partition] = true
	s.mu.Unlock()
	if busy {
		return
	}
	s.node.wg.Go(func() { // renewals don't wait for it
		err := s.settle(ctx, t.Due)
		s.mu.Lock()
		delete(s.settling, partition)
		s.mu.Unlock()
		if err != nil {
			s.warn("settling what is due", err, "partition", partition)
			return
		}
		s.note(partition, 0) // more may be due by now, or have a later deadline
	})
}

// settle settles what is due. One item that fails does not hold up the others.
func (s *sweeper) settle(ctx context.Context, items []store.DueItem) (failed error) {
	for len(items) > 0 && !away(failed) {
		n := 1
		for !items[0].Kind.Long() && n < min(len(items), settleBatch) && !items[n].Kind.Long() {
			n++
		}
		if err := s.settleSome(ctx, items[:n]); err != nil {
			failed = err
		}
		items = items[n:]
	}
	return failed
}

// settleSome settles items by one round trip, or one that may be many.
func (s *sweeper) settleSome(ctx context.Context, items []store.DueItem) error {
	select {
	case s.settlers <- struct{}{}:
		defer func() { <-s.settlers }()
	case <-time.After(s.trust):
	}
	ctx, cancel := within(ctx)
	defer cancel()
	return s.node.store.Settle(ctx, items...)
}

// away reports whether the store did not answer: then the next item would not fare better.
func away(err error) bool {
	reason := hearth.ReasonOf(err)
	return reason == hearth.ReasonUnavailable || reason == hearth.ReasonOutcomeUnknown
}

func (s *sweeper) warn(what string, err error, more ...any) {
	if s.node.ctx.Err() != nil {
		return
	}
	// While the store is away each partition fails at each tick: one line says so for all of them.
	s.mu.Lock()
	level := slog.LevelDebug
	if time.Since(s.warned) > warnEvery {
		s.warned, level = time.Now(), slog.LevelWarn
	}
	s.mu.Unlock()
	s.node.log.Log(s.node.ctx, level, "the sweep failed", append([]any{"at", what, "error", err}, more...)...)
}

// due returns the partitions whose next known deadline has come, and forgets those deadlines.
func (s *sweeper) due(now time.Time) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for p, at := range s.next {
		if !at.After(now) {
			out = append(out, p)
			delete(s.next, p)
		}
	}
	return out
}

// earliest returns the first of the tick and all known deadlines.
func (s *sweeper) earliest(tick time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.next {
		if at.Before(tick) {
			tick = at
		}
	}
	return tick
}

// owner returns the node that sweeps a partition: the one with the highest hash of both.
func owner(partition int, nodes []string) string {
	best, most := "", uint64(0)
	for _, n := range nodes {
		d := xxhash.New()
		_, _ = d.WriteString(n)
		_, _ = d.Write([]byte{byte(partition), byte(partition >> 8)})
		if h := d.Sum64(); best == "" || h > most || h == most && n > best {
			best, most = n, h
		}
	}
	return best
}
