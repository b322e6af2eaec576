package httpapi

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/node"
)

// lodger is a guest that notes what it is told, and when it is closed.
type lodger struct {
	began time.Time
	id    int
	back  time.Duration
	gone  []time.Duration
	order *[]int
}

func (l *lodger) farewell(back time.Duration) { l.back = back }
func (l *lodger) dismiss() {
	l.gone = append(l.gone, time.Since(l.began))
	*l.order = append(*l.order, l.id)
}

// Everybody is closed once, evenly over the time or at the rate that few are closed at, in an order of its own, and was
// told when.
func TestSendAway(t *testing.T) {
	const most = 15 * time.Second
	for n, want := range map[int]time.Duration{
		0: 0, 1: time.Second / drainRate, 10: 10 * time.Second / drainRate, 749: 749 * time.Second / drainRate, 751: most, 20000: most,
	} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var order []int
				guests := make([]guest, n)
				lodgers := make([]*lodger, n)
				for i := range guests {
					lodgers[i] = &lodger{began: began, id: i, order: &order}
					guests[i] = lodgers[i]
				}
				sendAway(t.Context(), guests, most)
				if took := time.Since(began); took < want || took > want+drainTick {
					t.Errorf("took %s, not %s", took, want)
				}
				ticks := map[time.Duration]int{}
				for _, l := range lodgers {
					if len(l.gone) != 1 {
						t.Fatalf("closed %d times", len(l.gone))
					}
					ticks[l.gone[0]]++
					if l.back < l.gone[0] || l.back > l.gone[0]+3*drainTick {
						t.Errorf("closed after %s, told to come back after %s", l.gone[0], l.back)
					}
				}
				if n == 0 {
					return
				}
				share := int(math.Ceil(float64(n)*float64(drainTick)/float64(want))) + 1
				for at, count := range ticks {
					if count > share {
						t.Errorf("%d are closed at %s, not %d", count, at, share)
					}
				}
				if n > 100 && slices.IsSorted(order) {
					t.Error("in the order that they were given")
				}
			})
		})
	}
}

func TestSendAwayEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var order []int
		guests := make([]guest, 1000)
		for i := range guests {
			guests[i] = &lodger{began: time.Now(), id: i, order: &order}
		}
		began := time.Now()
		sendAway(ctx, guests, 10*time.Second)
		if took := time.Since(began); took != time.Second || len(order) < 80 || len(order) > 110 {
			t.Errorf("took %s, closed %d", took, len(order))
		}
	})
}

// A node that stops refuses what is new, serves what is open until its turn comes, and leaves nothing behind.
func TestDrain(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		late := c.connect(1, "r", "late", "guest")
		late.open()
		never := c.connect(1, "r", "never", "guest")
		stream := c.watch(1, "r", c.server(), "")
		stream.begins()
		s := c.nodes[1]
		s.refuse()

		c.doAt(1, "GET", "/readyz", "", "").problem(503, "unavailable")
		c.doAt(1, "GET", "/healthz", "", "").is(200)
		for _, path := range []string{"/v1/rooms/r/events", "/v1/ws?token=" + c.token("r", "new", "guest")} {
			a := c.doAt(1, "GET", path, c.server(), "", handshake...).problem(503, "unavailable")
			if a.header.Get("Retry-After") == "" || a.at("retry_after_ms") == absent {
				t.Errorf("%s: when to try again is not said: %v %s", path, a.header, a.body)
			}
		}
		if a := c.doAt(1, "GET", "/v1/rooms/r", c.server(), "").is(200); !a.closes {
			t.Error("who calls again comes back to this node")
		}
		bob.ok("set-metadata", object{"data": 1})
		late.ok("join", nil)
		ann.hears("on-peer-join", "peer_id", "bob")
		ann.hears("on-peer-join", "peer_id", "late")

		if err := s.Drain(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, k := range []*client{bob, late, never} {
			ms, err := strconv.Atoi(at(t, k.next("on-drain"), "reconnect_after_ms"))
			if err != nil || ms < 1000/drainRate || ms > 4*1000/drainRate+2*int(drainTick.Milliseconds()) {
				t.Errorf("%s is told to come back after %d ms: %v", k.name, ms, err)
			}
			k.closed(node.CloseGoingAway)
		}
		if e := stream.seek("on-drain"); at(t, e.data, "reconnect_after_ms") == absent || e.id != "" {
			t.Errorf("the stream is told %v", e)
		}
		stream.over()
		if err := s.node.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Connections() != 0 || s.Streams() != 0 || s.node.Members() != 0 {
			t.Errorf("%d connections, %d streams, %d members are left", s.Connections(), s.Streams(), s.node.Members())
		}
		ann.open()
	})
}

// seek takes events off the inbox until one of that name.
func (k *reading) seek(name string) (e event) {
	k.Helper()
	if !k.wait(func() bool {
		for len(k.inbox) > 0 {
			e = k.inbox[0]
			if k.inbox = k.inbox[1:]; e.name == name {
				return true
			}
		}
		return false
	}) {
		k.Fatalf("no %s came", name)
	}
	return e
}

// Many connections are closed over the time that there is, and not before.
func TestDrainIsPaced(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	const n, within = 60, 400 * time.Millisecond // of which 300 ms are for closing; 60 at the lowest rate would take 1.2 s
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = c.connect(0, "r", fmt.Sprint("p", i), "guest")
		clients[i].open()
	}
	began := time.Now()
	if err := c.nodes[0].Drain(t.Context(), within); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < within*3/4 {
		t.Errorf("all are closed after %s", took)
	}
	told := map[string]bool{}
	for _, k := range clients {
		told[k.next("on-drain")] = true
		k.closed(node.CloseGoingAway)
	}
	if len(told) < n/4 {
		t.Errorf("%d clients are told %d times", n, len(told))
	}
}

// handshake is what makes a request one for a WebSocket.
var handshake = []string{
	"Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
}

// A node lets as many in as it is told to. The others learn when to come back; who has no good token doesn't count.
func TestAcceptRate(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, acceptRate: 0.0001})
	bad := c.token("r", "x", "guest") + "x"
	for range 3 {
		c.dial(0, []string{"token", bad}).closed(node.CloseAuth)
	}
	ann := c.join(0, "r", "ann", "guest", nil)
	for range 3 {
		a := c.do("GET", "/v1/ws?token="+c.token("r", "bob", "guest"), "", "", handshake...).problem(503, "unavailable")
		ms, err := strconv.Atoi(a.at("retry_after_ms"))
		if err != nil || ms < 500 || ms > int(1500*(time.Second+maxTurn)/time.Second) {
			t.Errorf("retry_after_ms %d, %v", ms, err)
		}
		if a.header.Get("Retry-After") != strconv.Itoa((ms+999)/1000) {
			t.Errorf("Retry-After %s for %d ms", a.header.Get("Retry-After"), ms)
		}
	}
	ann.open()
	c.watch(0, "r", c.server(), "").begins() // a browser takes a 503 for the stream's end: they are not counted
	if s := newCluster(t, setup{nodes: 1}); s.nodes[0].entry.open != nil {
		t.Error("limited without being told")
	}
}

// A crowd that comes back when it is told to gets in at the rate, and without many attempts.
func TestCrowdAtTheTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, perSecond = 2000, 100
		gate := newTurnstile(perSecond)
		began := time.Now()
		in, attempts := make(chan time.Duration), make(chan int)
		for range crowd {
			go func() { // ends inside
				for tries := 1; ; tries++ {
					err := gate.enter()
					if err == nil {
						in <- time.Since(began)
						attempts <- tries
						return
					}
					<-time.After(spread(hearthError(t, err)).RetryAfter)
				}
			}()
		}
		perTick := map[int]int{}
		var last time.Duration
		total := 0
		for range crowd {
			at := <-in
			last = max(last, at)
			perTick[int(at/time.Second)]++
			total += <-attempts
		}
		for s, n := range perTick {
			if n > 2*perSecond {
				t.Errorf("%d enter in second %d", n, s)
			}
		}
		ideal := crowd / perSecond * time.Second
		t.Logf("%d at %d a second: the last after %s, %.1f attempts each", crowd, perSecond, last, float64(total)/crowd)
		if last < ideal-time.Second || last > 3*ideal || total > 4*crowd {
			t.Errorf("the last enters after %s, with %d attempts in all", last, total)
		}
	})
}

// Who asked to join and could not for want of the store is told to come back later, not that it never asked.
func TestJoinThatTheStoreDidNotServe(t *testing.T) {
	c := newClusterOn(t, redistest.Real(t), setup{nodes: 1, joinTimeout: 2 * time.Second})
	c.join(0, "r", "cat", "guest", nil) // for which the room is subscribed to already
	ann, bob := c.connect(0, "r", "ann", "guest"), c.connect(0, "r", "bob", "guest")
	ann.open()
	c.redis.Kill(t)
	e := ann.fails("join", nil, 503, "unavailable")
	if ms, err := strconv.Atoi(at(t, e, "data.retry_after_ms")); err != nil || ms < 500 || ms > 1500 {
		t.Errorf("retry_after_ms: %s", e)
	}
	ann.closed(node.CloseTryLater)
	bob.closed(node.CloseNoJoin)
	c.redis.Restart(t)
	eventually(t, "ready again", func() bool { return c.do("GET", "/readyz", "", "").status == http.StatusOK })
}

func TestWaitingTimesAreSpread(t *testing.T) {
	e := errStopping()
	seen := map[time.Duration]bool{}
	for range 100 {
		got := spread(hearthError(t, e)).RetryAfter
		if got < time.Second/2 || got >= 3*time.Second/2 {
			t.Fatalf("told to wait %s", got)
		}
		seen[got] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 are told %d times", len(seen))
	}
	if hearthError(t, e).RetryAfter != time.Second {
		t.Error("the error itself has been changed")
	}
}
