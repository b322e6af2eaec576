//go:build unix && !race

package httpapi

import "testing"

// What a call allocates on its whole way here. Who makes it less lowers the figure; one more has to be worth it.
func TestCallAllocates(t *testing.T) {
	s := newStage(t)
	most := map[string]float64{"broadcast": 24, "set-metadata": 25, "get-metadata": 25, "ping": 5}
	for name, call := range hotCalls() {
		s.learn(call)
		text := []byte(call.text)
		before := s.calls.Load()
		if n := testing.AllocsPerRun(1000, func() { s.conn.handle(text) }); n > most[name] {
			t.Errorf("%s allocates %v times, not %v", name, n, most[name])
		}
		if n := s.calls.Load() - before; n < 1000*call.calls {
			t.Errorf("%s: %d calls of the store", name, n)
		}
		s.answer.Store(nil)
	}
}
