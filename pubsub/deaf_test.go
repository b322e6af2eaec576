package pubsub

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// wire is where a hub's client dials: the address can be changed, and what it reads held up.
type wire struct {
	mu    sync.Mutex
	addr  string
	conns []*wireConn
	stall chan struct{} // closed while nothing is held up
}

type wireConn struct {
	net.Conn
	wire       *wire
	subscribed atomic.Bool
}

func newWire(addr string) *wire {
	w := &wire{addr: addr, stall: make(chan struct{})}
	close(w.stall)
	return w
}

func (w *wire) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := new(net.Dialer).DialContext(ctx, network, w.addr)
	if err != nil {
		return nil, err
	}
	own := &wireConn{Conn: c, wire: w}
	w.conns = append(w.conns, own)
	return own, nil
}

// redirect has all connections from now on lead to another server, as a failover does; of those that there are only the
// subscriptions stay.
func (w *wire) redirect(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addr = addr
	for _, c := range w.conns {
		if !c.subscribed.Load() {
			_ = c.Close()
		}
	}
}

// hold keeps subscriptions from reading until the func that it returns is called.
func (w *wire) hold() (release func()) {
	stall := make(chan struct{})
	w.mu.Lock()
	w.stall = stall
	w.mu.Unlock()
	return func() { close(stall) }
}

func (c *wireConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("subscribe")) {
		c.subscribed.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	if c.subscribed.Load() {
		c.wire.mu.Lock()
		stall := c.wire.stall
		c.wire.mu.Unlock()
		<-stall
	}
	return c.Conn.Read(b)
}

// wired is a station whose hub dials by a wire.
func wired(t testing.TB, s *redistest.Server, every time.Duration) (*station, *wire) {
	w := newWire(s.Addr)
	st := &station{TB: t, log: &fakeLog{}, client: s.Client(t), prefix: s.Prefix}
	st.log.begin("A")
	own := redis.NewClient(&redis.Options{
		Addr: "by wire", Dialer: w.dial, DialTimeout: time.Second, ReadTimeout: time.Second, DialerRetries: 1, MaxRetries: -1,
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	st.Hub = New(Options{
		Client: own, Channel: st.channel, Probes: []string{st.channel("probe")}, Read: st.log.read, Decode: decode, ProbeEvery: every,
	})
	t.Cleanup(func() {
		st.Close()
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return st, w
}

// A subscription stays on a server that is the store no more (35): its connection lives, and nothing is ever published
// there again. The probe, which goes where changes go, tells.
func TestDeafSubscription(t *testing.T) {
	const every = 300 * time.Millisecond
	old, now := redistest.Real(t), redistest.Real(t)
	st, w := wired(t, old, every)
	_, e := st.listen("r")
	st.publish("r", st.log.add())
	e.until(1)
	eventually(t, "it hears", st.Healthy)
	w.redirect(now.Addr)
	began := time.Now()
	st.client = now.Client(t)
	st.publish("r", st.log.add()) // that nobody hears
	eventually(t, "not ready", func() bool { return !st.Healthy() })
	noticed := time.Since(began)
	e.until(2)
	e.want(span(1, 2))
	repaired := time.Since(began)
	eventually(t, "it hears again", st.Healthy)
	st.publish("r", st.log.add())
	e.until(3)
	t.Logf("probes every %v; not ready after %v, what was missed was read after %v", every,
		noticed.Round(time.Millisecond), repaired.Round(time.Millisecond))
	if n := st.Stats.Deaf.Load(); n == 0 {
		t.Error("the connection was not made anew")
	}
	if noticed > 10*every { // two and the slowness of a busy machine
		t.Errorf("noticed after %v", noticed)
	}
}

// Subscribing is refused for a while, to the probe as well as to a room: both are asked for again.
func TestRefusedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	admin := s.Client(t)
	if err := admin.Do(t.Context(), "acl", "setuser", "default", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	st := newStationThat(t, s, time.Minute) // probes alone would take as long
	refused := func() bool {
		log, err := admin.Do(t.Context(), "acl", "log").Slice()
		return err == nil && len(log) > 0
	}
	eventually(t, "the probe is refused", refused)
	e, done := newEar(t), make(chan error)
	var sub *Subscription
	go func() {
		var err error
		sub, err = st.Subscribe(t.Context(), "r", e)
		done <- err
	}()
	eventually(t, "both are refused", func() bool { return refused() && st.Rooms() == 1 })
	if st.Healthy() {
		t.Error("healthy although it can't hear")
	}
	if err := admin.Do(t.Context(), "acl", "setuser", "default", "allchannels").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sub.Activate(st.log.at())
	eventually(t, "it hears", st.Healthy)
	st.publish("r", st.log.add())
	e.until(1)
}

// A store that can't be asked proves nothing of the subscription: it is not made anew all the time, but the node is not
// ready.
func TestProbesThatCantBePublished(t *testing.T) {
	const every = 100 * time.Millisecond
	s := redistest.Real(t)
	st, w := wired(t, s, every)
	st.listen("r")
	eventually(t, "it hears", st.Healthy)
	w.redirect("127.0.0.1:1")
	eventually(t, "not ready", func() bool { return !st.Healthy() })
	if n := st.Stats.Deaf.Load(); n > 0 {
		t.Errorf("made anew %d times by then", n)
	}
	w.redirect(s.Addr)
	eventually(t, "it hears again", st.Healthy)
}

// The server unsubscribes unasked, as it does on a cluster when a slot has moved.
func TestUnsubscribedUnasked(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStationThat(t, s, time.Minute) // probes are no help
		_, e := st.listen("r")
		for i := range 6 {
			l := st.links[""]
			l.mu.Lock()
			conn := l.conn
			l.mu.Unlock()
			if err := conn.Tell("unsubscribe", st.channel("r")); err != nil {
				t.Fatal(err)
			}
			st.publish("r", st.log.add())
			e.until(uint64(i + 1))
		}
		e.want(span(1, 6))
	})
}

// A connection may be given up while its server still confirms what it was asked for.
func TestGivenUpWhileItConfirms(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStationThat(t, s, time.Minute)
		for i := range 30 {
			var subs [100]*Subscription
			for j := range subs {
				subs[j] = &Subscription{to: newEar(t)}
				if _, err := st.enter(t.Context(), strconv.Itoa(i)+"/"+strconv.Itoa(j), subs[j]); err != nil {
					t.Fatal(err)
				}
			}
			l := st.links[""]
			l.mu.Lock()
			conn := l.conn
			l.mu.Unlock()
			if conn != nil {
				conn.breaks(errReplaced)
			}
			for _, sub := range subs {
				sub.Close()
			}
		}
		_, e := st.listen("r")
		st.publish("r", st.log.add())
		e.until(1)
	})
}

// More may be there than is read in one go: then two read, one after the other, while what the first has heard is handed on.
func TestMuchAtOnce(t *testing.T) {
	s := redistest.Real(t)
	for range 5 {
		t.Run("", func(t *testing.T) { muchAtOnce(t, s) })
	}
}

func muchAtOnce(t *testing.T, s *redistest.Server) {
	t.Helper()
	st := newStationThat(t, s, time.Minute)
	const rooms, changes = 100, 100
	ear := gated{make(chan struct{}), new(atomic.Int64), new(atomic.Int64)}
	stuck, err := st.Subscribe(t.Context(), "stuck", ear)
	if err != nil {
		t.Fatal(err)
	}
	stuck.Activate(st.log.at())
	var ears [rooms]*countingEar
	for i := range ears {
		ears[i] = &countingEar{}
		sub, err := st.Subscribe(t.Context(), strconv.Itoa(i), ears[i])
		if err != nil {
			t.Fatal(err)
		}
		sub.Activate(st.log.at())
	}
	texts := make([]string, changes)
	for i := range texts {
		texts[i] = st.log.add() + strings.Repeat(" ", 500)
	}
	st.publish("stuck", texts[0])
	eventually(t, "nobody reads", func() bool { return ear.doing.Load() == 1 })
	pipe := st.client.Pipeline()
	for _, text := range texts {
		for i := range ears {
			pipe.Publish(t.Context(), st.channel(strconv.Itoa(i)), text)
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(ear.gate)
	for i, e := range ears {
		eventually(t, "all is heard", func() bool { return e.n.Load() == changes })
		if e.lost.Load() {
			t.Errorf("room %d is lost", i)
		}
	}
}

// countingEar counts what it hears.
type countingEar struct {
	n    atomic.Int64
	lost atomic.Bool
}

func (e *countingEar) Deliver(*Message) { e.n.Add(1) }
func (e *countingEar) Lost()            { e.lost.Store(true) }

// A room that is far behind is waited for, by who reads its connection and nobody else: more is not taken from the server. What comes
// meanwhile is heard once it has caught up.
func TestWhoReadsWaitsForARoomThatIsBehind(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStationThat(t, s, time.Minute)
		sub, e := st.listen("r")
		r := sub.room
		r.mu.Lock() // as if it were handed on for long
		const n = 2 * maxHeard
		for range n {
			st.publish("r", st.log.add())
		}
		waits := func() int {
			r.inbox.mu.Lock()
			defer r.inbox.mu.Unlock()
			return len(r.inbox.texts)
		}
		eventually(t, "it is behind", func() bool { return waits() == maxHeard })
		for range 200 { // in which all would be heard
			st.publish("none", "x")
		}
		if heard := st.Stats.Received.Load(); waits() > maxHeard || heard > maxHeard+MaxBatch {
			t.Errorf("%d changes wait, of %d that were heard", waits(), heard)
		}
		r.mu.Unlock()
		e.until(n)
		e.want(span(1, n))
	})
}

// The server has fewer channels for the connection than the hub thinks.
func TestServerCountsOtherChannels(t *testing.T) {
	s := redistest.Real(t)
	st := newStationThat(t, s, 500*time.Millisecond) // a busy machine is not that late
	_, e := st.listen("r")
	eventually(t, "it hears", st.Healthy)
	l := st.links[""]
	l.mu.Lock()
	l.on["a channel that the server does not know of"] = struct{}{}
	l.mu.Unlock()
	eventually(t, "made anew for that", func() bool { return st.said.Has("the server counts other channels") })
	st.publish("r", st.log.add())
	e.until(1)
}

// The server drops a subscriber that does not read (39): it comes back, and what it missed is read.
func TestOutputBufferLimit(t *testing.T) {
	s := redistest.Real(t)
	if err := s.Client(t).ConfigSet(t.Context(), "client-output-buffer-limit", "pubsub 256kb 128kb 1").Err(); err != nil {
		t.Fatal(err)
	}
	st, w := wired(t, s, time.Minute)
	_, e := st.listen("r")
	st.publish("r", st.log.add())
	e.until(1)
	release := w.hold()
	big := strings.Repeat(" ", 64<<10)
	published := 0
	eventually(t, "the server has dropped it", func() bool {
		for range 20 {
			st.publish("r", st.log.add()+big)
			published++
		}
		return st.subscriptions("r") == 0
	})
	release()
	st.publish("r", st.log.add())
	last := st.log.at().Seq
	e.until(last)
	if got, lost := e.last(); lost || got.Seq != last {
		t.Errorf("at %v of %d, lost: %v", got, last, lost)
	}
	t.Logf("%d changes of 64 KiB before it was dropped; %d logs read", published, st.Stats.Repairs.Load())
}

// Changes are dropped, doubled and swapped on their way (36): at rest each room is where the store is, also one of which
// the newest change was lost.
func TestGapsInjected(t *testing.T) {
	seed := rand.Uint64N(1 << 32)
	if s := os.Getenv(envSeed); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	s := redistest.Real(t)
	client := s.Client(t)
	const rooms, changes = 30, 200
	logs := map[string]*fakeLog{}
	for i := range rooms {
		l := &fakeLog{}
		l.begin("A")
		logs["{x}"+strconv.Itoa(i)] = l
	}
	st := &station{TB: t, client: client, prefix: s.Prefix}
	var calls atomic.Int64
	own := s.Client(t)
	st.Hub = New(Options{
		Client: own, Channel: st.channel, Probes: []string{st.channel("{x}probe")}, Decode: decode,
		ProbeEvery: 200 * time.Millisecond, CompareEvery: 20 * time.Millisecond,
		Read: func(ctx context.Context, room string, after uint64) (History, error) {
			return logs[room].read(ctx, room, after)
		},
		Heads: func(_ context.Context, rooms []string) ([]hearth.Cursor, error) {
			calls.Add(1)
			out := make([]hearth.Cursor, len(rooms))
			for i, room := range rooms {
				out[i] = logs[room].at()
			}
			return out, nil
		},
	})
	defer st.Close()
	ears := map[string]*ear{}
	for room, l := range logs {
		ears[room] = newEar(t)
		sub, err := st.Subscribe(t.Context(), room, ears[room])
		if err != nil {
			t.Fatal(err)
		}
		sub.Activate(l.at())
	}
	dropped, doubled, swapped := 0, 0, 0
	for room, l := range logs {
		kept := ""
		for i := range changes {
			text := l.add()
			switch n := r.IntN(20); {
			case n == 0 || i == changes-1: // the last one always
				dropped++
			case n == 1:
				doubled++
				st.publish(room, text)
				st.publish(room, text)
			case n == 2 && kept == "":
				swapped++
				kept = text
			default:
				st.publish(room, text)
				if kept != "" {
					st.publish(room, kept)
					kept = ""
				}
			}
		}
	}
	began := time.Now()
	for _, e := range ears {
		e.until(changes)
		e.want(span(1, changes))
	}
	t.Logf("seed %d: %d dropped, %d doubled, %d swapped of %d; at rest %v later; %d logs read, %d of %d comparisons in %d calls found a gap",
		seed, dropped, doubled, swapped, rooms*changes, time.Since(began).Round(time.Millisecond),
		st.Stats.Repairs.Load(), st.Stats.Behind.Load(), st.Stats.Compared.Load(), calls.Load())
	if st.Stats.Behind.Load() == 0 {
		t.Error("no gap was found by comparing")
	}
}
