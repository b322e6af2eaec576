package node

import (
	"testing"
	"time"
)

// What is said of the store's clock is never more than it reads, whatever the ways there and back take, and follows one that is set.
func TestStoreClock(t *testing.T) {
	var c storeClock
	if at := c.at(time.Now()); at != 0 {
		t.Fatalf("of nothing it knows %d", at)
	}
	const ahead = 1_700_000_000_000
	own := began
	ask := func(offset int64, there, back time.Duration) {
		asked := own
		now := offset + own.Add(there).Sub(began).Milliseconds()
		own = own.Add(there + back)
		c.told(now, asked, own)
	}
	off := func(offset int64) int64 { return offset + own.Sub(began).Milliseconds() - c.at(own) }
	ask(ahead, time.Second, 2*time.Second)
	if d := off(ahead); d < 0 || d > 2000 {
		t.Errorf("%d ms off after a slow answer", d)
	}
	ask(ahead, 300*time.Millisecond, 5*time.Millisecond)
	ask(ahead, 4*time.Millisecond, 300*time.Millisecond)
	ask(ahead, time.Second, time.Second) // tells nothing new
	if d := off(ahead); d < 0 || d > 5 {
		t.Errorf("%d ms off after a quick one each way", d)
	}
	for _, set := range []int64{ahead - 60_000, ahead + 60_000} {
		ask(set, 7*time.Millisecond, 9*time.Millisecond)
		if d := off(set); d < 0 || d > 9 {
			t.Errorf("%d ms off after the clock was set", d)
		}
	}
}
