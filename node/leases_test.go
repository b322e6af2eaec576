package node

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
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
