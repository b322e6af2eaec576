package node

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/hearthstore/hearth"
)

const (
	sweepEvery = 3 * time.Second // how often a node looks at its partitions
	liveFor    = 4 * sweepEvery  // for how long it is taken to live without a sign
	sweepBatch = 100             // items of a partition that are settled before the next one's turn
	// sweepGap is how close two sweeps of a partition follow each other: what is due in between is settled together,
	// well within the second that a deadline may be late.
	sweepGap = 500 * time.Millisecond
)

// sweeper settles what ends by time. Each partition is swept by one live node, chosen by rendezvous hash; every node
// comes to the same choice without asking. While nodes disagree, for a tick after one came or went, a partition may be
// swept twice or not at all: settling is fenced, and what was left out is still due at the next tick. Between ticks a node
// sweeps a partition when the next deadline that it knows of comes.
type sweeper struct {
	node *Node
	wake chan struct{}

	mu   sync.Mutex
	next map[int]time.Time // partition → the next deadline known here
}

func (s *sweeper) init(n *Node) {
	s.node, s.wake, s.next = n, make(chan struct{}, 1), map[int]time.Time{}
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
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// run sweeps until the node closes.
func (s *sweeper) run() {
	ctx := s.node.ctx
	tick := time.Time{}
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(tick) {
			tick = now.Add(sweepEvery)
			s.tick(ctx)
		}
		for _, p := range s.due(time.Now()) {
			s.sweep(ctx, p)
		}
		timer := time.NewTimer(time.Until(s.earliest(tick)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		timer.Stop()
	}
}

// tick says that the node lives and sweeps the partitions that are its own.
func (s *sweeper) tick(ctx context.Context) {
	c, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	nodes, err := s.node.store.Live(c, s.node.id, liveFor)
	if err != nil {
		s.warn("telling that this node lives", err)
		return
	}
	for p := range s.node.store.Partitions() {
		if owner(p, nodes) == s.node.id {
			s.sweep(ctx, p)
		}
	}
}

// sweep settles what is due in a partition.
func (s *sweeper) sweep(ctx context.Context, partition int) {
	for ctx.Err() == nil {
		c, cancel := context.WithTimeout(ctx, CallTimeout)
		items, next, err := s.node.store.Due(c, partition, sweepBatch)
		for i := 0; i < len(items) && !away(err); i++ {
			if e := s.node.store.Settle(c, items[i]); e != nil {
				err = e // the others have their turn all the same: one that always fails must not hold them up
			}
		}
		cancel()
		if err != nil {
			s.warn("partition "+strconv.Itoa(partition), err)
			return
		}
		if len(items) < sweepBatch {
			if len(items) > 0 {
				next = 0 // what was settled may have a later deadline, which next doesn't know of
			}
			if next >= 0 {
				s.note(partition, next)
			}
			return
		}
	}
}

// away reports whether the store did not answer: then the next item would not fare better.
func away(err error) bool {
	reason := hearth.ReasonOf(err)
	return reason == hearth.ReasonUnavailable || reason == hearth.ReasonOutcomeUnknown
}

func (s *sweeper) warn(what string, err error) {
	if s.node.ctx.Err() == nil {
		s.node.log.Warn("the sweep failed", "at", what, "error", err)
	}
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
