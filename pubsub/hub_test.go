package pubsub

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/testlog"
)

// station is a hub on a server, one log for all rooms, and a client to publish with and look into the server.
type station struct {
	testing.TB
	*Hub
	log    *fakeLog
	client *redis.Client
	prefix string
	said   *testlog.Buffer // by the hub
}

func newStation(t testing.TB, s *redistest.Server) *station {
	return newStationThat(t, s, 100*time.Millisecond)
}

// newStationThat has a hub that proves so often that its subscription hears, and makes it anew if it has not for twice that.
func newStationThat(t testing.TB, s *redistest.Server, provesEvery time.Duration) *station {
	st := &station{TB: t, log: &fakeLog{}, client: s.Client(t), prefix: s.Prefix, said: &testlog.Buffer{}}
	st.log.begin("A")
	own := redis.NewClient(&redis.Options{Addr: s.Addr, DialTimeout: time.Second, ReadTimeout: time.Second, DialerRetries: 1})
	st.Hub = New(Options{
		Client: own, Channel: st.channel, Probes: []string{st.channel("probe of this hub")}, Read: st.log.read, Decode: decode,
		ProbeEvery: provesEvery, Log: slog.New(slog.NewTextHandler(st.said, nil)), Poller: s.Poller(t),
	})
	t.Cleanup(func() {
		st.Close()
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func (st *station) channel(room string) string { return st.prefix + ":" + room }

// listen subscribes and is active from where the log stands then.
func (st *station) listen(room string) (*Subscription, *ear) {
	st.Helper()
	e := newEar(st)
	s, err := st.Subscribe(st.Context(), room, e)
	if err != nil {
		st.Fatal(err)
	}
	s.Activate(st.log.at())
	return s, e
}

// subscriptions is how many connections Redis says are subscribed to the room.
func (st *station) subscriptions(room string) int64 {
	n, err := st.client.PubSubNumSub(context.Background(), st.channel(room)).Result()
	if err != nil {
		st.Error(err)
	}
	return n[st.channel(room)]
}

func (st *station) publish(room, text string) {
	if err := st.client.Publish(context.Background(), st.channel(room), text).Err(); err != nil {
		st.Error(err)
	}
}

// eventually fails the test if ok does not come true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// unused waits until neither the hub nor Redis knows of a subscription to the rooms.
func (st *station) unused(rooms ...string) {
	st.Helper()
	eventually(st, "no rooms left", func() bool { return st.Rooms() == 0 })
	for _, room := range rooms {
		eventually(st, "nobody subscribed to "+room, func() bool { return st.subscriptions(room) == 0 })
	}
}

func TestOneRedisSubscriptionPerRoom(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStation(t, s)
		var subs []*Subscription
		var ears []*ear
		for range 100 {
			sub, e := st.listen("r")
			subs, ears = append(subs, sub), append(ears, e)
			if n := st.subscriptions("r"); n != 1 {
				t.Fatalf("%d subscriptions of Redis for %d subscribers", n, len(subs))
			}
		}
		st.publish("r", st.log.add())
		st.publish("r", st.log.add())
		for _, e := range ears {
			e.until(2)
			e.want(span(1, 2))
		}
		if n := st.Stats.Received.Load(); n != 2 {
			t.Errorf("received %d times", n)
		}
		for i, sub := range subs {
			if n := st.subscriptions("r"); n != 1 || st.Rooms() != 1 {
				t.Fatalf("%d subscriptions of Redis with %d subscribers left", n, len(subs)-i)
			}
			sub.Close()
		}
		st.unused("r")
	})
}

func TestManySubscribeAndClose(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStationThat(t, s, time.Minute) // else a busy machine's is made anew in between
		rooms := []string{"a", "b", "c"}
		var wg sync.WaitGroup
		for i := range 1000 {
			room := rooms[i%len(rooms)]
			wg.Go(func() {
				sub, err := st.Subscribe(context.Background(), room, newEar(t))
				if err != nil {
					t.Error(err)
					return
				}
				if n := st.subscriptions(room); n != 1 {
					t.Errorf("Subscribe returned, and Redis has %d subscriptions", n)
				}
				sub.Close()
			})
		}
		wg.Wait()
		st.unused(rooms...)
	})
}

// Rooms are left and wanted again before Redis has confirmed that they were left; each time all that is published after
// Subscribe is heard.
func TestSubscribeWhileUnsubscribing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStation(t, s)
		for range 300 {
			sub, e := st.listen("r")
			text := st.log.add()
			st.publish("r", text)
			e.until(st.log.at().Seq)
			if got, lost := e.last(); lost || got != st.log.at() {
				t.Fatalf("heard up to %v of %v, lost: %v", got, st.log.at(), lost)
			}
			sub.Close()
		}
		st.unused("r")
	})
}

func TestGivenUpWhileSubscribing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStation(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var wg sync.WaitGroup
		for i := range 200 {
			room := strconv.Itoa(i % 5)
			wg.Go(func() {
				if sub, err := st.Subscribe(ctx, room, newEar(t)); err == nil {
					sub.Close() // confirmed just then
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				sub, err := st.Subscribe(context.Background(), room, newEar(t))
				if err != nil {
					t.Error(err)
					return
				}
				if n := st.subscriptions(room); n != 1 {
					t.Errorf("Subscribe returned, and Redis has %d subscriptions", n)
				}
				sub.Close()
			})
		}
		wg.Wait()
		st.unused("0", "1", "2", "3", "4")
	})
}

// A server that stands still confirms nothing, so Subscribe waits as long as its context lets it.
func TestSubscribeWaitsForRedis(t *testing.T) {
	s := redistest.Real(t)
	st := newStation(t, s)
	_, e := st.listen("other")
	s.Freeze(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := st.Subscribe(ctx, "r", newEar(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Subscribe on a frozen server: %v", err)
	}
	eventually(t, "silence noticed", func() bool { return !st.Healthy() })
	s.Thaw(t)
	eventually(t, "an answer", st.Healthy)
	sub, err := st.Subscribe(context.Background(), "r", newEar(t))
	if err != nil {
		t.Fatal(err)
	}
	sub.Close()
	st.publish("other", st.log.add())
	e.until(1)
	e.want("m1")
	eventually(t, "r is left", func() bool { return st.Rooms() == 1 && st.subscriptions("r") == 0 })
}

func TestClosedHub(t *testing.T) {
	s := redistest.Real(t)
	st := newStation(t, s)
	_, e := st.listen("r")
	s.Freeze(t)
	waiting := make(chan error)
	go func() {
		_, err := st.Subscribe(context.Background(), "q", newEar(t))
		waiting <- err
	}()
	eventually(t, "it waits", func() bool { return st.Rooms() == 2 })
	st.Close()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("Subscribe that waited: %v", err)
	}
	if _, err := st.Subscribe(context.Background(), "r", newEar(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Subscribe after Close: %v", err)
	}
	s.Thaw(t)
	st.publish("r", st.log.add())
	e.want("")
	st.Close() // once more is harmless
}

// A connection that is made anew may be given a channel that was left meanwhile.
func TestUnwantedChannelIsLeft(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStation(t, s)
		eventually(t, "connected", st.Healthy)
		st.links[""].wish(true, st.channel("ghost"))
		sub, _ := st.listen("r") // confirmed on the same connection, so the other has been, too
		sub.Close()
		st.unused("ghost", "r")
	})
}

// A new connection asks for all that is wanted, and then for what was wished for meanwhile. A second confirmation is no gap.
func TestConfirmedTwice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		st := newStation(t, s)
		e := newEar(t)
		sub, err := st.Follow(t.Context(), "r", e)
		if err != nil {
			t.Fatal(err)
		}
		sub.Await("")
		st.links[""].wish(true, st.channel("r"))
		other, _ := st.listen("other") // confirmed on the same connection, so r was, too
		st.publish("r", st.log.add())
		e.until(1)
		e.want("m1")
		sub.Close()
		other.Close()
		st.unused("r", "other")
	})
}

func TestLastWishCounts(t *testing.T) {
	for _, last := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		l := newLink(newHub(ctx, cancel, Options{}), "", nil)
		l.wish(!last, "a", "b")
		l.wish(last, "a")
		if l.wishes["a"] != last || l.wishes["b"] == last || len(l.wishes) != 2 {
			t.Errorf("last %v: %v", last, l.wishes)
		}
		cancel()
	}
}

// A subscription is busy while its room is locked, or has many.
func TestBusy(t *testing.T) {
	r := &room{}
	s := &Subscription{room: r}
	if s.Busy() {
		t.Error("busy, and nobody is there")
	}
	r.mu.Lock()
	if !s.Busy() {
		t.Error("not busy, and the room is locked")
	}
	r.mu.Unlock()
	r.many.Store(true)
	if !s.Busy() {
		t.Error("not busy among many")
	}
}
