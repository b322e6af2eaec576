package faults

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/wire"
)

// ghost is a peer whose socket nobody brings back when it has ended.
type ghost struct {
	room, peer string
	*wire.Conn
}

// ghosts joins n of them to a node, spread over rooms.
func (c *cluster) ghosts(at *process, prefix string, rooms []string, n int) []ghost {
	c.Helper()
	out := make([]ghost, n)
	if err := together(n, 16, func(i int) error {
		g := &out[i]
		g.room, g.peer = rooms[i%len(rooms)], fmt.Sprintf("%s%d", prefix, i)
		w, err := c.dial(c.Context(), at, g.room, g.peer, nil)
		if err != nil {
			return err
		}
		g.Conn = w
		return w.Join(nil)
	}); err != nil {
		c.Fatal(err)
	}
	return out
}

// together makes n calls, so many at the same time.
func together(n, width int, call func(i int) error) error {
	errs := make([]error, n)
	turns := make(chan struct{}, width)
	var wg sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			errs[i] = call(i)
			<-turns
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// watched makes rooms, each with a client that hears what happens there, at a node that is left in peace.
func (c *cluster) watched(prefix string, n int, at *process) (rooms []string, seers []*peer) {
	c.Helper()
	for i := range n {
		rooms = append(rooms, fmt.Sprintf("%s%d", prefix, i))
		seers = append(seers, c.newPeer(rooms[i], "seer", nil, on(at)))
	}
	for _, s := range seers {
		s.connected()
	}
	return rooms, seers
}

// first is a choice of one node at first, and of any that lives and is another one afterwards.
func (c *cluster) first(n *process) func() *process {
	tried := false
	return func() *process {
		if !tried {
			tried = true
			return n
		}
		for _, other := range c.live() {
			if other != n {
				return other
			}
		}
		return nil
	}
}

// back waits until a client has come back for the n-th time and returns how.
func (p *peer) back(n int) joined {
	p.c.Helper()
	if !p.until(func() bool { return len(p.joins) > n && p.w != nil || p.final != nil }) || p.ended() != nil {
		p.c.Fatalf("%s did not come back to %s: %v", p.id, p.room, p.ended())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joins[n]
}

// left returns when the leaves of a room's peers were first heard of.
func (b *books) left(room string) map[string][]time.Time {
	out := map[string][]time.Time{}
	for _, epoch := range b.epochs(room) {
		seqs, changes := b.all(room, epoch)
		for _, seq := range seqs {
			if c := changes[seq]; c.method == "on-peer-leave" {
				out[c.from] = append(out[c.from], c.at)
			}
		}
	}
	return out
}

// leftOf waits until all ghosts have been heard to leave and returns when, each in its place.
func (c *cluster) leftOf(gs []ghost) []time.Time {
	c.Helper()
	out := make([]time.Time, len(gs))
	missing := len(gs)
	if !eventually(2*patience, func() bool {
		rooms := map[string]map[string][]time.Time{}
		missing = 0
		for i, g := range gs {
			if rooms[g.room] == nil {
				rooms[g.room] = c.books.left(g.room)
			}
			at := rooms[g.room][g.peer]
			if len(at) > 1 {
				c.Fatalf("%s left %s %d times", g.peer, g.room, len(at))
			}
			if len(at) == 0 {
				missing++
				continue
			}
			out[i] = at[0]
		}
		return missing == 0
	}) {
		c.Fatalf("%d of %d ghosts are there still", missing, len(gs))
	}
	return out
}

// since returns how long after a time others are.
func since(from time.Time, to []time.Time) []time.Duration {
	out := make([]time.Duration, len(to))
	for i, at := range to {
		out[i] = at.Sub(from)
	}
	return out
}

// period is how often a node looks after each of its partitions.
func (c *cluster) period() time.Duration { return min(3*time.Second, c.o.lease/5) }

// slack is what a busy machine may add to a bound.
const slack = 10 * time.Second

// atRest holds a room's clients to the store, and ends the test if anything is wrong.
func (c *cluster) atRest(room string, peers ...*peer) {
	c.Helper()
	wrong, _ := c.settle(room, peers...)
	figures.diverged(len(wrong))
	fail(c, wrong)
}

// TestGhostKill (13) kills a node again and again: its peers leave when its lease is over, or were never gone if they have
// come back by then.
func TestGhostKill(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{grace: size(shortGrace, 10*time.Second), lease: size(shortLease, 15*time.Second)})
	l := c.load(loadOptions{seed: seedOf(t)})
	rooms, seers := c.watched("ghosts", 3, c.node(1))
	rounds := size(1, 5)
	var all []time.Duration
	var back []*peer
	for round := range rounds {
		victim := c.node(0)
		gs := c.ghosts(victim, fmt.Sprintf("ghost%d-", round), rooms, size(30, 300))
		for i, room := range rooms {
			p := c.newPeer(room, fmt.Sprintf("back%d-%d", round, i), nil, c.first(victim))
			back = append(back, p.connected())
		}
		at := time.Now()
		victim.kill()
		for _, p := range back[len(back)-len(rooms):] {
			if j := p.back(1); !j.resumed || !j.recovered {
				t.Errorf("%s came back after %s: resumed %t, recovered %t", p.id, j.away, j.resumed, j.recovered)
			}
		}
		c.restart(0)
		all = append(all, since(at, c.leftOf(gs))...)
	}
	for i, room := range rooms {
		c.atRest(room, seers[i])
	}
	for _, p := range back {
		c.atRest(p.room, p)
		if n := len(c.books.leaves(p.room, p.id)); n != 0 {
			t.Errorf("%s, which came back, left %d times", p.id, n)
		}
	}
	figures.ghost(all...)
	figures.say(t, "%d kills of a node, a lease of %s: from kill to leave %s; %d peers that came back at once were never gone",
		rounds, c.o.lease, quantiles(all), len(back))
	if most := slices.Max(all); most > c.o.lease+2*c.period()+slack {
		t.Errorf("a ghost was there for %s", most)
	}
	l.clean(t, rounds)
}

// TestGhostNetns (14) cuts a node off from Redis: others see its peers leave, and it closes their sockets by its own clock.
func TestGhostNetns(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{links: true, grace: size(shortGrace, 10*time.Second), lease: size(shortLease, 15*time.Second)})
	l := c.load(loadOptions{seed: seedOf(t), at: func(int, int) func() *process { return on(c.node(1)) }})
	rooms, seers := c.watched("ghosts", 3, c.node(2))
	rounds := size(1, 4)
	var left, closed []time.Duration
	for round := range rounds {
		away := c.node(0)
		gs := c.ghosts(away, fmt.Sprintf("ghost%d-", round), rooms, size(15, 150))
		back := c.newPeer(rooms[0], fmt.Sprintf("back%d", round), nil, c.first(away)).connected()
		at := time.Now()
		away.link.Cut()
		var late time.Duration
		for _, g := range gs {
			if code := g.Code(); code != 1013 {
				t.Errorf("%s's socket was closed with %d", g.peer, code)
			}
			late = time.Since(at)
		}
		closed = append(closed, late)
		left = append(left, since(at, c.leftOf(gs))...)
		back.back(1)
		away.link.Heal()
		await(t, "the node to be ready again", away.ready)
		// What it sent while it was cut off arrives late and changes nothing; it takes peers again.
		p := c.newPeer(rooms[0], fmt.Sprintf("after%d", round), nil, on(away)).connected()
		c.atRest(rooms[0], seers[0], back, p)
	}
	for i, room := range rooms {
		c.atRest(room, seers[i])
	}
	figures.ghost(left...)
	figures.say(t, "%d cuts of a node by %s, a lease of %s: its sockets were closed with 1013 after %s, others saw the leaves after %s",
		rounds, c.node(0).link.means(), c.o.lease, quantiles(closed), quantiles(left))
	if most := slices.Max(left); most > c.o.lease+2*c.period()+slack {
		t.Errorf("a ghost was there for %s", most)
	}
	if most := slices.Max(closed); most > c.o.lease+slack {
		t.Errorf("the node closed its sockets after %s", most)
	}
	l.clean(t, rounds)
}

// TestPause (15) stops a node for less and for more than its lease.
func TestPause(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{grace: size(shortGrace, 10*time.Second), lease: size(shortLease, 15*time.Second)})
	l := c.load(loadOptions{seed: seedOf(t), at: func(int, int) func() *process { return on(c.node(1)) }})
	rooms, seers := c.watched("pause", 2, c.node(2))
	stopped := c.node(0)
	lease := c.o.lease
	pauses := size([]time.Duration{lease / 2, lease + 4*time.Second}, []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, time.Minute})
	for round, pause := range pauses {
		var stay []*peer
		for i := range 10 {
			stay = append(stay, c.newPeer(rooms[i%len(rooms)], fmt.Sprintf("p%d-%d", round, i), nil, on(stopped)))
		}
		for _, p := range stay {
			p.connected()
		}
		pass(t, c.o.lease/5+time.Second) // a tick: the pause before has used up a part of the lease
		stopped.freeze()
		pass(t, pause)
		stopped.thaw()
		leaves := 0
		for _, p := range stay {
			if pause < lease {
				if _, err := p.write("broadcast", map[string]any{"info": map[string]any{"message": "here"}}); err != nil {
					t.Errorf("after a pause of %s: %v", pause, err)
				}
			} else {
				p.back(1)
			}
			c.atRest(p.room, p)
			n := len(c.books.leaves(p.room, p.id))
			leaves += n
			p.mu.Lock()
			joins, closes := p.joins, p.closes
			p.mu.Unlock()
			switch {
			// The lease counts from the last renewal that was confirmed, so what is left of it after the pause may be over before
			// the node has caught up: then it closes its sockets by its own clock, and their clients were never gone.
			case pause < lease && (n != 0 || len(joins) > 1 && (closes[0] != 1013 || !joins[1].resumed)):
				t.Errorf("a pause of %s, below the lease of %s: %s left %d times, closed by %v, %+v", pause, lease, p.id, n, closes, joins)
			case pause > lease && (n != 1 || joins[1].resumed || closes[0] != 4412 && closes[0] != 1013):
				t.Errorf("a pause of %s, above the lease of %s: %s left %d times, closed by %v, %+v", pause, lease, p.id, n, closes, joins)
			}
		}
		figures.say(t, "stopped for %s, a lease of %s: %d of %d peers left", pause, lease, leaves, len(stay))
	}
	for i, room := range rooms {
		c.atRest(room, seers[i])
	}
	l.clean(t, len(pauses))
}

// TestFirst expects that the choice of nodes is what tests take it for.
func TestFirst(t *testing.T) {
	a, b := &process{name: "a", ended: make(chan struct{})}, &process{name: "b", ended: make(chan struct{})}
	a.up.Store(true)
	b.up.Store(true)
	c := &cluster{TB: t, nodes: []*process{a, b}}
	if at := c.first(a); at() != a || at() != b || at() != b {
		t.Error("not the first one once")
	}
}
