package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/wire"
)

// load is clients that do a random mix of things in some rooms while something is done to what serves them. What they were
// told is held to what is there at the end.
type load struct {
	c     *cluster
	rooms []string
	// peers stay to the end; others come and go.
	peers   map[string][]*peer
	workers []*worker
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// loadOptions say how much. The zero value is two rooms with four workers each.
type loadOptions struct {
	seed           uint64
	rooms, workers int
	pace           time.Duration // between two things that a worker does; 0: 5 ms
	at             func(room, worker int) func() *process
}

// worker is one client that does things.
type worker struct {
	*peer
	churn bool // leaves and comes back now and then
	seed  uint64
	n     int

	// Guarded by the load's end.
	own      int            // value of its own key that was acknowledged last
	asked    int            // that was written last
	added    map[string]int // to shared counters, acknowledged
	maybe    map[string]int // unknown to the end
	messages map[string]uint64
	ops      int
	refused  map[string]int
	failed   error
}

// anchor keeps a room's session alive, whatever becomes of nodes.
const anchor = "anchor"

func (c *cluster) anchor(room string) {
	c.Helper()
	a, err := c.do(c.Context(), c.live()[0], http.MethodPut, "/rooms/"+room+"/peers/"+anchor, `{"lease_ms":3600000}`)
	if err != nil || a.Reason != "" {
		c.Fatalf("the anchor of %s: %v, %+v", room, err, a)
	}
}

// load starts clients, all of them joined when it returns.
func (c *cluster) load(o loadOptions) *load {
	c.Helper()
	if o.rooms == 0 {
		o.rooms = 2
	}
	if o.workers == 0 {
		o.workers = 4
	}
	if o.pace == 0 {
		o.pace = 5 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(c.Context())
	l := &load{c: c, peers: map[string][]*peer{}, stop: cancel}
	for r := range o.rooms {
		room := "room" + strconv.Itoa(r)
		l.rooms = append(l.rooms, room)
		c.anchor(room)
		for i := range o.workers {
			w := &worker{
				seed: o.seed + uint64(r*1000+i), churn: i == o.workers-1, added: map[string]int{}, maybe: map[string]int{},
				messages: map[string]uint64{}, refused: map[string]int{},
			}
			var at func() *process
			if o.at != nil {
				at = o.at(r, i)
			}
			w.peer = c.newPeer(room, fmt.Sprintf("w%d", i), nil, at)
			l.workers = append(l.workers, w)
			if !w.churn {
				l.peers[room] = append(l.peers[room], w.peer)
			}
		}
	}
	for _, w := range l.workers {
		w.connected()
	}
	for _, w := range l.workers {
		l.done.Go(func() { w.run(ctx, o.pace) }) // ends by l.end
	}
	c.Cleanup(func() {
		cancel()
		l.done.Wait()
	})
	return l
}

// end stops the work, once what has been begun has an outcome.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

func (w *worker) run(ctx context.Context, pace time.Duration) {
	rnd := random(w.seed, 0)
	for ctx.Err() == nil && w.failed == nil {
		err := w.step(rnd.IntN(100)) //nolint:contextcheck // a new client lives as long as the test
		var refusal *wire.Error
		switch {
		case err == nil, errors.Is(err, errUnknown):
		case errors.As(err, &refusal):
			w.refused[string(refusal.Data.Reason)]++
		case w.ctx.Err() == nil || w.ended() != nil:
			w.failed = err
		}
		w.ops++
		t := time.NewTimer(pace/2 + time.Duration(rnd.Int64N(int64(pace))))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// Shared keys, each a counter to which everybody adds one now and then.
var shared = []string{"count-a", "count-b"}

// step does one thing; p draws which.
func (w *worker) step(p int) error {
	w.n++
	switch {
	case p < 35:
		w.asked++
		_, err := w.write("set-metadata", map[string]any{"key": "own-" + w.id, "data": w.asked})
		if err == nil {
			w.own = w.asked
		}
		return err
	case p < 60:
		key := shared[p%len(shared)]
		_, err := w.write("update-metadata", map[string]any{"ops": []map[string]any{{"op": "increment", "key": key, "by": 1}}})
		switch {
		case err == nil:
			w.added[key]++
		case wire.ReasonOf(err) == "":
			w.maybe[key]++
		}
		return err
	case p < 85:
		r, err := w.write("broadcast", map[string]any{"info": map[string]any{"message": w.n, "type": "load"}})
		if err != nil {
			return err
		}
		var m struct {
			ID  string `json:"message_id"`
			Seq uint64 `json:"seq"`
		}
		err = json.Unmarshal(r, &m)
		w.messages[m.ID] = m.Seq
		return err
	case p < 93:
		r, err := w.write("lock-acquire", map[string]any{"name": "lock", "ttl_ms": 2000})
		if err != nil {
			return err
		}
		var l struct {
			Token uint64 `json:"token"`
		}
		if err := json.Unmarshal(r, &l); err != nil {
			return err
		}
		_, err = w.write("lock-release", map[string]any{"name": "lock", "token": l.Token})
		return err
	case w.churn:
		if err := w.leave(); err != nil {
			return err
		}
		w.peer = w.c.newPeer(w.room, w.id, w.params, w.at)
		_, err := w.conn()
		return err
	}
	return nil
}

// outcome is what a load came to.
type outcome struct {
	ops      int
	lost     int // acknowledged writes that are not there
	doubled  int // writes that happened more than once
	unknown  int
	diverged int // breaches that no client was told of
	resumed  int // returns to a kept membership
	returned int // all returns
	snapshot int // returns that were given a snapshot
	away     []time.Duration
	refused  map[string]int
	closes   map[int]int
	wrong    []string
}

func (o *outcome) String() string {
	return fmt.Sprintf("%d operations, %d unknown, refused %v; %d returns (%d to a kept membership, %d by a snapshot; away %s); closed by %v; "+
		"%d acknowledged writes lost, %d doubled, %d divergences", o.ops, o.unknown, o.refused, o.returned, o.resumed, o.snapshot,
		quantiles(o.away), o.closes, o.lost, o.doubled, o.diverged)
}

// check ends the load and compares what clients were told with what is there. Lost, doubled and diverged are counted, so
// that a test may allow them; anything else is in wrong.
func (l *load) check() *outcome {
	l.c.Helper()
	l.end()
	o := &outcome{refused: map[string]int{}, closes: map[int]int{}}
	for _, room := range l.rooms {
		peers := slices.Clone(l.peers[room])
		wrong, at := l.c.settle(room, peers...)
		o.diverged += len(wrong)
		o.wrong = append(o.wrong, wrong...)
		if at == nil {
			continue
		}
		l.count(o, room, at)
	}
	for _, w := range l.workers {
		o.work(w)
	}
	return o
}

// work counts what a client did, and its returns.
func (o *outcome) work(w *worker) {
	o.ops += w.ops
	for why, n := range w.refused {
		o.refused[why] += n
	}
	for _, n := range w.maybe {
		o.unknown += n
	}
	if w.failed != nil {
		o.wrong = append(o.wrong, fmt.Sprintf("%s in %s: %v", w.id, w.room, w.failed))
	}
	o.moves(w.peer)
}

// moves counts a client's returns.
func (o *outcome) moves(p *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.joins[min(1, len(p.joins)):] {
		o.returned++
		o.away = append(o.away, j.away)
		if j.resumed {
			o.resumed++
		}
		if !j.recovered {
			o.snapshot++
		}
	}
	for _, code := range p.closes {
		o.closes[code]++
	}
}

// count compares acknowledged writes with the state at rest.
func (l *load) count(o *outcome, room string, at *state) {
	number := func(key string) int {
		n := 0
		if e, ok := at.entries[key]; ok {
			if err := json.Unmarshal(e.Data, &n); err != nil {
				o.wrong = append(o.wrong, fmt.Sprintf("%s: %s is %s", room, key, e.Data))
			}
		}
		return n
	}
	for _, key := range shared {
		added, maybe := 0, 0
		for _, w := range l.workers {
			if w.room == room {
				added, maybe = added+w.added[key], maybe+w.maybe[key]
			}
		}
		switch n := number(key); {
		case n < added:
			o.lost += added - n
			o.wrong = append(o.wrong, fmt.Sprintf("%s: %s is %d after %d acknowledged increments", room, key, n, added))
		case n > added+maybe:
			o.doubled += n - added - maybe
			o.wrong = append(o.wrong, fmt.Sprintf("%s: %s is %d after %d acknowledged increments and %d unknown", room, key, n, added, maybe))
		}
	}
	// Messages are looked for among what was told, in all epochs: what a failover lost is in none but the old one.
	ids := map[string][]uint64{}
	_, changes := l.c.books.all(room, at.epoch)
	for seq, c := range changes {
		if c.id != "" {
			ids[c.id] = append(ids[c.id], seq)
		}
	}
	for _, w := range l.workers {
		if w.room != room {
			continue
		}
		if n := number("own-" + w.id); n < w.own {
			o.lost++
			o.wrong = append(o.wrong, fmt.Sprintf("%s: the value of %s is %d after %d was acknowledged", room, w.id, n, w.own))
		}
		for _, id := range slices.Sorted(maps.Keys(w.messages)) {
			if len(ids[id]) == 0 {
				o.lost++
				o.wrong = append(o.wrong, fmt.Sprintf("%s: message %s of %s, seq %d, is nowhere", room, id, w.id, w.messages[id]))
			}
		}
	}
	for id, seqs := range ids {
		if len(seqs) > 1 {
			o.doubled++
			o.wrong = append(o.wrong, fmt.Sprintf("%s: message %s at seqs %v", room, id, seqs))
		}
	}
}

// clean ends the test if anything at all is wrong, and records the figures.
func (l *load) clean(tb testing.TB, faults int) *outcome {
	tb.Helper()
	o := l.check()
	tb.Logf("%s", o)
	figures.did(o.ops, faults)
	figures.lost("nodes die, Redis stays", o.lost)
	figures.diverged(o.diverged)
	figures.recovery(o.away)
	fail(tb, o.wrong)
	return o
}
