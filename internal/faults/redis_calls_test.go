package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/wire"
)

// verbs are calls of a peer's socket, reads and writes, and what a server asks over HTTP.
var (
	verbs = map[string]map[string]any{
		"set-metadata":    {"key": "a", "data": 1},
		"update-metadata": {"ops": []map[string]any{{"op": "increment", "key": "n", "by": 1}}},
		"broadcast":       {"info": map[string]any{"message": "hi"}},
		"get-metadata":    {"keys": []string{"a"}},
		"lock-acquire":    {"name": "l", "ttl_ms": 1000},
		"peer-update":     {"name": "x"},
		"ping":            {},
	}
	requests = [][3]string{
		{"GET", "/rooms", ""},
		{"GET", "/rooms/room", ""},
		{"GET", "/rooms/room/peers", ""},
		{"GET", "/rooms/room/metadata", ""},
		{"PUT", "/rooms/room/peers/web", `{"lease_ms":60000}`},
		{"POST", "/rooms/room/messages", `{"message":"hi"}`},
		{"PATCH", "/rooms/room/metadata", `{"ops":[{"op":"set","key":"b","data":1}]}`},
	}
)

// TestStall has Redis stand still, or be nowhere: every call returns within five seconds, as one that may be repeated or
// whose outcome is open.
func TestStall(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"stopped", "nowhere"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := redistest.Real(t)
			c := newCluster(t, options{redis: s, nodes: 2, links: kind == "nowhere"})
			c.anchor("room")
			var socks []*wire.Conn
			for method := range verbs { // one each, as calls of one socket are answered in turn
				socks = append(socks, c.join(c.node(len(socks)), "room", "p-"+method, nil, nil))
			}
			rounds := size(1, 4)
			var longest atomic.Int64
			asked := atomic.Int64{}
			for range rounds {
				if kind == "stopped" {
					s.Freeze(t)
				} else {
					c.node(0).link.Cut()
					c.node(1).link.Cut()
				}
				over := time.Now().Add(size(7*time.Second, 20*time.Second))
				var wg sync.WaitGroup
				note := func(what string, began time.Time, reason hearth.Reason, err error) {
					took := time.Since(began)
					asked.Add(1)
					for old := longest.Load(); int64(took) > old; old = longest.Load() {
						if longest.CompareAndSwap(old, int64(took)) {
							break
						}
					}
					if took > 5*time.Second+2*time.Second { // two for a slow machine
						t.Errorf("%s took %s", what, took)
					}
					switch reason {
					case hearth.ReasonUnavailable, hearth.ReasonOutcomeUnknown:
					case "":
						if err != nil {
							t.Errorf("%s: %v", what, err)
						}
					default:
						t.Errorf("%s: %s", what, reason)
					}
				}
				i := 0
				for method, params := range verbs {
					w := socks[i]
					i++
					wg.Go(func() {
						for time.Now().Before(over) {
							began := time.Now()
							_, err := w.Call(method, params)
							if wire.Unknown(err) && wire.ReasonOf(err) == "" {
								return // the node has closed it: the lease is over
							}
							note(method, began, wire.ReasonOf(err), err)
							pass(t, 50*time.Millisecond)
						}
					})
				}
				for j, r := range requests {
					wg.Go(func() {
						for time.Now().Before(over) {
							began := time.Now()
							a, err := c.do(t.Context(), c.node(j), r[0], r[1], r[2])
							reason := hearth.Reason("")
							if a != nil {
								reason = a.Reason
							}
							note(r[0]+" "+r[1], began, reason, err)
							pass(t, 50*time.Millisecond)
						}
					})
				}
				wg.Go(func() { // who comes meanwhile
					began := time.Now()
					w, err := c.dial(t.Context(), c.node(0), "room", "late", nil)
					if err != nil {
						t.Error(err)
						return
					}
					err = w.Join(nil)
					note("join", began, wire.ReasonOf(err), nil)
					w.Cut()
				})
				wg.Wait()
				if kind == "stopped" {
					s.Thaw(t)
				} else {
					c.node(0).link.Heal()
					c.node(1).link.Heal()
				}
				await(t, "the nodes to be ready again", func() bool { return c.node(0).ready() && c.node(1).ready() })
				for i, w := range socks {
					w.Cut()
					socks[i] = c.newPeer("room", fmt.Sprintf("again%d", i), nil, nil).connected().w
				}
			}
			figures.did(int(asked.Load()), rounds)
			figures.say(t, "the longest of %d calls took %s", asked.Load(), time.Duration(longest.Load()).Round(10*time.Millisecond))
		})
	}
}

// TestClientPause pauses writes, also for longer than a call may take: calls fail in time, and what was executed after all
// is executed once.
func TestClientPause(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	c := newCluster(t, options{redis: s})
	l := c.load(loadOptions{seed: seedOf(t)})
	pulses := c.pulses(l.rooms...)
	pauses := size([]int{800, 4500}, []int{800, 4500, 2000, 100, 5500, 3900, 4100, 4500})
	for _, ms := range pauses {
		pass(t, 500*time.Millisecond)
		at := time.Now()
		if err := c.redis.Do(t.Context(), "CLIENT", "PAUSE", ms, "WRITE").Err(); err != nil {
			t.Fatal(err)
		}
		pass(t, time.Duration(ms)*time.Millisecond)
		c.back(fmt.Sprintf("CLIENT PAUSE %d ms", ms), at, pulses...)
	}
	why := c.reasons()
	o := l.tally(pulses...)
	figures.say(t, "%d pauses; calls ended by %v; %d doubled", len(pauses), why, o.doubled)
	o.record(t, "Redis stays", len(pauses))
	if o.lost > 0 || o.doubled > 0 {
		t.Errorf("%d lost, %d doubled", o.lost, o.doubled)
	}
}

// TestScriptFlush throws the scripts away all the time: users see nothing of it.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	c := newCluster(t, options{redis: s})
	l := c.load(loadOptions{seed: seedOf(t)})
	pulses := c.pulses(l.rooms...)
	flushes := 0
	for over := time.Now().Add(size(3*time.Second, 20*time.Second)); time.Now().Before(over); flushes++ {
		if err := c.redis.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		pass(t, 5*time.Millisecond)
	}
	errs := 0
	for why, n := range c.reasons() {
		if why != "ok" && why != hearth.ReasonLockHeld {
			errs += n
			t.Errorf("%d calls ended with %s", n, why)
		}
	}
	o := l.tally(pulses...)
	figures.say(t, "%d flushes, %d operations, %d errors", flushes, o.ops, errs)
	o.record(t, "Redis stays", flushes)
	if o.lost > 0 || o.returned > 0 {
		t.Errorf("%d lost; %d came back", o.lost, o.returned)
	}
}

// TestPubSubKill ends all subscriptions every second: no client misses anything, is told anything twice, or notices.
func TestPubSubKill(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	c := newCluster(t, options{redis: s})
	l := c.load(loadOptions{seed: seedOf(t)})
	pulses := c.pulses(l.rooms...)
	kills := size(4, 40)
	killed := 0
	for range kills {
		pass(t, time.Second)
		n, err := c.redis.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Int()
		if err != nil {
			t.Fatal(err)
		}
		killed += n
	}
	o := l.tally(pulses...)
	figures.say(t, "%d subscriptions ended in %d kills: %d gaps or duplicates at clients, %d sockets closed, %d logs read", killed, kills,
		o.diverged, o.returned, c.rising("hearth_log_repairs_total"))
	o.record(t, "Redis stays", kills)
	if killed < kills || o.lost > 0 || o.returned > 0 {
		t.Errorf("%d killed, %d lost; %d came back", killed, o.lost, o.returned)
	}
}

// forgetful is a proxy to Redis that now and then loses an answer on its way, with the connection.
type forgetful struct {
	l    net.Listener
	lost atomic.Int64
}

// newForgetful loses one of so many answers once on.
func newForgetful(t *testing.T, seed uint64, addr string, oneOf int, on *atomic.Bool) *forgetful {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forgetful{l: l}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for i := 0; ; i++ {
			a, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer a.Close()
				b, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
				if err != nil {
					return
				}
				defer b.Close()
				stop := context.AfterFunc(ctx, func() { _, _ = a.Close(), b.Close() })
				defer stop()
				wg.Go(func() { _, _ = io.Copy(b, a); _ = b.Close() })
				rnd := random(seed, i)
				buf := make([]byte, 64<<10)
				for {
					n, err := b.Read(buf)
					if err != nil {
						return
					}
					if on.Load() && rnd.IntN(oneOf) == 0 {
						f.lost.Add(1)
						return
					}
					if _, err := a.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return f
}

// TestRetryDup loses answers of Redis on their way, so that calls are repeated that were executed: none has a second effect.
func TestRetryDup(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	sd := seedOf(t)
	var on atomic.Bool
	f := newForgetful(t, sd, s.Addr, 60, &on)
	c := newCluster(t, options{redis: s, url: "redis://" + f.l.Addr().String()})
	l := c.load(loadOptions{seed: sd})
	pulses := c.pulses(l.rooms...)
	on.Store(true)
	pass(t, size(5*time.Second, 40*time.Second))
	on.Store(false)
	why := c.reasons()
	o := l.tally(pulses...)
	figures.say(t, "%d answers lost on their way; calls ended by %v; %d had two effects, %d none", f.lost.Load(), why, o.doubled, o.lost)
	o.record(t, "Redis stays", int(f.lost.Load()))
	if why[hearth.ReasonOutcomeUnknown] == 0 || o.lost > 0 || o.doubled > 0 {
		t.Errorf("%d outcomes were open; %d lost, %d doubled", why[hearth.ReasonOutcomeUnknown], o.lost, o.doubled)
	}
}

// TestOOM leaves Redis no memory: who goes can go, who comes is refused and leaves no trace, who is there stays; and all
// goes on when there is memory again.
func TestOOM(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t, redistest.MaxMemory("0"))
	c := newCluster(t, options{redis: s})
	const room = "room"
	c.anchor(room)
	var stay, goes []*peer
	for i := range 6 {
		stay = append(stay, c.newPeer(room, fmt.Sprintf("stays%d", i), nil, nil).connected())
		goes = append(goes, c.newPeer(room, fmt.Sprintf("goes%d", i), nil, nil).connected())
	}
	if _, err := stay[0].write("set-metadata", map[string]any{"key": "k", "data": "before"}); err != nil {
		t.Fatal(err)
	}
	limit := func(bytes string) {
		if err := c.redis.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	refused := 0
	for i := range size(5, 50) {
		w, err := c.dial(t.Context(), c.node(i), room, fmt.Sprintf("comes%d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err = w.Join(nil); wire.ReasonOf(err) != hearth.ReasonUnavailable {
			t.Errorf("a join without memory: %v", err)
		}
		refused++
		w.Cut()
		sock, err := stay[0].conn()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sock.Call("set-metadata", map[string]any{"key": "k", "data": "after"}); wire.ReasonOf(err) != hearth.ReasonUnavailable {
			t.Errorf("a write without memory: %v", err)
		}
	}
	for _, p := range goes {
		w, err := p.conn()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Call("leave", map[string]any{}); err != nil {
			t.Errorf("a leave without memory: %v", err)
		}
		p.stop()
	}
	pass(t, c.o.lease+c.o.grace) // nobody is taken for dead
	limit("0")
	wrong, at := c.settle(room, stay...)
	figures.diverged(len(wrong))
	fail(t, wrong)
	if len(at.members) != len(stay)+1 || string(at.entries["k"].Data) != `"before"` {
		t.Errorf("without memory there came to be %+v", at)
	}
	for _, p := range stay {
		p.mu.Lock()
		if len(p.closes) > 0 {
			t.Errorf("%s was closed with %v", p.id, p.closes)
		}
		p.mu.Unlock()
		if n := len(c.books.leaves(room, p.id)); n > 0 {
			t.Errorf("%s left", p.id)
		}
	}
	c.newPeer(room, "comes", nil, nil).connected()
	if _, err := stay[0].write("set-metadata", map[string]any{"key": "k", "data": "again"}); err != nil {
		t.Error(err)
	}
	figures.did(2*refused+len(goes), 1)
	figures.say(t, "%d joins refused without a trace, %d leaves done without memory", refused, len(goes))
}

// TestLoadingReadonly has Redis refuse calls because it reads what it kept, or is another one's replica: calls may be
// repeated, and nodes do not storm it meanwhile.
func TestLoadingReadonly(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t, redistest.AOF(), redistest.Directive("key-load-delay", "100")) // microseconds each
	c := newCluster(t, options{redis: s, lease: 20 * time.Second})
	const room = "room"
	c.anchor(room)
	var peers []*peer
	for i := range 4 {
		peers = append(peers, c.newPeer(room, fmt.Sprintf("p%d", i), nil, nil).connected())
	}
	idle := c.processed()
	pass(t, 2*time.Second)
	calm := c.processed() - idle
	faults := size(1, 5)
	for range faults {
		// Of a master that is not there: the data stays.
		if err := c.redis.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		before, at := c.processed(), time.Now()
		w, err := peers[0].conn()
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		for time.Since(at) < 2*time.Second {
			_, err := w.Call("set-metadata", map[string]any{"key": "k", "data": 1})
			if calls++; err == nil {
				t.Fatal("a replica takes writes")
			}
			if why := wire.ReasonOf(err); why != hearth.ReasonUnavailable {
				t.Errorf("a write of a replica: %v", err)
				break
			}
			pass(t, 100*time.Millisecond)
		}
		storm := c.processed() - before
		figures.say(t, "%d commands in two idle seconds, %d in two as a replica, in which there were %d calls", calm, storm, calls)
		if storm > 10*calm+2000 {
			t.Errorf("%d commands in two seconds: a storm", storm)
		}
		if err := c.redis.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			await(t, p.id+" to write again", func() bool {
				w, err := p.conn()
				if err != nil {
					return false
				}
				_, err = w.Call("set-metadata", map[string]any{"key": "k", "data": 1})
				return err == nil
			})
		}
	}
	// Something to read, slowly.
	pipe := c.redis.Pipeline()
	for i := range 20_000 {
		pipe.Set(t.Context(), fmt.Sprintf("filler:%d", i), i, 0)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	at := time.Now()
	s.StartLoading(t)
	before := c.processed() // since its start
	await(t, "a write after it has read all", func() bool {
		w, err := peers[1].conn()
		if err != nil {
			return false
		}
		_, err = w.Call("set-metadata", map[string]any{"key": "k", "data": 2})
		switch wire.ReasonOf(err) {
		case hearth.ReasonUnavailable, hearth.ReasonOutcomeUnknown:
		case "":
		default:
			t.Errorf("a write of a server that loads: %v", err)
		}
		return err == nil
	})
	took := time.Since(at)
	figures.say(t, "%d commands in %s in which it came up and read what it kept", c.processed()-before, took.Round(10*time.Millisecond))
	if n := c.processed() - before; float64(n) > (float64(calm)*5+1000)*(1+took.Seconds()) {
		t.Errorf("%d commands in %s: a storm", n, took)
	}
	figures.did(20*faults, 2*faults)
}

// processed is how many commands Redis has executed and refused.
func (c *cluster) processed() (n int) {
	c.Helper()
	text, err := c.redis.Info(c.Context(), "stats").Result()
	if err != nil {
		c.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "total_commands_processed" || name == "total_error_replies" {
			i, _ := strconv.Atoi(value)
			n += i
		}
	}
	return n
}
