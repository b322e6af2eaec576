package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
	"github.com/hearthstore/hearth/store"
	"github.com/hearthstore/hearth/store/storetest"
)

// open returns the product's client of a URL.
func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	target, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	client := target.Client()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestContractOnSentinel(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t, redistest.Calm())
	contractAt(t, s.URL, s.Prefix)
}

func TestContractOnCluster(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, redistest.Calm())
	contractAt(t, c.URL, c.Prefix)
}

func contractAt(t *testing.T, url, prefix string) {
	t.Helper()
	storetest.Run(t, func(t *testing.T) *storetest.Env {
		return &storetest.Env{Client: open(t, url), Prefix: fmt.Sprintf("%s-%d", prefix, envs.Add(1)), Poller: redistest.Poller(t)}
	})
}

// houseAt is a house whose store has the product's client of a topology; server is where its room is.
func houseAt(t *testing.T, url, prefix string, server func(s *store.Store) *redistest.Server) *house {
	t.Helper()
	client := open(t, url)
	s, err := store.New(t.Context(), client, store.Options{Prefix: prefix, Partitions: 4, Poller: redistest.Poller(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h := &house{T: t, server: server(s), s: s}
	if cluster, ok := client.(*redis.ClusterClient); ok {
		h.options = cluster.Options()
	}
	h.client = h.server.Client(t)
	h.begin()
	h.ann, h.bob = h.join("ann"), h.join("bob")
	if _, err := s.Set(t.Context(), room, h.ann, "k", []byte("1"), nil, hearth.Life{}); err != nil {
		t.Fatal(err)
	}
	return h
}

func onSentinel(t *testing.T) (*house, *redistest.SentinelServers) {
	t.Helper()
	s := redistest.Sentinel(t, redistest.Calm())
	return houseAt(t, s.URL, s.Prefix, func(*store.Store) *redistest.Server { return s.Master(t) }), s
}

func onCluster(t *testing.T) (*house, *redistest.ClusterServers) {
	t.Helper()
	c := redistest.Cluster(t, redistest.Calm())
	return houseAt(t, c.URL, c.Prefix, func(s *store.Store) *redistest.Server {
		return c.Owner(t, c.Slot(t, s.Channel(room)))
	}), c
}

// away has the master that the room is on not answer, and then be gone; all the others of gone as well.
func (h *house) away(gone ...*redistest.Server) {
	h.Helper()
	const within = 300 * time.Millisecond
	for _, c := range append(h.writes()[:3], h.removals()[:2]...) {
		h.server.Freeze(h.T)
		h.gives(hearth.ReasonOutcomeUnknown, within, c)
		h.server.Thaw(h.T)
		h.until(func() bool { _, err := h.s.Room(h.Context(), room); return err == nil })
	}
	h.server.Freeze(h.T)
	h.gives(hearth.ReasonUnavailable, within, h.reads()[:4]...)
	h.server.Kill(h.T)
	for _, s := range gone {
		s.Kill(h.T)
	}
	h.gives(hearth.ReasonUnavailable, patience, h.writes()[0], h.removals()[0], h.reads()[0])
}

func (h *house) until(met func() bool) {
	h.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); !met(); <-tick.C {
		if time.Since(begun) > patience {
			h.Fatal("not in time")
		}
	}
}

func TestAMasterThatIsAwayIsToldApart(t *testing.T) {
	t.Parallel()
	t.Run(redistest.NameSentinel, func(t *testing.T) {
		t.Parallel()
		h, s := onSentinel(t)
		h.away(s.Sentinels...)
	})
	t.Run(redistest.NameCluster, func(t *testing.T) {
		t.Parallel()
		h, c := onCluster(t)
		h.away()
		// The others serve.
		if err := h.s.Ping(t.Context()); err != nil {
			t.Errorf("with one master away: %v", err)
		}
		served := 0
		for i := range 8 {
			if _, err := h.s.Room(t.Context(), fmt.Sprintf("room-%d", i)); hearth.ReasonOf(err) == hearth.ReasonNoSession {
				served++
			}
		}
		if served == 0 || served == 8 {
			t.Errorf("%d of 8 rooms are served", served)
		}
		for _, m := range c.Nodes[:3] {
			if m != h.server {
				m.Freeze(t)
			}
		}
		h.gives(hearth.ReasonUnavailable, patience, call{"ping", h.s.Ping})
	})
}

// While a partition's slot moves nothing is done in it, by no verb: a script could find a part of its keys only.
func TestAPartitionThatMovesIsLeftAlone(t *testing.T) {
	t.Parallel()
	h, c := onCluster(t)
	h.options.MaxRedirects = 2 // else each call is tried again for a second
	slot, partition := c.Slot(t, h.s.Channel(room)), h.s.Partition(room)
	to := c.Nodes[0]
	if to == h.server {
		to = c.Nodes[1]
	}
	move := c.BeginMove(t, slot, to)
	target := to.Client(t)
	both := func() map[string]string {
		all := h.dump()
		keys, err := target.Keys(t.Context(), "*{*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			pipe := target.Pipeline()
			pipe.Do(t.Context(), "ASKING")
			dump := pipe.Dump(t.Context(), key)
			if _, err := pipe.Exec(t.Context()); err == nil {
				all[key] = dump.Val()
			}
		}
		for key, dump := range all {
			if strings.Contains(key, "}:node:") { // a set, which has another order wherever it is
				members := []byte(dump[:len(dump)-8]) // without the checksum
				slices.Sort(members)
				all[key] = string(members)
			}
		}
		return all
	}
	const within = patience
	unavailable := func() {
		t.Helper()
		h.gives(hearth.ReasonUnavailable, within, append(h.writes(), h.removals()...)...)
		h.gives(hearth.ReasonUnavailable, within,
			call{"begin", func(ctx context.Context) error { _, err := h.s.Begin(ctx, partition, "other"); return err }},
			call{"tick", func(ctx context.Context) error { _, err := h.s.Tick(ctx, partition, "inc", 10); return err }},
			call{"hand over", func(ctx context.Context) error {
				return h.s.HandOver(ctx, partition, []store.Place{{Room: room, Peer: "ann", Conn: h.ann.Conn}})
			}},
			call{"members", func(ctx context.Context) error { _, _, err := h.s.Members(ctx, partition, "inc", ""); return err }},
			call{"reap", func(ctx context.Context) error {
				return h.s.Settle(ctx, store.DueItem{Kind: store.DueNode, Partition: partition, Incarnation: "inc"})
			}},
			call{"sums", func(ctx context.Context) error {
				return h.s.Settle(ctx, store.DueItem{Kind: store.DueSums, Partition: partition})
			}},
			call{"user", func(ctx context.Context) error { _, err := h.s.UserPeers(ctx, "ann", ""); return err }},
			call{"summary", func(ctx context.Context) error { _, err := h.s.Summary(ctx, h.ann.Session); return err }},
			call{"sessions", func(ctx context.Context) error {
				_, _, err := h.s.Sessions(ctx, store.SessionFilter{Room: room}, "", 10)
				return err
			}},
			call{"end", func(ctx context.Context) error {
				_, err := h.s.EndAndShut(ctx, room, store.Writer{Key: "key"}, "", time.Minute)
				return err
			}})
	}
	before := both()
	moved := 0
	for ; ; moved++ {
		if moved%3 == 0 {
			unavailable()
		}
		keys, err := h.client.ClusterGetKeysInSlot(t.Context(), slot, 1).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		port := to.URL[len("redis://127.0.0.1:"):]
		if err := h.client.Do(t.Context(), "MIGRATE", "127.0.0.1", port, keys[0], 0, 5000).Err(); err != nil {
			t.Fatal(err)
		}
	}
	unavailable()
	after := both()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("something was done meanwhile:\n%s", diff)
	}
	t.Logf("%d keys moved", moved)
	move.Finish(t)
	h.succeed(h.reads()...)
	h.succeed(append(h.writes()[2:], h.removals()...)...)
}
