package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

// TestRedisKillAOF kills Redis again and again, which writes each change to its disk before it answers: nothing may be lost.
func TestRedisKillAOF(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t, redistest.AOF())
	c := newCluster(t, options{redis: s})
	l := c.load(loadOptions{seed: seedOf(t), rooms: 2})
	pulses := c.pulses(l.rooms...)
	kills := size(3, 30)
	for range kills {
		pass(t, 300*time.Millisecond)
		at := time.Now()
		s.Restart(t)
		c.back("Redis killed, appendfsync always", at, pulses...)
	}
	o := l.tally(pulses...)
	figures.say(t, "%d acknowledged writes lost of %d over %d kills", o.lost, o.acked, kills)
	o.record(t, "appendfsync always", kills)
	if o.lost > 0 || o.forks > 0 {
		t.Errorf("%d acknowledged writes are lost, %d told differently", o.lost, o.forks)
	}
}

// longOutage has Redis away for three leases and holds the nodes to it that nobody is expelled. It returns what is wrong.
func longOutage(t *testing.T, o options, frozen bool) (wrong []string) {
	t.Helper()
	s := redistest.Real(t, redistest.AOF())
	o.redis = s
	c := newCluster(t, o)
	var peers []*peer
	rooms := []string{"r0", "r1", "r2", "r3"}
	for i, room := range rooms {
		c.anchor(room)
		for j := range size(3, 10) {
			peers = append(peers, c.newPeer(room, fmt.Sprintf("p%d", j), nil, on(c.node(i+j))))
		}
	}
	for _, p := range peers {
		p.connected()
	}
	web := func() {
		a, err := c.do(t.Context(), c.live()[0], "PUT", "/rooms/r0/peers/web", `{"lease_ms":5000}`)
		if err != nil || a.Reason != "" {
			t.Fatalf("a peer over HTTP: %v, %+v", err, a)
		}
	}
	web()
	sessions := map[string]string{}
	for _, room := range rooms {
		sessions[room] = c.stateOf(room).session
	}
	// One whose socket broke just before, and who can't come back in time.
	peers[0].mu.Lock()
	peers[0].at = func() *process {
		if s.Running() && !frozen {
			return c.node(1)
		}
		return c.node(2)
	}
	peers[0].mu.Unlock()
	peers[0].drop()
	began := time.Now()
	if frozen {
		s.Freeze(t)
	} else {
		s.Kill(t)
	}
	pass(t, 3*c.o.lease)
	if frozen {
		s.Thaw(t)
	} else {
		s.Start(t)
	}
	away := time.Since(began)
	// Whoever renews comes back within the time in which nobody is timed out.
	pass(t, c.o.grace)
	if s := c.stateOf("r0"); s == nil || !strings.Contains(strings.Join(s.members, " ")+" ", "web ") {
		wrong = append(wrong, "who was in over HTTP was timed out")
	} else {
		web()
	}
	for _, p := range peers {
		if p.until(func() bool { return p.w != nil || p.final != nil }); p.ended() != nil {
			wrong = append(wrong, fmt.Sprintf("%s in %s ended: %v", p.id, p.room, p.ended()))
		}
	}
	pass(t, c.o.lease+c.o.grace) // whoever was going to be timed out has been
	leaves, resumed, back := 0, 0, []time.Duration(nil)
	for _, room := range rooms {
		var here []*peer
		for _, p := range peers {
			if p.room == room {
				here = append(here, p)
			}
		}
		more, at := c.settle(room, here...)
		wrong = append(wrong, more...)
		if at == nil || at.session != sessions[room] {
			wrong = append(wrong, fmt.Sprintf("the session of %s did not go on: %+v", room, at))
		}
	}
	for _, p := range peers {
		n := len(c.books.leaves(p.room, p.id))
		if leaves += n; n > 0 {
			wrong = append(wrong, fmt.Sprintf("%s left %s", p.id, p.room))
		}
		p.mu.Lock()
		for _, j := range p.joins[1:] {
			if back = append(back, j.away); j.resumed {
				resumed++
			}
		}
		p.mu.Unlock()
	}
	figures.say(t, "Redis away for %s, three leases: %d leaves of %d peers, %d returns, %d of them to a kept membership",
		away.Round(time.Second), leaves, len(peers), len(back), resumed)
	return wrong
}

// TestOutageLong stops Redis for three leases of nodes: nobody leaves, all sessions go on.
func TestOutageLong(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		fail(t, longOutage(t, options{}, false))
		figures.did(0, 1)
	})
	t.Run("frozen", func(t *testing.T) {
		t.Parallel()
		if !*long {
			t.Skip("only with -long")
		}
		fail(t, longOutage(t, options{}, true))
		figures.did(0, 1)
	})
}

// TestOutageLongNotices switches the hold after an outage off, and has the test above fall.
func TestOutageLongNotices(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("only with -long")
	}
	path := mutated(t, "store/lua/_hold.lua", "if till > now then return till end", "")
	wrong := longOutage(t, options{binary: path}, false)
	caught := 0
	if len(wrong) > 0 {
		caught = 1
		t.Logf("noticed: %s", wrong[0])
	} else {
		t.Error("without the hold after an outage nothing was noticed")
	}
	figures.mutations("an outage of three leases", caught, 1)
}

// TestEmptyRestart wipes all data: all clients come to new sessions, and nothing of the old ones is seen.
func TestEmptyRestart(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	c := newCluster(t, options{redis: s})
	var peers []*peer
	rooms := []string{"r0", "r1", "r2"}
	for i, room := range rooms {
		for j := range 3 {
			p := c.newPeer(room, fmt.Sprintf("p%d", j), nil, on(c.node(i+j))).connected()
			peers = append(peers, p)
			if _, err := p.write("set-metadata", map[string]any{"key": "old", "data": "stale"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	faults := size(1, 5)
	for range faults {
		old := map[string]*state{}
		for _, room := range rooms {
			old[room] = c.stateOf(room)
		}
		at := time.Now()
		s.Restart(t)
		for _, p := range peers {
			if !p.until(func() bool {
				return p.final != nil || p.w != nil && p.session != old[p.room].session && p.epoch != old[p.room].epoch
			}) || p.ended() != nil {
				t.Fatalf("%s did not come to a new session of %s: %v", p.id, p.room, p.ended())
			}
		}
		took := time.Since(at)
		for _, room := range rooms {
			var here []*peer
			for _, p := range peers {
				if p.room == room {
					here = append(here, p)
				}
			}
			wrong, at := c.settle(room, here...)
			figures.diverged(len(wrong))
			fail(t, wrong)
			if len(at.entries) > 0 || len(at.members) != len(here) {
				t.Errorf("%s is not new: %+v", room, at)
			}
			for _, p := range here {
				p.mu.Lock()
				if j := p.joins[len(p.joins)-1]; j.recovered || j.resumed {
					t.Errorf("%s: a join of a session that never was: %+v", p.id, j)
				}
				p.mu.Unlock()
			}
		}
		figures.outage("all data wiped", took)
		for _, p := range peers {
			if _, err := p.write("set-metadata", map[string]any{"key": "old", "data": "stale"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.start() // agrees with the others on the partitions
	figures.did(len(peers)*faults, faults)
}

// TestRollback has Redis come back with older data, as the promotion of a replica that missed writes does: who was ahead
// of it gets a snapshot, whether it was connected or away.
func TestRollback(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	c := newCluster(t, options{redis: s})
	const room = "room"
	c.anchor(room)
	var peers []*peer
	for i := range 4 {
		peers = append(peers, c.newPeer(room, fmt.Sprintf("p%d", i), nil, nil).connected())
	}
	write := func(n int) {
		for i := range n {
			if _, err := peers[i%2].write("set-metadata", map[string]any{"key": fmt.Sprintf("k%d", i), "data": n}); err != nil {
				t.Fatal(err)
			}
		}
	}
	faults := size(2, 10)
	for round := range faults {
		write(10)
		if err := c.redis.Save(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		kept := c.stateOf(room)
		write(15 + round)
		ahead := c.stateOf(room)
		for _, p := range peers {
			if !p.until(func() bool { return p.seq >= ahead.seq }) {
				t.Fatalf("%s did not hear seq %d", p.id, ahead.seq)
			}
		}
		// The last one is away meanwhile.
		joins := make([]int, len(peers))
		for i, p := range peers {
			p.mu.Lock()
			joins[i] = len(p.joins)
			p.mu.Unlock()
		}
		s.Restart(t)
		peers[3].drop()
		if round%2 == 1 { // as many changes as were lost, others in their place
			write(15 + round)
		}
		for i, p := range peers {
			if !p.until(func() bool {
				return p.final != nil || p.w != nil && len(p.joins) > joins[i] && p.epoch != ahead.epoch
			}) || p.ended() != nil {
				t.Fatalf("%s was ahead, at seq %d of %d, and did not come to a new log: %v", p.id, ahead.seq, kept.seq, p.ended())
			}
			p.mu.Lock()
			if j := p.joins[len(p.joins)-1]; j.recovered || j.session != kept.session {
				t.Errorf("%s was ahead, and came back to %+v", p.id, j)
			}
			p.mu.Unlock()
		}
		at := c.rest(room, peers)
		var wrong []string
		for _, p := range peers {
			for _, why := range p.audit(at) {
				if !strings.Contains(why, ", where another was told ") || strings.Contains(why, " of "+at.epoch+" ") {
					wrong = append(wrong, why)
				}
			}
		}
		figures.diverged(len(wrong))
		fail(t, wrong)
		if len(at.members) != len(peers)+1 {
			t.Errorf("round %d: the members are %v", round, at.members)
		}
	}
	figures.did(faults*25, faults)
	figures.say(t, "%d times older data, %d clients ahead of it: each had a snapshot", faults, len(peers))
}
