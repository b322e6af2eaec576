package store_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// gives expects that each call fails for that reason, in no more time than within.
func (h *house) gives(want hearth.Reason, within time.Duration, calls ...call) {
	h.Helper()
	for _, c := range calls {
		h.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			begun := time.Now()
			err := c.do(ctx)
			if hearth.ReasonOf(err) != want {
				t.Errorf("gave %v, not %s", err, want)
			}
			if took := time.Since(begun); took > within+time.Second {
				t.Errorf("took %v, not %v", took, within)
			}
			if e := hearth.AsError(err); want == hearth.ReasonUnavailable && e.RetryAfter <= 0 || err != nil && e.Cause == nil {
				t.Errorf("the error is %#v", e)
			}
		})
	}
}

func (h *house) succeed(calls ...call) {
	h.Helper()
	for _, c := range calls {
		if err := c.do(h.Context()); err != nil {
			h.Errorf("%s: %v", c.name, err)
		}
	}
}

// dump is everything in the server, key by key, in the server's own form of it.
func (h *house) dump() map[string]string {
	h.Helper()
	out := map[string]string{}
	keys, err := h.client.Keys(h.Context(), "*").Result()
	if err != nil {
		h.Fatal(err)
	}
	for _, key := range keys {
		if out[key], err = h.client.Dump(h.Context(), key).Result(); err != nil {
			h.Fatal(err)
		}
	}
	return out
}

func (h *house) config(key, value string) {
	h.Helper()
	if err := h.client.ConfigSet(h.Context(), key, value).Err(); err != nil {
		h.Fatal(err)
	}
}

const patience = 10 * time.Second

func TestAServerThatIsGoneIsUnavailable(t *testing.T) {
	server := redistest.Real(t)
	h := newHouse(t, server)
	h.client = h.newClient(func(o *redis.Options) { o.DialerRetries = 1 }) // each retry takes 100 ms
	server.Kill(t)
	h.gives(hearth.ReasonUnavailable, patience, append(h.reads(), append(h.writes(), h.removals()...)...)...)
	h.gives(hearth.ReasonUnavailable, patience,
		call{"live", func(ctx context.Context) error { _, err := h.s.Live(ctx, "node", time.Minute); return err }},
		call{"gone", func(ctx context.Context) error { return h.s.Gone(ctx, "node") }},
		call{"settle", func(ctx context.Context) error { return h.s.Settle(ctx, store.DueItem{Kind: store.DueLog, Room: room}) }})

	if _, err := store.New(t.Context(), h.client, store.Options{}); err == nil {
		t.Error("a store without a server")
	}
	h.server.Restart(t) // as another server: empty, without the scripts
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; <-tick.C { // the pool looks once a second whether it can dial again
		_, err := h.s.Room(t.Context(), room)
		if hearth.ReasonOf(err) == hearth.ReasonNoSession {
			break
		}
		if hearth.ReasonOf(err) != hearth.ReasonUnavailable || time.Since(begun) > patience {
			t.Fatalf("after the restart: %v", err)
		}
	}
	h.begin()
	h.join("ann")
}

func TestAServerThatDoesNotAnswerLeavesTheOutcomeOfWritesOpen(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	h.server.Freeze(t)
	const within = 50 * time.Millisecond
	h.gives(hearth.ReasonUnavailable, within, h.reads()...)
	h.gives(hearth.ReasonOutcomeUnknown, within, append(h.writes(), h.removals()...)...)
}

func TestARepeatWithItsOpIDIsSafeWhateverBecameOfTheFirst(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	h.ann.Op = "op"
	add := call{"increment", func(ctx context.Context) error {
		_, err := h.s.Update(ctx, room, h.ann, []hearth.Op{{Kind: hearth.OpIncrement, Key: "n", By: "1"}})
		return err
	}}
	h.server.Freeze(t)
	for range 3 { // each is sent and waits in the server
		h.gives(hearth.ReasonOutcomeUnknown, 50*time.Millisecond, add)
	}
	h.server.Thaw(t)
	h.succeed(add, add)
	if _, e, err := h.s.Get(t.Context(), room, "", "n"); err != nil || string(e.Data) != "1" {
		t.Errorf("it was done %s times, %v", e.Data, err)
	}
}

func TestACallThatWasGivenUpBeforeItWasSentIsNoFaultOfTheServer(t *testing.T) {
	h := newHouse(t, redistest.Mini(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range append(h.reads(), h.writes()...) {
		if err := c.do(ctx); hearth.ReasonOf(err) == hearth.ReasonInternal || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAServerWithoutMemoryRefusesWhatNeedsSomeAndLetsPeersLeave(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	h.config("maxmemory-policy", "noeviction")
	h.config("maxmemory", "1mb") // a server without data has more than that
	before := h.dump()
	h.gives(hearth.ReasonUnavailable, patience, h.writes()...)
	h.gives(hearth.ReasonUnavailable, patience, call{"join of a new session", func(ctx context.Context) error {
		_, err := h.s.Join(ctx, store.JoinRequest{Room: "other", Peer: hearth.Peer{ID: "ann"}, Conn: "c", Lease: time.Minute})
		return err
	}})
	h.gives(hearth.ReasonUnavailable, patience, call{"revoke", func(ctx context.Context) error {
		_, _, err := h.s.Revoke(ctx, hearth.Revocation{User: "ann"})
		return err
	}})
	if diff := cmp.Diff(before, h.dump()); diff != "" {
		t.Errorf("half of it was done:\n%s", diff)
	}
	h.succeed(h.reads()...)
	h.succeed(h.removals()...)
	for left := range h.dump() { // a summary is all that is kept of the session
		switch _, kind, _ := strings.Cut(left, "}:"); kind {
		case "due", "sums", "ended", "nodes", "beat", "gone":
		default:
			if left != h.server.Prefix+":partitions" {
				t.Errorf("left: %s", left)
			}
		}
	}
	h.config("maxmemory", "0")
	h.join("ann")
}

func TestAServerWithoutMemoryLetsAllGoOnThatNeedsNone(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	server := store.Writer{Key: "key"}
	carol := h.ann
	carol.Peer, carol.User, carol.Conn = "carol", "carol", "c"
	if _, err := h.s.Join(t.Context(), store.JoinRequest{
		Room: room, Peer: hearth.Peer{ID: "carol", User: "carol", Role: "guest"}, Conn: carol.Conn, Lease: time.Minute,
	}); err != nil {
		t.Fatal(err)
	}
	acquire := func(w store.Writer, lock string, wait time.Duration) store.Held {
		t.Helper()
		held, err := h.s.Acquire(t.Context(), room, w, store.AcquireRequest{Lock: lock, Peer: w.Peer, TTL: time.Minute, Wait: wait})
		if err != nil && !errors.Is(err, store.ErrWaiting) {
			t.Fatal(err)
		}
		return held
	}
	hold := hearth.Holding{Name: "l", Token: acquire(h.ann, "l", 0).Token}
	acquire(h.bob, "l", time.Minute)
	if _, err := h.s.Set(t.Context(), room, h.ann, "owned", []byte("1"), nil, hearth.Life{TTL: time.Hour, Owned: true}); err != nil {
		t.Fatal(err)
	}
	// Items that are met before what they are about is over.
	due, err := h.client.Keys(t.Context(), "*:due").Result()
	if err != nil || len(due) != 1 {
		t.Fatal(due, err)
	}
	for _, item := range []string{"time/" + room, "log/" + room} {
		if err := h.client.ZAdd(t.Context(), due[0], redis.Z{Member: item}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, jti := range []string{"a", "b"} {
		if _, _, err := h.s.Revoke(t.Context(), hearth.Revocation{TokenID: jti}); err != nil {
			t.Fatal(err)
		}
	}
	h.config("maxmemory-policy", "noeviction")
	h.config("maxmemory", "1mb") // a server without data has more than that
	settle := func(kind store.DueKind) call {
		return call{"settle " + string(kind), func(ctx context.Context) error {
			return h.s.Settle(ctx, store.DueItem{Kind: kind, Room: room, Partition: h.s.Partition(room)})
		}}
	}
	h.succeed(
		call{"renew", func(ctx context.Context) error { _, err := h.s.Renew(ctx, room, carol); return err }},
		call{"renew lock", func(ctx context.Context) error { _, err := h.s.RenewLock(ctx, room, h.ann, hold, 0, "ann"); return err }},
		settle(store.DueTimes), settle(store.DueLog),
		call{"take a revocation back", func(ctx context.Context) error {
			_, err := h.s.Unrevoke(ctx, hearth.RevocationID("a", ""))
			return err
		}},
		call{"forget revocations", func(ctx context.Context) error { return h.s.Settle(ctx, store.DueItem{Kind: store.DueRevoked}) }},
		call{"release", func(ctx context.Context) error { return h.s.ReleaseLock(ctx, room, h.ann, hold, "ann") }},
		call{"disconnect", func(ctx context.Context) error {
			_, err := h.s.Disconnect(ctx, room, server, "carol", "")
			return err
		}},
		call{"remove", func(ctx context.Context) error { _, err := h.s.Remove(ctx, room, server, "ann", ""); return err }},
		call{"end", func(ctx context.Context) error {
			_, err := h.s.EndAndShut(ctx, room, server, "", time.Minute)
			return err
		}},
		settle(store.DueSums))
}

// Nobody is expelled because memory is full, and whoever is gone can go.
func TestAServerWithoutMemoryKeepsNodesAndLetsTheirPeersGoAndComeBack(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	p := h.s.Partition(room)
	eve := h.join("eve")
	if _, err := h.s.Join(t.Context(), store.JoinRequest{
		Room: room, Peer: hearth.Peer{ID: "sdk", User: "sdk", Role: "guest"}, Conn: "sdk", Incarnation: "inc", Implicit: true,
	}); err != nil {
		t.Fatal(err)
	}
	h.config("maxmemory-policy", "noeviction")
	h.config("maxmemory", "1mb") // a server without data has more than that
	tick := func(inc string) call {
		return call{"tick of " + inc, func(ctx context.Context) error { _, err := h.s.Tick(ctx, p, inc, 100); return err }}
	}
	// over makes all deadlines of the partition come.
	over := func() {
		t.Helper()
		for _, kind := range []string{"due", "nodes"} {
			key := strings.TrimSuffix(h.s.Channel(room), "e:"+room) + kind
			for _, member := range h.client.ZRange(t.Context(), key, 0, -1).Val() {
				if err := h.client.ZIncrBy(t.Context(), key, -16_000, member).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	place := func(w store.Writer) store.Place { return store.Place{Room: room, Peer: w.Peer, Conn: w.Conn} }
	h.succeed(
		tick("inc"), tick(""),
		call{"another snapshot", func(ctx context.Context) error {
			_, err := h.s.Join(ctx, store.JoinRequest{
				Room: room, Peer: hearth.Peer{ID: "sdk", User: "sdk", Role: "guest"}, Conn: "sdk", Incarnation: "inc", Implicit: true, Again: true,
			})
			return err
		}},
		call{"begin", func(ctx context.Context) error { _, err := h.s.Begin(ctx, p, "next"); return err }},
		call{"hand over", func(ctx context.Context) error {
			return h.s.HandOver(ctx, p, []store.Place{place(h.ann), place(h.bob)})
		}},
		call{"return", func(ctx context.Context) error { _, err := h.tryJoin(ctx, "ann"); return err }},
		call{"members", func(ctx context.Context) error { _, _, err := h.s.Members(ctx, p, "inc", ""); return err }})
	h.config("maxmemory", "0") // for what the test does itself
	over()
	h.config("maxmemory", "1mb")
	h.succeed(
		tick("next"),
		call{"a grace that is over", func(ctx context.Context) error {
			return h.s.Settle(ctx, store.DueItem{Kind: store.DuePeer, Room: room, Peer: "bob"})
		}},
		call{"a node that is gone", func(ctx context.Context) error {
			return h.s.Settle(ctx, store.DueItem{Kind: store.DueNode, Incarnation: "inc", Partition: p})
		}})
	_, peers, err := h.s.Peers(t.Context(), room, "")
	if err != nil || len(peers) != 1 || peers[0].ID != "sdk" { // it has a grace
		t.Errorf("left are %+v, %v", peers, err)
	}
	h.succeed(call{"hand over again", func(ctx context.Context) error { return h.s.HandOver(ctx, p, []store.Place{place(eve)}) }})
}

func TestAReplicaIsUnavailableForWrites(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	before := h.dump()
	if err := h.client.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil { // where nobody listens
		t.Fatal(err)
	}
	h.gives(hearth.ReasonUnavailable, patience, append(h.writes(), h.removals()...)...)
	h.succeed(h.reads()...)
	if diff := cmp.Diff(before, h.dump()); diff != "" {
		t.Errorf("half of it was done:\n%s", diff)
	}
	h.config("replica-serve-stale-data", "no") // MASTERDOWN
	h.gives(hearth.ReasonUnavailable, patience, h.reads()[:8]...)
	if err := h.client.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	h.succeed(h.writes()[1:]...)
}

func TestAMasterWithoutReplicasIsUnavailableForWritesIfItNeedsThem(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	before := h.dump()
	h.config("min-replicas-to-write", "1")
	h.gives(hearth.ReasonUnavailable, patience, append(h.writes(), h.removals()...)...)
	h.succeed(h.reads()...)
	if diff := cmp.Diff(before, h.dump()); diff != "" {
		t.Errorf("half of it was done:\n%s", diff)
	}
}

func TestAServerThatForgotTheScriptsIsGivenThemAgain(t *testing.T) {
	for _, open := range []func(testing.TB) *redistest.Server{redistest.Mini, func(tb testing.TB) *redistest.Server { return redistest.Real(tb) }} {
		h := newHouse(t, open(t))
		for _, c := range append(h.reads(), append(h.writes()[2:], h.removals()...)...) {
			if err := h.client.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			h.succeed(c)
		}
	}
}

func TestErrorsOfTheServerAreToldApart(t *testing.T) {
	h := newHouse(t, redistest.Mini(t))
	for _, tt := range []struct {
		text string
		want hearth.Reason
	}{
		{"READONLY You can't write against a read only replica. script: 0123, on @user_script:1.", hearth.ReasonUnavailable},
		{"LOADING Redis is loading the dataset in memory", hearth.ReasonUnavailable},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", hearth.ReasonUnavailable},
		{"CLUSTERDOWN The cluster is down", hearth.ReasonUnavailable},
		{"TRYAGAIN Multiple keys request during rehashing of slot", hearth.ReasonUnavailable},
		{"NOREPLICAS Not enough good replicas to write.", hearth.ReasonUnavailable},
		{"OOM command not allowed when used memory > 'maxmemory'.", hearth.ReasonUnavailable},
		{"ERR Error compiling script: OOM command not allowed when used memory > 'maxmemory'.", hearth.ReasonUnavailable},
		{"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", hearth.ReasonUnavailable},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", hearth.ReasonUnavailable},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", hearth.ReasonInternal},
		{"ERR unknown command", hearth.ReasonInternal},
		{"NOAUTH Authentication required.", hearth.ReasonInternal},
		{"NOPERM User default has no permissions to run the 'evalsha' command", hearth.ReasonInternal},
	} {
		t.Run(strings.Fields(tt.text)[0], func(t *testing.T) {
			h := *h
			h.T = t
			h.server.Mini.SetError(tt.text)
			defer h.server.Mini.SetError("")
			h.gives(tt.want, patience, append(h.reads(), h.writes()...)...)
			for _, c := range h.writes() {
				if err := c.do(t.Context()); !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%s: the log would not show the cause: %v", c.name, err)
				}
			}
		})
	}
	h.succeed(h.writes()...)
}

// What goes by the client's connections waits for a free one; what goes by the store's own does not.
func TestAClientWithoutAFreeConnectionHasSentNothing(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	h.client = h.newClient(func(o *redis.Options) { o.PoolSize, o.PoolTimeout = 1, 20*time.Millisecond })
	conn := h.client.Conn() // the only one
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var own, others []call
	for _, c := range append(h.reads(), h.writes()...) {
		if slices.Contains([]string{"get", "join", "takeover", "set", "update", "broadcast", "update peer"}, c.name) {
			own = append(own, c)
		} else {
			others = append(others, c)
		}
	}
	h.gives(hearth.ReasonUnavailable, patience, others...)
	h.succeed(own...)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	h.succeed(h.writes()...)
	h.s.Close()
	h.gives(hearth.ReasonUnavailable, patience, own...)
	if err := h.client.Close(); err != nil {
		t.Fatal(err)
	}
	h.gives(hearth.ReasonUnavailable, patience, append(h.reads(), h.writes()...)...)
}

func TestNewAgreesOnThePartitions(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		client := server.Client(t)
		open := func(n int) error {
			_, err := store.New(t.Context(), client, store.Options{Prefix: server.Prefix, Partitions: n})
			return err
		}
		for _, n := range []int{-1, 1025} {
			if err := open(n); err == nil {
				t.Errorf("%d partitions", n)
			}
		}
		if err := open(0); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Get(t.Context(), server.Prefix+":partitions").Int(); n != 64 || err != nil {
			t.Errorf("recorded %d, %v", n, err)
		}
		if err := open(64); err != nil {
			t.Error(err)
		}
		for _, n := range []int{1, 63, 65, 1024} {
			if err := open(n); !errors.Is(err, store.ErrPartitions) || !strings.Contains(err.Error(), "HEARTH_PARTITIONS=64") {
				t.Errorf("%d partitions beside 64: %v", n, err)
			}
		}
		if err := client.Set(t.Context(), server.Prefix+":partitions", "many", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := open(64); err == nil {
			t.Error("a number that is none")
		}
	})
}

func TestNewFillsInTheDefaults(t *testing.T) {
	server := redistest.Mini(t)
	s, err := store.New(t.Context(), server.Client(t), store.Options{Limits: hearth.Limits{MaxPeers: 7}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	want := hearth.Limits{MaxPeers: 7}.WithDefaults()
	if s.Limits() != want || s.Partitions() != 64 {
		t.Errorf("%+v, %d partitions", s.Limits(), s.Partitions())
	}
	if c := s.Channel(room); !strings.HasPrefix(c, "hearth:{") || !strings.HasSuffix(c, "}:e:"+room) {
		t.Errorf("the channel is %s", c)
	}
	for i := range 100 {
		if p := s.Partition("room-" + strconv.Itoa(i)); p < 0 || p >= 64 {
			t.Errorf("partition %d", p)
		}
	}
}
