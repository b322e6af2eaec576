package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// keys returns the names of keys that end like that, of all partitions.
func (c *cluster) keys(suffix string) []string {
	c.Helper()
	keys, err := c.redis.Keys(c.Context(), c.prefix+":{*}:"+suffix).Result()
	if err != nil {
		c.Fatal(err)
	}
	return keys
}

// clock is the store's.
func (c *cluster) clock() time.Time {
	c.Helper()
	now, err := c.redis.Time(c.Context()).Result()
	if err != nil {
		c.Fatal(err)
	}
	return now
}

// TestReaperRace (16) makes every node take itself for the only one, so that all of them sweep every partition: each peer of
// a dead node leaves once.
func TestReaperRace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{nodes: 4})
	rooms, seers := c.watched("race", 4, c.node(1))
	rounds, n := size(1, 5), size(300, 1000)
	for round := range rounds {
		gs := c.ghosts(c.node(0), fmt.Sprintf("ghost%d-", round), rooms, n)
		ctx, cancel := context.WithCancel(t.Context())
		var alone sync.WaitGroup
		alone.Go(func() {
			for ctx.Err() == nil {
				_ = c.redis.Del(ctx, c.prefix+":live").Err()
				pass(t, time.Millisecond)
			}
		})
		c.node(0).kill()
		c.leftOf(gs)
		cancel()
		alone.Wait()
		for i, room := range rooms {
			c.atRest(room, seers[i]) // each join and leave in turn, also in the log
		}
		left := 0
		for _, g := range gs {
			left += len(c.books.leaves(g.room, g.peer))
		}
		if left != n {
			t.Errorf("%d leaves of %d peers", left, n)
		}
		c.restart(0)
	}
	figures.did(0, rounds)
	figures.say(t, "%d peers of a dead node, swept by three nodes at the same time, %d times: each left once", n, rounds)
}

// sweeps returns which of some nodes looks after partition 0, as node.owner says.
func sweeps(nodes ...*process) *process {
	var best *process
	var most uint64
	for _, n := range nodes {
		if h := xxhash.Sum64String(n.name + "\x00\x00"); best == nil || h > most {
			best, most = n, h
		}
	}
	return best
}

// TestReaperDies (17) kills the node that lets a dead node's peers leave, in the midst of it.
func TestReaperDies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{partitions: 1, env: map[string]string{"HEARTH_LOG_EVENTS": "100000", "HEARTH_LOG_BYTES": "1073741824"}})
	rounds, n := size(1, 5), size(1500, 3000)
	var took []time.Duration
	const late = 5 // how often the reaper may be done before it is killed, on a machine that has much else to do
	for try := 0; len(took) < rounds; try++ {
		victim := c.node(0)
		reaper := sweeps(c.node(1), c.node(2))
		seer := c.node(1)
		if reaper == seer {
			seer = c.node(2)
		}
		rooms, seers := c.watched(fmt.Sprintf("batch%d-", try), 10, seer)
		gs := c.ghosts(victim, "ghost", rooms, n)
		// All of them are done within some tens of milliseconds, so what is published tells when they begin.
		changes := c.redis.PSubscribe(t.Context(), c.prefix+":{*}:e:batch*")
		if _, err := changes.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		victim.kill()
		for first := false; !first; {
			m, err := changes.ReceiveMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			first = strings.Contains(m.Payload, "\nleave ")
		}
		// Scripts stand still while the node is killed, so it is in the midst of them.
		if err := c.redis.Do(t.Context(), "CLIENT", "PAUSE", "300", "WRITE").Err(); err != nil {
			t.Fatal(err)
		}
		reaper.kill()
		if err := changes.Close(); err != nil {
			t.Error(err)
		}
		at := time.Now()
		rest := int64(0)
		for _, key := range c.keys("node:*") {
			m, err := c.redis.SCard(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			rest += m
		}
		rest -= int64(len(seers))
		done := slices.Max(since(at, c.leftOf(gs)))
		t.Logf("%d of %d peers were left: done %s later", rest, n, done.Round(time.Millisecond))
		switch {
		case rest > 0 && rest < int64(n):
			took = append(took, done)
		case try-len(took) == late:
			t.Fatal("the reaper was never killed in the midst of it")
		}
		for i, room := range rooms {
			c.atRest(room, seers[i])
		}
		for i := range 3 {
			if c.node(i).gone() {
				c.restart(i)
			}
		}
	}
	figures.did(0, 2*rounds)
	figures.say(t, "the node that swept %d peers was killed in the midst of it, %d times: another one was done %s later; a period is %s",
		n, rounds, quantiles(took), c.period())
	if most := slices.Max(took); most > 2*c.period()+slack {
		t.Errorf("done after %s", most)
	}
}

// TestDrain (18) restarts three nodes one after the other, under load.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{env: map[string]string{"HEARTH_DRAIN": size("3s", "10s")}})
	l := c.load(loadOptions{seed: seedOf(t), rooms: 3, workers: 4})
	// These have a room each: nobody else keeps its session alive.
	var alone []*peer
	for i := range size(12, 60) {
		alone = append(alone, c.newPeer("alone"+strconv.Itoa(i), "p", nil, c.first(c.node(i%3))).connected())
	}
	began := map[*peer]string{}
	for _, p := range alone {
		p.at = nil
		p.mu.Lock()
		began[p] = p.session
		p.mu.Unlock()
	}
	rounds := size(1, 5)
	for range rounds {
		for i := range 3 {
			n := c.node(i)
			n.term()
			n.stopped()
			c.restart(i)
		}
	}
	ended, returns := 0, 0
	var away []time.Duration
	for _, p := range alone {
		c.atRest(p.room, p)
		p.mu.Lock()
		if p.session != began[p] {
			ended++
		}
		for i, j := range p.joins[1:] {
			returns++
			away = append(away, j.away)
			if !j.resumed || !j.recovered {
				t.Errorf("%s came back %+v", p.room, j)
			}
			if p.closes[i] != 1001 {
				t.Errorf("%s was closed with %d", p.room, p.closes[i])
			}
		}
		p.mu.Unlock()
	}
	if ended != 0 {
		t.Errorf("%d sessions ended", ended)
	}
	figures.recovery(away)
	o := l.clean(t, 3*rounds)
	for _, code := range slices.Sorted(maps.Keys(o.closes)) {
		if code != 1001 {
			t.Errorf("%d sockets were closed with %d", o.closes[code], code)
		}
	}
	if returns == 0 || o.returned == 0 || o.resumed != o.returned {
		t.Errorf("%d and %d returns, %d of these to a kept membership", returns, o.returned, o.resumed)
	}
	figures.say(t, "%d rolling restarts of three nodes under load: %d sockets closed, all with 1001; %d sessions ended, %d acknowledged writes lost of %d "+
		"operations; away %s", rounds, returns+o.returned, ended, o.lost, o.ops, quantiles(away))
}

// TestGraceEdges (19) brings peers back about the end of their grace, by the store's clock.
func TestGraceEdges(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{})
	n := size(60, 600)
	rooms, seers := c.watched("edge", 4, c.node(1))
	var kept, gone, before, after int
	var mu sync.Mutex
	rnd := random(seedOf(t), 0)
	offsets := make([]time.Duration, n)
	for i := range offsets {
		offsets[i] = time.Duration(rnd.IntN(1600)-600) * time.Millisecond
	}
	if err := together(n, 30, func(i int) error {
		room, id := rooms[i%len(rooms)], fmt.Sprintf("edge%d", i)
		w, err := c.dial(t.Context(), c.node(0), room, id, nil)
		if err != nil {
			return err
		}
		if err := w.Join(nil); err != nil {
			return err
		}
		session, cursor := w.Session, w.Cursor
		w.Cut()
		var deadline time.Time
		item := "peer/" + room + "/" + id
		if !eventually(patience, func() bool {
			for _, key := range c.keys("due") {
				if ms, err := c.redis.ZScore(t.Context(), key, item).Result(); err == nil {
					deadline = time.UnixMilli(int64(ms))
					return true
				}
			}
			return false
		}) {
			return errors.New(id + " was not handed over")
		}
		pass(t, deadline.Add(offsets[i]).Sub(c.clock()))
		w, err = c.dial(t.Context(), c.node(2), room, id, nil)
		if err != nil {
			return err
		}
		sent := c.clock()
		if err := w.Join(map[string]any{"resume": map[string]any{"session_id": session, "cursor": cursor}}); err != nil {
			return err
		}
		answered := c.clock()
		// All until the join has been told to others by then.
		if !seers[i%len(rooms)].until(func() bool { return seers[i%len(rooms)].seq >= w.Seq || w.Resumed }) {
			return errors.New("the join was not heard")
		}
		left := len(c.books.leaves(room, id))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case answered.Before(deadline) && !w.Resumed:
			t.Errorf("%s was back %s before the end of its grace, and was not resumed", id, deadline.Sub(answered))
		case w.Resumed != (left == 0) || left > 1:
			t.Errorf("%s, %s after the end of its grace: resumed %t, %d leaves", id, sent.Sub(deadline), w.Resumed, left)
		}
		if w.Resumed {
			kept++
		} else {
			gone++
		}
		if answered.Before(deadline) {
			before++
		} else if sent.After(deadline) {
			after++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, room := range rooms {
		c.atRest(room, seers[i])
	}
	for i := range n {
		room, id := rooms[i%len(rooms)], fmt.Sprintf("edge%d", i)
		if left, joins := len(c.books.leaves(room, id)), c.books.joins(room, id); joins != left+1 {
			t.Errorf("%s: %d joins, %d leaves", id, joins, left)
		}
	}
	if before == 0 || after == 0 || kept == 0 || gone == 0 {
		t.Errorf("%d before, %d after the end; %d kept, %d gone: both sides have to be met", before, after, kept, gone)
	}
	figures.did(2*n, n)
	figures.say(t, "%d peers came back within 600 ms before and 1 s after the end of their grace by the store's clock (%d surely before, %d surely after): "+
		"%d were resumed and had no leave, %d had one leave and a new join", n, before, after, kept, gone)
}

// TestLeaveLost (54) loses the news that a socket is gone, in each way that there is.
func TestLeaveLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{links: true, lease: 15 * time.Second})
	n := size(10, 100)
	for _, way := range []struct {
		name string
		lose func(n *process, gs []ghost)
	}{
		{"cut off meanwhile", func(n *process, gs []ghost) {
			n.link.Cut()
			cut(gs)
			pass(t, 5*time.Second) // a call's time is over
			n.link.Heal()
		}},
		{"connections reset", func(n *process, gs []ghost) {
			var wg sync.WaitGroup
			wg.Go(func() { cut(gs) })
			for range 20 {
				n.link.Reset()
			}
			wg.Wait()
		}},
		{"join arrives after its caller is gone", func(n *process, _ []ghost) {
			n.link.Cut()
			for i := range 5 {
				w, err := c.dial(t.Context(), n, "lost0", fmt.Sprintf("late%d", i), nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Send("join", map[string]any{}); err != nil {
					t.Fatal(err)
				}
				w.Cut()
			}
			cut(nil)
			pass(t, 5*time.Second)
			n.link.Heal()
		}},
		{"script refused", func(_ *process, gs []ghost) {
			if err := c.redis.Do(t.Context(), "CLIENT", "PAUSE", "3000", "WRITE").Err(); err != nil {
				t.Fatal(err)
			}
			cut(gs)
		}},
		{"node killed", func(n *process, gs []ghost) {
			cut(gs)
			n.kill()
		}},
	} {
		rooms, seers := c.watched("lost", 2, c.node(1))
		gs := c.ghosts(c.node(0), "ghost", rooms, n)
		at := time.Now()
		way.lose(c.node(0), gs)
		if strings.HasPrefix(way.name, "join") {
			cut(gs)
		}
		var last time.Duration
		await(t, "everybody to leave after: "+way.name, func() bool {
			last = time.Since(at)
			for _, room := range rooms {
				if s := c.stateOf(room); s == nil || !slices.Equal(s.members, []string{"seer"}) {
					return false
				}
			}
			return true
		})
		for i, room := range rooms {
			c.atRest(room, seers[i])
			if err := seers[i].leave(); err != nil {
				t.Error(err)
			}
		}
		figures.say(t, "%s: %d peers, none is there %s later", way.name, n, last.Round(time.Millisecond))
		figures.did(n, 1)
		if bound := 10*c.period() + c.o.lease + c.o.grace + slack; last > bound {
			t.Errorf("%s: gone after %s", way.name, last)
		}
	}
}

func cut(gs []ghost) {
	for _, g := range gs {
		g.Cut()
	}
}
