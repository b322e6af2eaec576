package pubsub

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

// cut ends the hub's subscription connection at the server and returns how many there were.
func (st *station) cut() int64 {
	n, err := st.client.ClientKillByFilter(context.Background(), "TYPE", "pubsub").Result()
	if err != nil {
		st.Error(err)
	}
	return n
}

// While changes are published the connection is cut again and again; nobody misses one or hears it twice.
func TestConnectionCutWhilePublishing(t *testing.T) {
	st := newStation(t, redistest.Real(t))
	const cuts = 25
	ears := map[*ear]uint64{} // and what each knew at first
	add := func() {
		e := newEar(t)
		s, err := st.Subscribe(context.Background(), "r", e)
		if err != nil {
			t.Error(err)
			return
		}
		at := st.log.at()
		s.Activate(at)
		ears[e] = at.Seq
	}
	for range 10 {
		add()
	}
	// Between two cuts no more is published than is kept for who is about to become active: beyond that Lost is right.
	more := make(chan struct{}, maxPending/8)
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-more:
				st.publish("r", st.log.add())
			}
		}
	})
	for range cuts {
		for range cap(more) - len(more) {
			more <- struct{}{}
		}
		eventually(t, "back from the cut before", func() bool { return st.cut() > 0 })
		add()
	}
	close(stop)
	publisher.Wait()
	total := st.log.at().Seq
	for e, known := range ears {
		if known < total {
			e.until(total)
		}
		e.want(span(int(known)+1, int(total)))
	}
	t.Logf("%d changes, %d cuts, %d logs read, %d duplicates",
		total, cuts, st.Stats.Repairs.Load(), st.Stats.Duplicates.Load())
	if n := st.Stats.Repairs.Load(); n == 0 {
		t.Errorf("%d logs read", n)
	}
}

// What is published while the connection is down, with nothing after it, is heard once it is back.
func TestChangeDuringTheCutIsNotForgotten(t *testing.T) {
	st := newStation(t, redistest.Real(t))
	_, e := st.listen("r")
	for i := 1; i <= 20; i++ {
		if n := st.cut(); n != 1 {
			t.Fatalf("%d connections cut", n)
		}
		st.publish("r", st.log.add())
		e.until(uint64(i))
		eventually(t, "subscribed again", func() bool { return st.subscriptions("r") == 1 })
	}
	e.want(span(1, 20))
}

func TestServerGoneAndBack(t *testing.T) {
	s := redistest.Real(t)
	st := newStation(t, s)
	_, stays := st.listen("stays")
	leaves, _ := st.listen("leaves")
	returns, _ := st.listen("returns")
	st.publish("stays", st.log.add())
	stays.until(1)
	s.Kill(t)
	// Not to be had while the server is away; a try keeps the hub busy subscribing.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := st.Subscribe(ctx, "new", newEar(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Subscribe without a server: %v", err)
	}
	leaves.Close()
	returns.Close()
	eventually(t, "rooms are left without a server, too", func() bool { return st.Rooms() == 2 }) // stays, new
	back := newEar(t)
	subscribed := make(chan *Subscription)
	go func() {
		sub, err := st.Subscribe(context.Background(), "returns", back)
		if err != nil {
			t.Error(err)
		}
		subscribed <- sub
	}()
	eventually(t, "it waits", func() bool { return st.Rooms() == 3 })
	st.log.addN(3)
	s.Restart(t)
	sub := <-subscribed
	if sub == nil {
		return
	}
	sub.Activate(st.log.at())
	stays.until(4) // from the log alone
	for range 3 {
		text := st.log.add()
		st.publish("stays", text)
		st.publish("returns", text)
	}
	stays.until(7)
	back.until(7)
	stays.want(span(1, 7))
	back.want(span(5, 7))
	eventually(t, "who gave up is forgotten", func() bool {
		return st.Rooms() == 2 && st.subscriptions("new")+st.subscriptions("leaves") == 0
	})
	if n, m := st.subscriptions("stays"), st.subscriptions("returns"); n != 1 || m != 1 {
		t.Errorf("subscriptions of Redis: %d and %d", n, m)
	}
}

// Rooms come and go while connections are cut: each Subscribe that returned means that what is published is heard.
func TestComeAndGoWhileCut(t *testing.T) {
	st := newStation(t, redistest.Real(t))
	rooms := []string{"a", "b", "c", "d"}
	logs := make([]*fakeLog, len(rooms))
	for i := range logs {
		logs[i] = &fakeLog{}
		logs[i].begin("A")
	}
	st.o.Read = func(ctx context.Context, room string, after uint64) (History, error) {
		return logs[room[0]-'a'].read(ctx, room, after)
	}
	stop := make(chan struct{})
	var cutter, wg sync.WaitGroup
	cutter.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(15 * time.Millisecond):
				st.cut()
			}
		}
	})
	for i, room := range rooms {
		wg.Go(func() {
			for range 50 {
				e := newEar(t)
				s, err := st.Subscribe(context.Background(), room, e)
				if err != nil {
					t.Error(err)
					return
				}
				s.Activate(logs[i].at())
				st.publish(room, logs[i].add())
				if !e.within(logs[i].at().Seq) {
					t.Errorf("room %s: change %d never came", room, logs[i].at().Seq)
					return
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	cutter.Wait()
	st.unused(rooms...)
}

// A subscription that is silent although its connection stands is made anew, and what was missed is read.
func TestFrozenServer(t *testing.T) {
	s := redistest.Real(t)
	st := newStation(t, s)
	ears := make([]*ear, 5)
	for i := range ears {
		_, ears[i] = st.listen(strconv.Itoa(i))
	}
	s.Freeze(t)
	eventually(t, "silence noticed", func() bool { return st.Silent() > time.Second && !st.Healthy() })
	st.log.addN(3)
	s.Thaw(t)
	eventually(t, "an answer", st.Healthy)
	for i, e := range ears {
		e.until(3)
		e.want(span(1, 3))
		eventually(t, "one subscription", func() bool { return st.subscriptions(strconv.Itoa(i)) == 1 })
	}
}
