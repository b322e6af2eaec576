//go:build unix && !race

package httpapi

import (
	"math"
	"testing"
)

// What a call allocates on its whole way here. Who makes it less lowers the figure; one more has to be worth it.
func TestCallAllocates(t *testing.T) {
	const rounds, runs = 5, 500
	s := newStage(t)
	most := map[string]float64{"broadcast": 24, "set-metadata": 25, "get-metadata": 25, "ping": 5}
	for name, call := range hotCalls() {
		s.learn(call)
		text := []byte(call.text)
		before := s.calls.Load()
		least := math.Inf(1)
		for range rounds { // what the node does meanwhile by itself is counted too
			least = min(least, testing.AllocsPerRun(runs, func() { s.conn.handle(text) }))
		}
		if least > most[name] {
			t.Errorf("%s allocates %v times, not %v", name, least, most[name])
		}
		if n := s.calls.Load() - before; n < rounds*runs*call.calls {
			t.Errorf("%s: %d calls of the store", name, n)
		}
		s.answer.Store(nil)
	}
}
