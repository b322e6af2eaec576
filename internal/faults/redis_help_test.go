package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// pulse is a client that adds one to a counter of its own all the time, over all faults: by its acknowledgements one sees
// how long writes failed, and by the counter what became of them.
type pulse struct {
	*peer
	stop context.CancelFunc
	done sync.WaitGroup

	mu           sync.Mutex
	began, acked []time.Time // of each acknowledged write, when it was begun and when it was answered
	maybe        int
	failed       error
}

// pulses starts one in each room.
func (c *cluster) pulses(rooms ...string) []*pulse {
	c.Helper()
	out := make([]*pulse, len(rooms))
	for i, room := range rooms {
		ctx, cancel := context.WithCancel(c.Context())
		p := &pulse{peer: c.newPeer(room, "pulse", nil, nil).connected(), stop: cancel}
		p.done.Go(func() { p.run(ctx) }) // ends by end, or with the test
		c.Cleanup(p.end)
		out[i] = p
	}
	return out
}

func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		_, err := p.write("update-metadata", map[string]any{"ops": []map[string]any{{"op": "increment", "key": "pulse", "by": 1}}})
		p.mu.Lock()
		switch {
		case err == nil:
			p.began, p.acked = append(p.began, began), append(p.acked, time.Now())
		case wire.ReasonOf(err) == "" || errors.Is(err, errUnknown):
			p.maybe++
		}
		if err != nil && !errors.Is(err, errUnknown) && p.ctx.Err() == nil {
			p.failed = err
		}
		over := p.failed != nil || p.ctx.Err() != nil
		p.mu.Unlock()
		if over {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (p *pulse) end() {
	p.stop()
	p.done.Wait()
}

// since returns how many writes that were begun after a time have been acknowledged.
func (p *pulse) since(t time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for i := len(p.began) - 1; i >= 0 && p.began[i].After(t); i-- {
		n++
	}
	return n
}

// silence returns the longest time between two acknowledgements of which the later one came after t.
func (p *pulse) silence(t time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 1; i < len(p.acked); i++ {
		if p.acked[i].After(t) {
			longest = max(longest, p.acked[i].Sub(p.acked[i-1]))
		}
	}
	return longest
}

// back waits until each pulse has had some writes that began after t, and notes how long writes failed.
func (c *cluster) back(kind string, t time.Time, pulses ...*pulse) {
	c.Helper()
	for _, p := range pulses {
		await(c, "writes of "+p.room+" after "+kind, func() bool { return p.since(t) >= 3 })
		if kind != "" {
			longest := p.silence(t)
			c.Logf("%s: no write of %s for %s", kind, p.room, longest)
			figures.outage(kind, longest)
		}
	}
}

// tally is what became of the acknowledged writes of a load and of pulses where Redis itself may have lost some.
type tally struct {
	*outcome
	acked int // acknowledged writes
	// unheard are lost messages: nobody was told of them, and the log of which they were is over. The rest of lost is state.
	unheard int
	forks   int // changes that were told differently in logs that are over, of which all were told
}

func (t *tally) String() string {
	return fmt.Sprintf("%s; %d writes acknowledged, of those lost %d messages that nobody was told; %d changes of logs that are over told differently",
		t.outcome, t.acked, t.unheard, t.forks)
}

// tally ends a load and its pulses and compares, as check does; but a log may have been given up for a new one, by which
// clients are told that something was lost. What they were told of the old one, and what they made of that, is void.
// Acknowledged writes that are gone are lost: increments and values that are not in the state, and messages that nobody
// was ever told. What differs from the store in the log that goes on is a divergence that nobody noticed.
func (l *load) tally(pulses ...*pulse) *tally {
	l.c.Helper()
	for _, p := range pulses {
		p.end()
	}
	l.end()
	t := &tally{outcome: &outcome{refused: map[string]int{}, closes: map[int]int{}}}
	for _, room := range l.rooms {
		peers := slices.Clone(l.peers[room])
		for _, p := range pulses {
			if p.room == room {
				peers = append(peers, p.peer)
			}
		}
		at := l.c.rest(room, peers)
		if at == nil {
			t.wrong = append(t.wrong, room+" has no session")
			t.diverged++
			continue
		}
		wrong := l.c.readLog(room)
		wrong = append(wrong, l.c.books.inTurn(room, at.epoch)...)
		for _, p := range peers {
			p.mu.Lock()
			p.spans = slices.DeleteFunc(p.spans, func(s span) bool { return s.epoch != at.epoch })
			p.mu.Unlock()
			wrong = append(wrong, p.audit(at)...)
		}
		for _, why := range wrong {
			if strings.Contains(why, ", where another was told ") && !strings.Contains(why, " of "+at.epoch+" ") {
				t.forks++
				continue
			}
			t.diverged++
			t.wrong = append(t.wrong, why)
		}
		l.weigh(t, room, at, pulses)
	}
	for _, w := range l.workers {
		t.work(w)
	}
	for _, p := range pulses {
		t.ops += len(p.acked)
		t.moves(p.peer)
		if p.failed != nil {
			t.wrong = append(t.wrong, fmt.Sprintf("the pulse of %s: %v", p.room, p.failed))
		}
	}
	return t
}

// rest waits until all clients have been given all there is, and returns it.
func (c *cluster) rest(room string, peers []*peer) (at *state) {
	c.Helper()
	for try := 0; ; try++ {
		if at = c.stateOf(room); at == nil {
			return nil
		}
		why := ""
		for _, p := range peers {
			if why = p.catchUp(at); why != "" {
				break
			}
		}
		now := c.stateOf(room)
		if now != nil && now.seq == at.seq && now.epoch == at.epoch {
			if why != "" {
				c.Errorf("%s", why)
			}
			return at
		}
		if try == 20 {
			c.Fatalf("%s comes to no rest: %+v, %s", room, at, why)
		}
	}
}

// weigh counts what is lost and doubled in a room.
func (l *load) weigh(t *tally, room string, at *state, pulses []*pulse) {
	number := func(key string) (n int) {
		if e, ok := at.entries[key]; ok {
			if err := json.Unmarshal(e.Data, &n); err != nil {
				t.wrong = append(t.wrong, fmt.Sprintf("%s: %s is %s", room, key, e.Data))
			}
		}
		return n
	}
	compare := func(key string, acked, maybe int) {
		t.acked += acked
		switch n := number(key); {
		case n < acked:
			t.lost += acked - n
		case n > acked+maybe:
			t.doubled += n - acked - maybe
			t.wrong = append(t.wrong, fmt.Sprintf("%s: %s is %d after %d acknowledged increments and %d unknown", room, key, n, acked, maybe))
		}
	}
	for _, key := range shared {
		acked, maybe := 0, 0
		for _, w := range l.workers {
			if w.room == room {
				acked, maybe = acked+w.added[key], maybe+w.maybe[key]
			}
		}
		compare(key, acked, maybe)
	}
	for _, p := range pulses {
		if p.room == room {
			compare("pulse", len(p.acked), p.maybe)
		}
	}
	heard := map[string]bool{}
	for _, epoch := range l.c.books.epochs(room) {
		here := map[string]uint64{}
		seqs, changes := l.c.books.all(room, epoch)
		for _, seq := range seqs {
			id := changes[seq].id
			if id == "" {
				continue
			}
			if first, twice := here[id]; twice {
				t.doubled++
				t.wrong = append(t.wrong, fmt.Sprintf("%s: message %s at seqs %d and %d of %s", room, id, first, seq, epoch))
			}
			here[id], heard[id] = seq, true
		}
	}
	for _, w := range l.workers {
		if w.room != room {
			continue
		}
		t.acked++
		if number("own-"+w.id) < w.own {
			t.lost++
		}
		for id := range w.messages {
			t.acked++
			if !heard[id] {
				t.lost++
				t.unheard++
			}
		}
	}
}

// record puts what was found into the figures, and fails the test if anything is wrong but what Redis itself lost.
func (t *tally) record(tb testing.TB, mode string, faults int) {
	tb.Helper()
	tb.Logf("%s", t)
	figures.did(t.ops, faults)
	figures.lostOf(mode, t.lost, t.acked)
	figures.diverged(t.diverged)
	figures.recovery(t.away)
	if t.lost > 0 {
		figures.say(tb, "of %d acknowledged writes lost, %d are messages that nobody was told, the rest state", t.lost, t.unheard)
	}
	if t.acked == 0 {
		tb.Error("nothing was acknowledged")
	}
	fail(tb, t.wrong)
}

// reasons returns how many calls of the nodes that live had each reason.
func (c *cluster) reasons() map[hearth.Reason]int {
	out := map[hearth.Reason]int{}
	for _, n := range c.live() {
		_, body := n.get("/metrics")
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, "hearth_rpc_calls_total{") {
				continue
			}
			_, rest, _ := strings.Cut(line, `reason="`)
			reason, rest, _ := strings.Cut(rest, `"`)
			_, rest, _ = strings.Cut(rest, "} ")
			f, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			out[hearth.Reason(reason)] += int(f)
		}
	}
	return out
}

// rising sums a metric of all nodes that live.
func (c *cluster) rising(name string) (sum int) {
	c.Helper()
	for _, n := range c.live() {
		v, err := n.metric(name)
		if err != nil {
			c.Fatal(err)
		}
		sum += int(v)
	}
	return sum
}
