package node

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/store"
)

// A lease may be over in the store at any time after it was granted there, however late the answer comes.
func TestALeaseCountsFromWhatWasSent(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	var granted atomic.Int64 // the last time, by the node's own clock
	late := func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		err := next(ctx, cmd)
		granted.Store(int64(time.Since(began)))
		return err
	}
	w.meddler.on("begin", late)
	w.meddler.on("tick", func(context.Context, redis.Cmder, redis.ProcessHook) error { return errors.New("not yet") })
	m, _ := w.enter("r", "ann")
	check := func(what string) {
		t.Helper()
		until := m.inc.until.Load()
		if after := time.Duration(until - granted.Load()); after > w.Limits().NodeLease {
			t.Errorf("after %s it counts on %s more than was granted", what, after-w.Limits().NodeLease)
		}
	}
	check("its beginning") // which no renewal has followed
	w.meddler.on("tick", late)
	if _, err := m.lease.renew(t.Context(), m.inc, 0); err != nil {
		t.Fatal(err)
	}
	check("a renewal")
}

// Who has to wait until somebody else has begun an incarnation holds up nobody who comes at the same time; who finds one that is
// good waits for nothing.
func TestALeaseIsWaitedForAside(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	l := w.leaseOf("r")
	var got [2]*incarnation
	pool := fiber.NewPool(func(f *fiber.Fiber, i int) {
		inc, err := l.incarnation(f.Context(t.Context()))
		if got[i] = inc; err != nil {
			t.Error(err)
		}
		if inline := f.Inline(); inline != (i == 1) {
			t.Errorf("%d is done where it came: %t", i, inline)
		}
	})
	var round fiber.Round
	l.beginning <- struct{}{} // somebody is about to
	pool.Run(&round, 0)       // returns
	<-l.beginning
	pool.Close()
	l.beginning <- struct{}{}
	pool.Run(&round, 1)
	<-l.beginning
	if got[0] == nil || got[1] != got[0] {
		t.Errorf("%v, then %v", got[0], got[1])
	}
}

// A join that a fiber makes is given up as soon as any other.
func TestAFibersJoinHasItsTime(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	var of *fiber.Fiber
	var left time.Duration
	w.meddler.on("join", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		of = fiber.From(ctx)
		at, _ := ctx.Deadline()
		left = time.Until(at)
		return next(ctx, cmd)
	})
	parent, cancel := context.WithTimeout(t.Context(), CallTimeout)
	defer cancel()
	var own *fiber.Fiber
	done := make(chan struct{})
	pool := fiber.NewPool(func(f *fiber.Fiber, _ int) {
		defer close(done)
		own = f
		ctx := f.Context(parent)
		if _, err := w.leaseOf("r").joinInTime(ctx, &store.JoinRequest{Room: "r", Peer: hearth.Peer{ID: "ann", User: "u", Role: "host"}}); !errors.Is(err, store.ErrLapsed) {
			t.Errorf("%v, not that there is no such incarnation", err)
		}
	})
	var round fiber.Round
	pool.Run(&round, 0)
	round.End()
	<-done
	pool.Close()
	if of != own || left <= 0 || left > joinPatience {
		t.Errorf("the store's client is called for it: %t, with %s left", of == own, left)
	}
	over := dated{parent, time.Now().Add(-time.Second)}
	if err := over.Err(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("over, and says %v", err)
	}
	if err := (dated{parent, time.Now().Add(time.Minute)}).Err(); err != nil {
		t.Errorf("not over, and says %v", err)
	}
	if at, _ := (dated{parent, time.Now().Add(time.Minute)}).Deadline(); time.Until(at) > CallTimeout {
		t.Errorf("later than its parent, in %s", time.Until(at))
	}
}
