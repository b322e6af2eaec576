package store

import (
	"testing"

	"github.com/hearthstore/hearth"
)

func TestASummaryThatIsNoneIsEmpty(t *testing.T) {
	for _, text := range []string{"", "room", "room epoch 1 2 3 n 4 5 empty"} {
		if sum := summaryOf(reply{"id", text, int64(1)}); sum != (hearth.Summary{}) {
			t.Errorf("%q: %+v", text, sum)
		}
	}
}

// What it costs to make a session_id whose partition is its room's, which every join does.
func BenchmarkNewSessionID(b *testing.B) {
	for _, n := range []int{64, 1024} {
		s := &Store{keys: newKeyspace("hearth", n)}
		b.Run(s.keys.tags[0], func(b *testing.B) {
			for b.Loop() {
				_ = s.newSessionID("room")
			}
		})
	}
}
