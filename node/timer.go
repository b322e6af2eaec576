package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// within bounds a call of the store: ctx ends in CallTimeout at the latest.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if at, ok := ctx.Deadline(); ok && time.Until(at) <= CallTimeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, CallTimeout)
}

// shareTime is how long calls that begin get the same context.
const shareTime = CallTimeout / 40

// shared has calls that begin at about the same time share a context that ends in CallTimeout: one of its own, with its
// timer, would cost a call more than all that the call itself does with it.
type shared struct {
	parent context.Context //nolint:containedctx // the node's own life

	mu  sync.Mutex
	now atomic.Pointer[sharedContext]
}

type sharedContext struct {
	ctx   context.Context    //nolint:containedctx // it is what is shared
	end   context.CancelFunc // not called: it ends by its time, under whoever has it
	until time.Time
}

// at returns the context of a call that begins now.
func (s *shared) at(now time.Time) context.Context {
	if c := s.now.Load(); c != nil && now.Before(c.until) {
		return c.ctx
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.now.Load(); c != nil && now.Before(c.until) {
		return c.ctx
	}
	c := &sharedContext{until: now.Add(shareTime)}
	c.ctx, c.end = context.WithDeadline(s.parent, now.Add(CallTimeout)) //nolint:gosec // it ends by its time, see end
	s.now.Store(c)
	return c.ctx
}

// CallContext returns the context of a call that nobody gives up before its time, for Join, Return and the verbs that take one
// step: it ends in CallTimeout or a little earlier, and is shared with other calls.
func (n *Node) CallContext(now time.Time) context.Context { return n.calls.at(now) }

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
