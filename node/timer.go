package node

import (
	"context"
	"time"
)

// inTime calls tell when it is woken, and again after what it then returns, `least` at least, until ctx ends.
func inTime(ctx context.Context, wake <-chan struct{}, least time.Duration, tell func(now time.Time) (wait time.Duration, more bool)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-wake:
		}
		if wait, more := tell(time.Now()); more {
			timer.Reset(max(wait, least))
		}
	}
}
