package store_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// What can't be counted because memory is full is let through: what needs memory is refused all the same, and what frees some
// must not be.
func TestAServerWithoutMemoryCountsNothing(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	const low = hearth.MinRate
	s, err := store.New(t.Context(), h.client, store.Options{
		Prefix: h.server.Prefix, Partitions: 4, Limits: hearth.Limits{PeerRate: low, RoomRate: low, JoinRate: low},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h.s = s
	counted := func(calls []call) (out []call) {
		for _, c := range calls {
			out = append(out, call{c.name, func(ctx context.Context) error { return c.do(s.Counted(ctx, "ann", "ann")) }})
		}
		return out
	}
	h.config("maxmemory-policy", "noeviction")
	h.config("maxmemory", "1mb") // a server without data has more than that
	before := h.dump()
	for range hearth.MinBurst {
		h.gives(hearth.ReasonUnavailable, patience, counted(h.writes())...)
		h.succeed(counted(h.reads())...)
	}
	if diff := cmp.Diff(before, h.dump()); diff != "" {
		t.Errorf("half of it was done:\n%s", diff)
	}
	h.succeed(counted(h.removals())...)
	h.config("maxmemory", "0")
	h.begin()
	h.join("ann")
	for range hearth.MinBurst {
		h.succeed(counted(h.reads()[:1])...)
	}
	if err := h.reads()[0].do(s.Counted(t.Context(), "ann", "ann")); hearth.ReasonOf(err) != hearth.ReasonRateLimited {
		t.Errorf("gave %v", err)
	}
}
