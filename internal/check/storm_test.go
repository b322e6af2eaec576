package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// heard keeps the notifications of some methods, in order, as a listener on a node got them.
type heard struct {
	mu      sync.Mutex
	methods []string
	texts   []string // params
	news    chan struct{}
	only    []string // methods; nil: all
}

func newHeard(only ...string) *heard { return &heard{news: make(chan struct{}, 1), only: only} }

func (h *heard) hear(method string, params []byte) {
	if h.only != nil && !slices.Contains(h.only, method) || bytes.Contains(params, []byte(`"snapshot":true`)) {
		return
	}
	h.mu.Lock()
	h.methods, h.texts = append(h.methods, method), append(h.texts, string(params))
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

func (h *heard) all() (methods, texts []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.methods), slices.Clone(h.texts)
}

// until waits until met is so of what was heard.
func (h *heard) until(t testing.TB, what string, met func(texts []string) bool) {
	t.Helper()
	timeout := time.NewTimer(2 * patience)
	defer timeout.Stop()
	for {
		if _, texts := h.all(); met(texts) {
			return
		}
		select {
		case <-h.news:
		case <-timeout.C:
			t.Fatalf("not heard: %s", what)
		}
	}
}

func hasSeq(seq uint64) func([]string) bool {
	head := `{"seq":` + strconv.FormatUint(seq, 10) + `,`
	return func(texts []string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return strings.HasPrefix(s, head) })
	}
}

// listeners joins a hidden listener to all entries on each node.
func (c *cluster) listeners(room string, only ...string) ([]*heard, []*wire.Conn) {
	c.Helper()
	var out []*heard
	var wires []*wire.Conn
	for i := range c.addrs {
		h := newHeard(only...)
		w, err := c.join(c.Context(), i, room, "listener"+strconv.Itoa(i), map[string]any{"listen": []string{"*"}, "hidden": true}, h.hear)
		if err != nil {
			c.Fatal(err)
		}
		out, wires = append(out, h), append(wires, w)
	}
	return out, wires
}

// TestWriters lets many sockets on three nodes write one key at the same version, again and again: one wins each version,
// every other is shown the winner's, and all hear the same versions in the same order.
func TestWriters(t *testing.T) {
	writers, rounds := size(250, 1000), size(4, 12)
	c := newCluster(t, nil)
	const room = "writers"
	hs, ls := c.listeners(room, "on-metadata-change")
	began := time.Now()
	ws := make([]*wire.Conn, writers)
	c.together(writers, func(i int) (err error) { // hidden, as joins told to a thousand others are another test's
		ws[i], err = c.join(c.Context(), i%len(c.addrs), room, fmt.Sprintf("w%d", i), map[string]any{"hidden": true}, nil)
		return err
	})
	t.Logf("%d sockets joined in %s", writers, time.Since(began).Round(time.Millisecond))

	began = time.Now()
	version, versions := uint64(0), []uint64(nil)
	for round := range rounds {
		got := make([]uint64, writers)
		won := make([]bool, writers)
		c.together(writers, func(i int) error {
			r, err := ws[i].Call("set-metadata", map[string]any{"key": "k", "data": fmt.Sprintf("%d of %d", i, round), "if_change_version": version})
			var e *wire.Error
			switch {
			case err == nil:
				won[i] = true
			case errors.As(err, &e) && e.Data.Reason == hearth.ReasonVersionConflict:
				r = e.Data.Current
			default:
				return err
			}
			var entry entryAnswer
			err = json.Unmarshal(r, &entry)
			got[i] = entry.Version
			return err
		})
		winners := 0
		for i := range won {
			if won[i] {
				winners++
			}
			if got[i] != got[0] || got[i] <= version {
				t.Fatalf("round %d: after version %d a writer is shown %d, another one %d", round, version, got[i], got[0])
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d writers won version %d", round, winners, version)
		}
		version = got[0]
		versions = append(versions, version)
	}
	for i, h := range hs {
		h.until(t, "the last version", hasSeq(version))
		var seen []uint64
		_, texts := h.all()
		for _, text := range texts {
			seen = append(seen, versionsIn(t, text)...)
		}
		if !slices.Equal(seen, versions) {
			t.Errorf("node %d told of versions %v, not %v", i, seen, versions)
		}
	}
	for i, w := range ws {
		if i%50 == 0 {
			r, err := w.Call("get-metadata", map[string]any{"key": "k"})
			if err != nil || !strings.Contains(string(r), `"change_version":`+strconv.FormatUint(version, 10)) {
				t.Errorf("writer %d reads %s, %v", i, r, err)
			}
		}
	}
	t.Logf("%d writers, %d versions, one winner each: %d calls in %s", writers, rounds, writers*rounds, time.Since(began).Round(time.Millisecond))
	for _, w := range slices.Concat(ws, ls) {
		w.Cut()
	}
}

func versionsIn(t testing.TB, text string) (out []uint64) {
	t.Helper()
	var p struct {
		Values []entryAnswer `json:"values"`
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Values {
		out = append(out, e.Version)
	}
	return out
}

// lockNote is an on-lock-change.
type lockNote struct {
	Seq   uint64 `json:"seq"`
	Name  string `json:"name"`
	State string `json:"state"`
	Peer  string `json:"peer_id"`
	Token uint64 `json:"token"`
}

// Ways in which a waiter may end; most are survivors.
const (
	survives = iota
	cutWaiting
	leavesWaiting
	takenOver
	givesUp
	cutHolding
	leavesHolding
	cutAnytime // while others are being served
	fates
)

// TestWaiters lets many wait for one lock, of whom a part dies in this way or that: whoever is left gets it, in the order
// of the queue, one at a time, with rising tokens.
func TestWaiters(t *testing.T) {
	for _, seed := range seeds(t, size(1, 4)) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { stormOfWaiters(t, seed) })
	}
}

func stormOfWaiters(t *testing.T, seed uint64) {
	const waiters, room, lock = 200, "waiters", "l"
	c := newCluster(t, nil)
	ctx := t.Context()
	rnd := rand.New(rand.NewPCG(seed, 0))
	hs, ls := c.listeners(room, "on-lock-change")
	first, err := c.join(ctx, 0, room, "first", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	acquire := func(w *wire.Conn, wait int64) (chan []byte, error) {
		return w.Send("lock-acquire", map[string]any{"name": lock, "ttl_ms": 60_000, "wait_ms": wait})
	}
	r, err := first.Call("lock-acquire", map[string]any{"name": lock, "ttl_ms": 60_000})
	if err != nil {
		t.Fatal(err)
	}
	fate := make([]int, waiters)
	for i := range fate {
		if rnd.IntN(2) == 0 {
			fate[i] = rnd.IntN(fates)
		}
	}
	ws, answers, twins := make([]*wire.Conn, waiters), make([]chan []byte, waiters), make([]*wire.Conn, waiters)
	c.together(waiters, func(i int) (err error) {
		if ws[i], err = c.join(ctx, i%3, room, name(i), map[string]any{"hidden": true}, nil); err != nil {
			return err
		}
		wait := int64(60_000)
		if fate[i] == givesUp {
			wait = 1500
		}
		answers[i], err = acquire(ws[i], wait)
		return err
	})
	queue := c.queue(t, room, lock, waiters)

	// Some die while all wait, and one after the other is given the lock.
	began := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, waiters)
	for i := range waiters {
		switch fate[i] {
		case cutWaiting:
			wg.Go(ws[i].Cut)
		case leavesWaiting:
			wg.Go(func() { _, errs[i] = ws[i].Call("leave", nil) })
		case takenOver:
			wg.Go(func() { twins[i], errs[i] = c.join(ctx, (i+1)%3, room, name(i), map[string]any{"hidden": true}, nil) })
		}
	}
	wg.Wait()
	released := time.Now()
	if _, err := first.Call("lock-release", r); err != nil {
		t.Fatal(err)
	}
	got := make([]uint64, waiters) // tokens
	for i := range waiters {
		wg.Go(func() { got[i], errs[i] = holds(ws[i], answers[i], fate[i], errs[i]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d waiters, all served %s after the release; %s in all", waiters, time.Since(released).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	last := lastNote(t, hs[0], func(notes []lockNote) bool {
		n := notes[len(notes)-1]
		return n.State != "acquired" && n.Token >= slices.Max(got)
	})
	if queue := c.queue(t, room, lock, 0); len(queue) > 0 {
		t.Errorf("still waiting: %v", queue)
	}
	for i, h := range hs {
		h.until(t, "the last change of the lock", hasSeq(last))
		holders := oneAtATime(t, notesOf(t, h))
		inOrder(t, fmt.Sprintf("node %d", i), holders, queue)
		for j, f := range fate {
			served := slices.ContainsFunc(holders, func(n lockNote) bool { return n.Peer == name(j) && (got[j] == 0 || n.Token == got[j]) })
			switch f {
			case survives, cutHolding, leavesHolding:
				if !served || got[j] == 0 {
					t.Errorf("%s was never given the lock", name(j))
				}
			case leavesWaiting: // it was gone before the first was served
				if served {
					t.Errorf("%s had left and was given the lock", name(j))
				}
			case takenOver:
				if served {
					t.Errorf("%s waited on a connection that had been replaced, and was given the lock", name(j))
				}
			}
		}
	}
	for _, w := range slices.Concat(ws, twins, ls, []*wire.Conn{first}) {
		if w != nil {
			w.Cut()
		}
	}
}

func name(i int) string { return fmt.Sprintf("w%03d", i) }

// holds waits for the lock and ends the holding, if it comes to that, as its fate is. It returns the token.
func holds(w *wire.Conn, answer chan []byte, fate int, err error) (uint64, error) {
	if fate == cutWaiting || fate == leavesWaiting || fate == takenOver {
		return 0, err // see above
	}
	if fate == cutAnytime {
		w.Cut()
		return 0, nil
	}
	r, err := w.Answer(answer)
	if fate == givesUp && wire.ReasonOf(err) == hearth.ReasonLockHeld {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("fate %d: %w", fate, err)
	}
	var h struct {
		Token uint64 `json:"token"`
	}
	if err := json.Unmarshal(r, &h); err != nil {
		return 0, err
	}
	switch fate {
	case cutHolding:
		w.Cut()
	case leavesHolding:
		_, err = w.Call("leave", nil)
	default:
		_, err = w.Call("lock-release", r)
	}
	return h.Token, err
}

// queue returns who waits for a lock, in order, once n do.
func (c *cluster) queue(t testing.TB, room, lock string, n int) (out []string) {
	t.Helper()
	tag := strings.TrimSuffix(c.store.Channel(room), "e:"+room)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		places, err := c.client.ZRange(t.Context(), tag+"q:"+room, 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(places) < n {
			continue
		}
		for _, place := range places {
			wish, err := c.client.HGet(context.Background(), tag+"z:"+room, place).Result()
			if err != nil || !strings.HasPrefix(place, lock+"/") {
				t.Fatal(place, err)
			}
			peer, _, _ := strings.Cut(wish, " ")
			out = append(out, peer)
		}
		return out
	}
	t.Fatalf("%d do not wait within %s", n, patience)
	return nil
}

func notesOf(t testing.TB, h *heard) []lockNote {
	t.Helper()
	_, texts := h.all()
	out := make([]lockNote, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// lastNote waits for the change that met is so with, and returns its seq.
func lastNote(t testing.TB, h *heard, met func([]lockNote) bool) (seq uint64) {
	t.Helper()
	h.until(t, "the end of the queue", func(texts []string) bool {
		if len(texts) == 0 {
			return false
		}
		notes := notesOf(t, h)
		seq = notes[len(notes)-1].Seq
		return met(notes)
	})
	return seq
}

// oneAtATime returns the acquisitions among changes in the order of seq; nobody may acquire what is held.
func oneAtATime(t testing.TB, notes []lockNote) (acquired []lockNote) {
	t.Helper()
	var holder *lockNote
	seq := uint64(0)
	for i := range notes {
		n := &notes[i]
		if n.Seq <= seq {
			t.Fatalf("seq %d follows %d", n.Seq, seq)
		}
		seq = n.Seq
		if n.State == "acquired" {
			if holder != nil {
				t.Fatalf("%+v, while held: %+v", n, holder)
			}
			if n.Token != n.Seq || len(acquired) > 0 && n.Token <= acquired[len(acquired)-1].Token {
				t.Fatalf("token of %+v after %+v", n, acquired[len(acquired)-1])
			}
			holder = n
			acquired = append(acquired, *n)
			continue
		}
		if holder == nil || holder.Peer != n.Peer || holder.Token != n.Token {
			t.Fatalf("%+v, while held: %+v", n, holder)
		}
		holder = nil
	}
	return acquired
}

// inOrder expects that who acquired, but for the first holder, did so in the order of the queue.
func inOrder(t testing.TB, where string, acquired []lockNote, queue []string) {
	t.Helper()
	at := -1
	for _, n := range acquired[1:] {
		i := slices.Index(queue, n.Peer)
		if i <= at {
			t.Fatalf("%s: %s, at %d in the queue, was served after the one at %d", where, n.Peer, i, at)
		}
		at = i
	}
}
