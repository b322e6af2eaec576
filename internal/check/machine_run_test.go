package check

import (
	"flag"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// TestStateMachine drives the store's verbs and compares all that they keep and tell with a model after each step.
func TestStateMachine(t *testing.T) {
	onBoth(t, func(t *testing.T, s *redistest.Server) {
		checks, length := size(10, 250), 200
		if s.Mini != nil {
			checks = size(2, 15)
		}
		for _, seed := range seeds(t, size(1, 4)) {
			began := time.Now()
			var n steps
			rapidly(t, seed, checks, length)
			rapid.Check(t, machineOn(t, s, &n, nil))
			t.Logf("seed %d: %d steps, %d of them refused, %d changes told, in %s", seed, n.all.Load(), n.refused.Load(), n.events.Load(),
				time.Since(began).Round(time.Millisecond))
		}
	})
}

// rapidly says how rapid runs what follows.
func rapidly(t testing.TB, seed uint64, checks, length int) {
	t.Helper()
	for name, value := range map[string]string{
		"rapid.seed": strconv.FormatUint(seed, 10), "rapid.checks": strconv.Itoa(checks), "rapid.steps": strconv.Itoa(length),
	} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
}

// machineOn returns one run of the machine on a server, whose scripts are changed by mutate.
func machineOn(t *testing.T, s *redistest.Server, n *steps, mutate func(string) string) func(*rapid.T) {
	plain := s.Client(t)
	prefix := prefixOn(s)
	c := &clock{client: plain, key: prefix + ":clock"}
	client := clientWith(t, s, func(text string) string {
		if mutate != nil {
			text = mutate(text)
		}
		return c.rewrite(text)
	})
	st, err := store.New(t.Context(), client, store.Options{Prefix: prefix, Partitions: 1, Limits: machineLimits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return func(rt *rapid.T) {
		m := &machine{t: rt, s: st, client: plain, clock: c, steps: n, part: newPartition(machineLimits), dead: map[string]bool{}}
		m.ok(plain.FlushDB(rt.Context()).Err())
		m.now = epochBegin
		for _, name := range roomNames {
			r := &watched{room: newRoom(name, m.now, machineLimits), used: map[string]any{}}
			r.sub = plain.Subscribe(rt.Context(), st.Channel(name))
			defer func() { m.ok(r.sub.Close()) }()
			_, err := r.sub.Receive(rt.Context())
			m.ok(err)
			m.rooms = append(m.rooms, r)
		}
		m.advance(0)
		m.beginNode()
		m.join() // most of what there is to do needs somebody
		rt.Repeat(m.actions())
	}
}

// onBoth runs f on an embedded server and on a real one, which are the test's own.
func onBoth(t *testing.T, f func(t *testing.T, s *redistest.Server)) {
	t.Helper()
	t.Run(redistest.NameMini, func(t *testing.T) { f(t, redistest.Mini(t)) })
	t.Run(redistest.NameReal, func(t *testing.T) { f(t, redistest.Real(t)) })
}
