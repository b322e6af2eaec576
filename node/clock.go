package node

import (
	"math"
	"sync"
	"time"
)

// storeClock is what a node knows of the clock of a partition's store, in which it states until when a join may happen: a
// script that was on its way for longer than its caller waited must not take over the peer, who has come back since. Each
// answer that tells the time bounds how far that clock is ahead of the node's own, between sending and receiving it; answers
// are put together as NTP does (RFC 5905, 11.2.1). One that contradicts those before is of another server, or of a clock that
// was set, and counts alone.
type storeClock struct {
	mu            sync.Mutex
	known         bool
	atLeast, most int64 // milliseconds that the store's clock is ahead of the time since began
}

// told takes note of a time that was asked for and answered by the node's own clock at these times.
func (c *storeClock) told(now int64, asked, answered time.Time) {
	atLeast := now - ceilMillis(answered.Sub(began))
	most := now + 1 - asked.Sub(began).Milliseconds() // it is cut to whole milliseconds
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && atLeast <= c.most && most >= c.atLeast {
		atLeast, most = max(atLeast, c.atLeast), min(most, c.most)
	}
	c.known, c.atLeast, c.most = true, atLeast, most
}

// at returns what the store's clock reads at a time of the node's, at the earliest; 0 if nothing is known of it.
func (c *storeClock) at(t time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0
	}
	return c.atLeast + t.Sub(began).Milliseconds()
}

func ceilMillis(d time.Duration) int64 {
	return int64(math.Ceil(float64(d) / float64(time.Millisecond)))
}
