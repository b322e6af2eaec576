package perf

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/bench"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// crowd is sessions in a Redis that nobody does anything with.
type crowd struct {
	*redistest.Server
	store *store.Store
}

func newCrowd(tb testing.TB) *crowd { return newCrowdWith(tb, hearth.Limits{}) }

func newCrowdWith(tb testing.TB, l hearth.Limits) *crowd {
	tb.Helper()
	s := redistest.Real(tb)
	st, err := store.New(tb.Context(), s.Client(tb), store.Options{Prefix: s.Prefix, Limits: l, Poller: redistest.Poller(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(st.Close)
	return &crowd{Server: s, store: st}
}

func crowdRoom(i int) string { return "quiet-" + strconv.Itoa(i) }

// join has a peer join n rooms, in each of which it begins the session if it is the first.
func (c *crowd) join(tb testing.TB, n int, peer string) []store.Writer {
	tb.Helper()
	writers := make([]store.Writer, n)
	c.all(tb, n, func(ctx context.Context, i int) error {
		q := store.JoinRequest{
			Room: crowdRoom(i), Peer: hearth.Peer{ID: peer, User: peer, Role: "guest", Name: "Somebody"}, Conn: hearth.NewConnSecret(), Lease: time.Hour,
		}
		j, err := c.store.Join(ctx, q)
		writers[i] = store.Writer{Session: j.ID, Peer: peer, Conn: q.Conn, User: peer}
		return err
	})
	return writers
}

// all does f for 0 … n-1, 32 at a time.
func (c *crowd) all(tb testing.TB, n int, f func(ctx context.Context, i int) error) {
	tb.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(tb.Context(), i); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
}

// TestGrowth: verbs and the sweep, with few and with many live sessions in one Redis. The two are measured in turns.
func TestGrowth(t *testing.T) {
	few, many := size(50, 1_000), size(2_000, 200_000)
	type side struct {
		*crowd
		urls  []string
		times map[string][]float64
		idle  work
	}
	sides := make([]*side, 2)
	for i, n := range []int{few, many} {
		c := newCrowd(t)
		c.join(t, n, "one")
		urls, _ := startNodes(t, 1, c.URL, c.Prefix)
		sides[i] = &side{crowd: c, urls: urls, times: map[string][]float64{}}
	}
	duration := size("500ms", "8s")
	for range size(1, 5) {
		for _, s := range sides {
			take := func(name string, l bench.Latency) {
				s.times[name+" p50"] = append(s.times[name+" p50"], l.P50)
				s.times[name+" p99"] = append(s.times[name+" p99"], l.P99)
			}
			r := load(t, s.urls, "--scenario", "joins", "--rooms", "50", "--rate", "100", "--duration", duration)
			take("join", r.Latency["join"])
			take("leave", r.Latency["leave"])
			take("set", load(t, s.urls, "--scenario", "sets", "--rooms", "50", "--rate", "200", "--duration", duration).Latency["acknowledged"])
			take("broadcast", load(t, s.urls, "--scenario", "rooms", "--rooms", "50", "--rate", "200", "--duration", duration).Latency["acknowledged"])
		}
	}
	for _, s := range sides {
		client := s.Client(t)
		before, over := workOf(t, client), time.NewTimer(size(2*time.Second, 30*time.Second)) // some ticks
		<-over.C
		s.idle = workOf(t, client).minus(before)
	}
	rows := [][]string{{"ms", strconv.Itoa(few), strconv.Itoa(many), "ratio"}, {"---", "---", "---", "---"}}
	for _, verb := range []string{"join", "set", "broadcast", "leave"} {
		for _, q := range []string{" p50", " p99"} {
			a, b := median(sides[0].times[verb+q]), median(sides[1].times[verb+q])
			rows = append(rows, []string{verb + q, num(a), num(b), num(b/a) + "×"})
		}
	}
	secs := size(2.0, 30)
	for _, row := range []struct {
		name string
		of   func(w work) float64
	}{
		{"idle: scripts a second", func(w work) float64 { return w.scripts / secs }},
		{"idle: µs in scripts a second", func(w work) float64 { return w.usec / secs }},
		{"idle: ms of CPU a second", func(w work) float64 { return w.cpu * 1000 / secs }},
	} {
		a, b := row.of(sides[0].idle), row.of(sides[1].idle)
		rows = append(rows, []string{row.name, num(a), num(b), num(b/a) + "×"})
	}
	table(t, "live sessions in one Redis, medians of the rounds", rows...)
	// A tick a partition, every 3 s, and some looks at rooms: nothing for each session.
	if a, b := sides[0].idle.scripts, sides[1].idle.scripts; b > 2*a+100 {
		t.Errorf("an idle node ran %.0f scripts with %d sessions, and %.0f with %d", a, few, b, many)
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// TestBytes: what things weigh in Redis.
func TestBytes(t *testing.T) {
	n := size(500, 20_000)
	c := newCrowd(t)
	client := c.Client(t)
	c.join(t, 1, "one") // what is there once
	rows := [][]string{{"bytes", "each"}, {"---", "---"}}
	value := []byte(`{"x":1,"y":2,"text":"some words that somebody wrote"}`)
	var writers []store.Writer
	step := func(name string, times int, do func()) float64 {
		before := workOf(t, client)
		do()
		each := workOf(t, client).minus(before).memory / float64(n*times)
		rows = append(rows, []string{name, num(each)})
		return each
	}
	set := func(key string) {
		c.all(t, n, func(ctx context.Context, i int) error {
			_, err := c.store.Set(ctx, crowdRoom(i), writers[i], key, value, nil, hearth.Life{})
			return err
		})
	}
	whole := step("session with one peer, with the log entry of its join", 1, func() { writers = c.join(t, n, "one") })
	step("second peer, with the log entry of its join", 1, func() { c.join(t, n, "two") })
	step("first entry, with its log entry", 1, func() { set("first") })
	step("further entry, with its log entry", 4, func() {
		for k := range 4 {
			set("key" + strconv.Itoa(k))
		}
	})
	step("log entry of a message of the same bytes", 8, func() {
		for range 8 {
			c.all(t, n, func(ctx context.Context, i int) error {
				_, err := c.store.Broadcast(ctx, crowdRoom(i), writers[i], &hearth.Message{ID: hearth.NewMessageID(), Type: "chat", Message: value})
				return err
			})
		}
	})
	quiet := newCrowdWith(t, hearth.Limits{LogAge: time.Second})
	quiet.join(t, 1, "one")
	client = quiet.Client(t)
	step("session with one peer and a quiet log", 1, func() {
		quiet.join(t, n, "one")
		await(t, "the logs to be over their age", func() bool {
			quiet.all(t, n, func(ctx context.Context, i int) error {
				return quiet.store.Settle(ctx, store.DueItem{Kind: store.DueLog, Room: crowdRoom(i)})
			})
			l, err := quiet.store.Log(t.Context(), crowdRoom(n-1), "", 0, 1)
			return err == nil && len(l.Events) == 0
		})
	})
	table(t, fmt.Sprintf("%d sessions, values of %d bytes", n, len(value)), rows...)
	if whole < 100 || whole > 16<<10 {
		t.Errorf("a session takes %.0f bytes", whole)
	}
}

// TestJoinBySize: what a join costs Redis, while a room has few peers and many.
func TestJoinBySize(t *testing.T) {
	c := newCrowd(t)
	client := c.Client(t)
	rounds, few := size(2, 40), 25
	rows := [][]string{{"peers in the room", "µs", "bytes answered", "ratio"}, {"---", "---", "---", "---"}}
	var first float64
	answered := map[int]float64{}
	for _, peers := range []int{10, 100, 400, 1_000} {
		room := "of-" + strconv.Itoa(peers)
		enter := func(n int, prefix string) []store.Writer {
			writers := make([]store.Writer, n)
			c.all(t, n, func(ctx context.Context, i int) error {
				id := prefix + strconv.Itoa(i)
				q := store.JoinRequest{
					Room: room, Peer: hearth.Peer{ID: id, User: id, Role: "guest", Name: "Somebody"}, Conn: hearth.NewConnSecret(),
					Lease: time.Hour, Peers: hearth.MaxSnapshotPeer,
				}
				j, err := c.store.Join(ctx, q)
				writers[i] = store.Writer{Session: j.ID, Peer: id, Conn: q.Conn, User: id}
				return err
			})
			return writers
		}
		enter(peers, "p")
		var sum work
		for range rounds {
			before := workOf(t, client)
			writers := enter(few, "q")
			w := workOf(t, client).minus(before)
			sum.usec, sum.out = sum.usec+w.usec, sum.out+w.out
			c.all(t, few, func(ctx context.Context, i int) error {
				_, err := c.store.Leave(ctx, room, writers[i], hearth.Left)
				return err
			})
		}
		n := float64(rounds * few)
		if first == 0 {
			first = sum.usec / n
		}
		answered[peers] = sum.out / n
		rows = append(rows, []string{strconv.Itoa(peers), num(sum.usec / n), num(sum.out / n), num(sum.usec/n/first) + "×"})
	}
	table(t, "a join, by the peers that are there", rows...)
	if answered[1_000] > answered[100] || answered[100] < 2*answered[10] {
		t.Errorf("bytes that a join is answered, by the peers that are there: %v", answered)
	}
}
