package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// TestAKeyOfAWrongTypeHasNothingWritten puts a wrong type in the place of each key in turn: a verb that meets it fails
// before it has written anything.
func TestAKeyOfAWrongTypeHasNothingWritten(t *testing.T) {
	t.Parallel()
	t.Run("a busy room", func(t *testing.T) { wrongTypes(t, "") })
	t.Run("a log that has been emptied", func(t *testing.T) { wrongTypes(t, "l:") })
}

// wrongTypes does that in a room that has lost a key of some kind before; "" for none.
func wrongTypes(t *testing.T, without string) {
	h := newHouse(t, redistest.Real(t))
	h.succeed(h.writes()...) // so that there are as many keys as can be
	ctx := t.Context()
	lock := func(ctx context.Context) error {
		_, err := h.s.Acquire(ctx, room, h.ann, store.AcquireRequest{Lock: "l", Peer: "ann", TTL: time.Minute})
		return err
	}
	h.succeed(call{"acquire", lock})
	if without != "" {
		lost, err := h.client.Keys(ctx, "*}:"+without+room).Result()
		if err != nil || len(lost) != 1 {
			t.Fatal(lost, err)
		}
		if err := h.client.Del(ctx, lost...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	calls := append(append(h.writes(), h.removals()...), h.reads()...)
	calls = append(calls, call{"acquire", lock})
	keys, err := h.client.Keys(ctx, h.server.Prefix+":{*").Result()
	if err != nil {
		t.Fatal(err)
	}
	met := 0
	for _, key := range keys {
		kind, err := h.client.Type(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		const aside = "aside"
		for _, c := range calls {
			if err := h.client.Rename(ctx, key, aside).Err(); err != nil {
				t.Fatal(err)
			}
			wrong := "wrong"
			if kind == "string" {
				err = h.client.RPush(ctx, key, wrong).Err()
			} else {
				err = h.client.Set(ctx, key, wrong, 0).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
			before := h.dump()
			failed := c.do(ctx)
			after := h.dump()
			if failed != nil {
				met++
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("%s with a wrong type in %s failed with %v, and has written:\n%s", c.name, key, failed, diff)
				}
			}
			// All as it was, whatever has been done.
			delete(before, key)
			if err := h.client.FlushDB(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			for k, v := range before {
				if k == aside {
					k = key
				}
				if err := h.client.Restore(ctx, k, 0, v).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d keys, %d calls met a wrong type and wrote nothing", len(keys), met)
	if met < len(keys) {
		t.Errorf("only %d calls met a wrong type", met)
	}
}
