package node

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// newSweeper returns one of a node that does nothing else, on a server of one partition whose clock stands still at began.
func newSweeper(t *testing.T, hooks ...redis.Hook) (s *sweeper, server *redistest.Server, began time.Time) {
	t.Helper()
	server, began = redistest.Mini(t), time.Now()
	server.Mini.SetTime(began)
	client := server.Client(t)
	for _, hook := range hooks {
		client.AddHook(hook)
	}
	st, err := store.New(t.Context(), client, store.Options{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	n := &Node{store: st, ctx: t.Context(), log: slog.New(slog.DiscardHandler)}
	n.leases = newLeases(n)
	n.sweeper.init(n)
	return &n.sweeper, server, began
}

// sweep sweeps the partition and returns when all that was due is settled.
func sweep(s *sweeper) {
	s.lookNow(0, true)
	s.node.wg.Wait()
}

// A sweep that ended something looks again soon: of the deadlines that the same room has next it was not told.
func TestWhatASweepSettledIsLookedAtAgain(t *testing.T) {
	s, server, began := newSweeper(t)
	st := s.node.store
	if _, err := st.Begin(t.Context(), 0, "inc"); err != nil {
		t.Fatal(err)
	}
	q := store.JoinRequest{
		Room: "r", Peer: hearth.Peer{ID: "ann", User: "u", Role: "guest"}, Conn: hearth.NewConnSecret(), Incarnation: "inc",
	}
	if _, err := st.Join(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	w := store.Writer{Peer: "ann", Conn: q.Conn, User: "u"}
	for key, ttl := range map[string]time.Duration{"soon": time.Second, "later": 2 * time.Second} {
		if _, err := st.Set(t.Context(), "r", w, key, []byte("1"), nil, hearth.Life{TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	server.Mini.SetTime(began.Add(time.Second))
	sweep(s)
	if next := time.Until(s.next[0]); next > time.Second {
		t.Errorf("the next sweep is in %s", next)
	}
	clear(s.next) // as by then
	sweep(s)
	if next := time.Until(s.next[0]); next > time.Second {
		t.Errorf("the sweep after that is in %s", next)
	}
}

// An item that can't be settled does not hold up those after it.
func TestASweepGoesOnAfterWhatFails(t *testing.T) {
	s, server, began := newSweeper(t)
	st := s.node.store
	for i, room := range []string{"bad", "good"} {
		q := store.JoinRequest{
			Room: room, Peer: hearth.Peer{ID: "ann", User: "u", Role: "guest"}, Conn: hearth.NewConnSecret(),
			Lease: time.Duration(i+1) * time.Second,
		}
		if _, err := st.Join(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	key := strings.Replace(st.Channel("bad"), "e:bad", "c:bad", 1)
	server.Mini.Del(key)
	if err := server.Mini.Set(key, "no hash"); err != nil {
		t.Fatal(err)
	}
	server.Mini.SetTime(began.Add(time.Minute))
	sweep(s)
	if _, err := st.Room(t.Context(), "good"); hearth.ReasonOf(err) != hearth.ReasonNoSession {
		t.Errorf("the lease after it has not ended: %v", err)
	}
}

// trips counts the round trips of scripts.
type trips struct{ n atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			c.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// Many who time out together, as after a break of a network, are not a round trip each.
func TestWhatIsDueTogetherIsSettledTogether(t *testing.T) {
	c := &trips{}
	s, server, began := newSweeper(t, c)
	st := s.node.store
	const peers = 41
	for i := range peers {
		q := store.JoinRequest{
			Room: fmt.Sprintf("r%d", i/3), Peer: hearth.Peer{ID: fmt.Sprintf("p%d", i), User: "u", Role: "guest"},
			Conn: hearth.NewConnSecret(), Lease: time.Second,
		}
		if _, err := st.Join(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	server.Mini.SetTime(began.Add(time.Minute))
	c.n.Store(0)
	sweep(s)
	if n := c.n.Load(); n > 4 {
		t.Errorf("%d round trips, not one to learn what is due, and three to settle it", n)
	}
	if rooms, _, err := st.Rooms(t.Context(), "", peers); err != nil || len(rooms) != 0 {
		t.Errorf("left are %d rooms, %v", len(rooms), err)
	}
}

// jam holds up round trips of several commands.
type jam struct {
	trips
	now, most atomic.Int64
	release   chan struct{}
}

func (j *jam) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		now := j.now.Add(1)
		for most := j.most.Load(); now > most && !j.most.CompareAndSwap(most, now); most = j.most.Load() {
			continue
		}
		<-j.release
		j.now.Add(-1)
		return next(ctx, cmds)
	}
}

// waiting returns how many batches wait: for their turn, or in a jam.
func waiting() (n int) {
	b := make([]byte, 1<<20)
	for g := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		head, _, _ := strings.Cut(g, "\n")
		if strings.Contains(g, ".settleSome(") && (strings.Contains(head, "[select") || strings.Contains(head, "[chan receive")) {
			n++
		}
	}
	return n
}

// What many partitions have due at once doesn't go to Redis all at once, or it would do nothing else meanwhile. But a server that
// stands still holds up what goes to another.
func TestFewBatchesAtATime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		trust time.Duration
		most  int64
	}{{"of servers that answer", time.Hour, settlers}, {"of one that stands still", time.Millisecond, settlers + 2}} {
		t.Run(tt.name, func(t *testing.T) {
			j := &jam{release: make(chan struct{})}
			s, _, _ := newSweeper(t, j)
			s.trust = tt.trust
			var wg sync.WaitGroup
			const all = settlers + 2
			for i := range all {
				wg.Go(func() {
					if err := s.settleSome(t.Context(), []store.DueItem{{Kind: store.DueLog, Room: fmt.Sprintf("r%d", i)}}); err != nil {
						t.Error(err)
					}
				})
			}
			for j.most.Load() < tt.most || waiting() < all {
				runtime.Gosched()
			}
			for range all {
				j.release <- struct{}{}
			}
			wg.Wait()
			if most := j.most.Load(); most != tt.most {
				t.Errorf("%d batches at a time, not %d", most, tt.most)
			}
		})
	}
}

// What may be many round trips doesn't take the time of what is one.
func TestWhatIsLongIsSettledByItself(t *testing.T) {
	c := &trips{}
	s, _, _ := newSweeper(t, c)
	log := store.DueItem{Kind: store.DueLog, Room: "r"}
	c.n.Store(0)
	if err := s.settle(t.Context(), []store.DueItem{log, log, {Kind: store.DueDead, Room: "r", Session: "s"}, log}); err != nil {
		t.Fatal(err)
	}
	if n := c.n.Load(); n != 3 {
		t.Errorf("%d round trips, not two for what comes before it and after, and its own", n)
	}
}

// TestOwner: every node comes to the same choice whatever the order, the work is spread, and when a node goes only its
// own partitions move.
func TestOwner(t *testing.T) {
	const partitions = 1024
	nodes := []string{"a", "b", "c", "d"}
	count := map[string]int{}
	for p := range partitions {
		o := owner(p, nodes)
		count[o]++
		if other := owner(p, []string{"d", "b", "a", "c"}); other != o {
			t.Fatalf("partition %d is %s's and %s's", p, o, other)
		}
		if after := owner(p, []string{"a", "b", "d"}); o != "c" && after != o {
			t.Errorf("partition %d moved from %s to %s when c went", p, o, after)
		}
	}
	for _, n := range nodes {
		if count[n] < partitions/len(nodes)/2 {
			t.Errorf("%s has %d of %d partitions: %s", n, count[n], partitions, fmt.Sprint(count))
		}
	}
	if o := owner(0, nil); o != "" {
		t.Errorf("of no nodes %q is chosen", o)
	}
}

// What a node that died looked after is looked after by another one before the store is taken for away.
func TestADeadNodeIsFoundBeforeTheStoreIsTakenForAway(t *testing.T) {
	for _, lease := range []time.Duration{5 * time.Second, 15 * time.Second, time.Minute} {
		if gap := tickEvery(lease) + 4*announceEvery(lease); gap >= lease/2 {
			t.Errorf("with a lease of %s nobody looks for %s", lease, gap)
		}
	}
}
