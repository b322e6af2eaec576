package pubsub

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
)

// crowdEar checks that each change comes once and in order.
type crowdEar struct {
	ear     *testing.T
	name    string
	next    uint64 // 0 until it is active
	heard   int
	most    int // changes in one batch
	leaving atomic.Bool
}

func (e *crowdEar) Deliver(m *Message) {
	if e.leaving.Load() {
		e.ear.Errorf("%s hears %d after it was closed", e.name, m.Seq)
	}
	if m.Seq != e.next {
		e.ear.Errorf("%s hears %d, not %d", e.name, m.Seq, e.next)
	}
	e.next = m.Seq + 1
	e.heard++
}

func (e *crowdEar) DeliverBatch(b *Batch) {
	if b.Value == nil {
		b.Value = len(b.Messages)
	}
	if b.Value != len(b.Messages) {
		e.ear.Errorf("a batch of %d has another one's value", len(b.Messages))
	}
	e.most = max(e.most, len(b.Messages))
	for _, m := range b.Messages {
		e.Deliver(m)
	}
}

func (e *crowdEar) Lost() { e.ear.Errorf("%s is lost at %d", e.name, e.next) }

// newCrowd returns a hub that is subscribed to one room, whose log has a session.
func newCrowd(tb testing.TB) (*Hub, *room, *fakeLog) {
	tb.Helper()
	return newCrowdThat(tb, nil)
}

// newCrowdThat returns one that tells of its bursts.
func newCrowdThat(tb testing.TB, b Burst) (*Hub, *room, *fakeLog) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &fakeLog{}
	l.begin("A")
	h := newHub(ctx, cancel, Options{Decode: decode, Log: slog.New(slog.DiscardHandler), Read: l.read, Burst: b})
	tb.Cleanup(h.Close)
	r := &room{hub: h, name: "r", channel: "r", slot: h.slotOf("r"), state: subscribed, confirmed: make(chan struct{})}
	close(r.confirmed)
	h.rooms["r"], h.byChan["r"], r.slot.rooms["r"] = r, r, r
	return h, r, l
}

// Who comes and goes while batches are handed on hears each change that is published after its place, once, and nothing
// once it has gone.
func TestComingAndGoingDuringBatches(t *testing.T) {
	const changes, gates, stays = 4000, 8, 20
	h, r, l := newCrowd(t)
	enter := func(name string) (*crowdEar, *Subscription) {
		e := &crowdEar{ear: t, name: name}
		s := &Subscription{room: r, to: e}
		r.add(s)
		at := l.at()
		e.next = at.Seq + 1
		s.Activate(at)
		return e, s
	}
	first, sub := enter("first")
	var wg sync.WaitGroup
	over := make(chan struct{})
	var passed atomic.Int64
	for g := range gates {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				e, s := enter(strconv.Itoa(g) + "/" + strconv.Itoa(i))
				for range stays {
					s.At()
				}
				s.Close()
				e.leaving.Store(true)
				passed.Add(1)
			}
		})
	}
	for range changes {
		h.say("r", l.add())
	}
	h.wg.Wait()
	close(over)
	wg.Wait()
	sub.Close()
	if first.heard != changes {
		t.Errorf("who stays hears %d of %d", first.heard, changes)
	}
	t.Logf("%d came and went; at most %d changes in a batch", passed.Load(), first.most)
}

// What is heard while a batch is handed on is handed on together.
func TestWhatIsHeardMeanwhileIsABatch(t *testing.T) {
	h, r, l := newCrowd(t)
	e := &crowdEar{ear: t, name: "it", next: 1}
	s := &Subscription{room: r, to: e}
	r.add(s)
	s.Activate(l.at())
	h.say("r", l.add())
	h.wg.Wait() // the first is what the hub goes on from
	r.mu.Lock() // as if a batch were handed on
	const n = 3*MaxBatch + 5
	for range n {
		h.say("r", l.add())
	}
	r.mu.Unlock()
	h.wg.Wait()
	if e.heard != n+1 || e.most != MaxBatch {
		t.Errorf("hears %d of %d, %d at once at most", e.heard, n+1, e.most)
	}
}

// slowEar takes its time, and notes how much.
type slowEar struct {
	crowdEar
	takes time.Duration
	sizes []int
	given atomic.Int64 // changes, for who looks while it goes on
}

func (e *slowEar) DeliverBatch(b *Batch) {
	<-time.After(e.takes)
	e.sizes = append(e.sizes, len(b.Messages))
	e.crowdEar.DeliverBatch(b)
	e.given.Add(int64(len(b.Messages)))
}

//nolint:unparam // each test says how slow it is, and counts on that
func newSlowEar(t *testing.T, takes time.Duration) (*Hub, *fakeLog, *slowEar) {
	t.Helper()
	h, r, l := newCrowd(t)
	e := &slowEar{crowdEar: crowdEar{ear: t, name: "it", next: 1}, takes: takes}
	s := &Subscription{room: r, to: e}
	r.add(s)
	s.Activate(l.at())
	h.say("r", l.add())
	synctest.Wait() // the first is what the hub goes on from
	return h, l, e
}

// A room that is told faster than it can hand on gathers what comes: four fifths of the time nothing is handed on.
func TestBusyRoomGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, takes = 1000, 10 * time.Millisecond
		h, l, e := newSlowEar(t, takes)
		began := time.Now()
		for range n {
			h.say("r", l.add())
			<-time.After(time.Millisecond)
		}
		h.wg.Wait()
		busy, all := time.Duration(len(e.sizes))*takes, time.Since(began)
		if e.heard != n+1 || busy < all/10 || busy > all/4 {
			t.Errorf("of %d changes %d were heard, in batches of %v: %v of %v", n, e.heard, e.sizes, busy, all)
		}
	})
}

// One that is told no faster than it hands on waits for nothing.
func TestQuietRoomDoesNotRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, takes = 10, 10 * time.Millisecond
		h, l, e := newSlowEar(t, takes)
		for range n {
			before := e.given.Load()
			h.say("r", l.add())
			<-time.After(takes + 1)
			if e.given.Load() != before+1 {
				t.Errorf("a change was not handed on at once")
			}
		}
	})
}

// A rest ends when a whole batch waits.
func TestABatchEndsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 10 * time.Millisecond
		h, l, e := newSlowEar(t, takes)
		h.say("r", l.add())
		<-time.After(takes / 2)
		h.say("r", l.add())
		<-time.After(takes + 1) // it has handed on the one, and rests before the other
		heard := e.given.Load()
		for range MaxBatch - 2 {
			h.say("r", l.add())
		}
		<-time.After(takes + 1)
		if e.given.Load() != heard {
			t.Fatalf("it does not rest")
		}
		h.say("r", l.add())
		<-time.After(takes + 1)
		if e.given.Load() != heard+MaxBatch {
			t.Errorf("it still rests with %d waiting", MaxBatch)
		}
		h.wg.Wait()
		if e.given.Load() != MaxBatch+1 {
			t.Errorf("%d were heard", e.given.Load())
		}
	})
}

// There is no rest while a whole batch waits already.
func TestAWaitingBatchIsNotLeftToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 10 * time.Millisecond
		h, l, e := newSlowEar(t, takes)
		began := time.Now()
		h.say("r", l.add())
		<-time.After(takes / 2)
		for range MaxBatch {
			h.say("r", l.add())
		}
		h.wg.Wait()
		if took := time.Since(began); took != 2*takes || e.given.Load() != MaxBatch+1 {
			t.Errorf("%d were heard, in %s, of which %s were needed", e.given.Load(), took, 2*takes)
		}
	})
}

// Who begins within what is heard meanwhile, and becomes a batch, is given only what comes after.
func TestBeginningWithinABatch(t *testing.T) {
	h, r, l := newCrowd(t)
	enter := func(name string, at hearth.Cursor) *crowdEar {
		e := &crowdEar{ear: t, name: name, next: at.Seq + 1}
		s := &Subscription{room: r, to: e}
		r.add(s)
		s.Activate(at)
		return e
	}
	first := enter("first", l.at())
	r.hear(l.add())
	r.inbox.taken = true // as if the batch before were handed on
	h.say("r", l.add())
	h.say("r", l.add())
	second := enter("second", l.at())
	h.say("r", l.add())
	h.say("r", l.add())
	r.work()
	if first.heard != 5 || first.most != 4 || second.heard != 2 {
		t.Errorf("they hear %d, %d at once, and %d", first.heard, first.most, second.heard)
	}
}

// counter counts and keeps nothing.
type counter struct{ n int }

func (d *counter) Deliver(*Message)      { d.n++ }
func (d *counter) DeliverBatch(b *Batch) { d.n += len(b.Messages) }
func (d *counter) Lost()                 { d.n = -1 << 40 }

// What a change allocates does not depend on how many hear it.
func TestFanOutAllocatesNothingPerSubscriber(t *testing.T) {
	cost := func(listeners int) float64 {
		_, r, l := newCrowd(t)
		ears := make([]counter, listeners)
		for i := range ears {
			s := &Subscription{room: r, to: &ears[i]}
			r.add(s)
			s.Activate(hearth.Cursor{Epoch: "A"})
		}
		const runs = 100
		texts := l.addN(runs + 2)
		next := 0
		hear := func() { r.hear(texts[next]); next++ }
		hear()
		got := testing.AllocsPerRun(runs, hear)
		if ears[0].n != next {
			t.Fatalf("%d of %d were heard", ears[0].n, next)
		}
		return got
	}
	if few, many := cost(1), cost(500); many > few {
		t.Errorf("a change allocates %v times for one, %v times for 500", few, many)
	}
}

// bursts counts them, and what is delivered outside of any.
type bursts struct{ ended, open, inside, outside atomic.Int64 }

func (b *bursts) Begin() { b.open.Add(1) }
func (b *bursts) End()   { b.open.Add(-1); b.ended.Add(1) }

func (b *bursts) Deliver(*Message) {
	if b.open.Load() > 0 {
		b.inside.Add(1)
	} else {
		b.outside.Add(1)
	}
}

func (b *bursts) Lost() {}

// What is heard is handed on in bursts: to few, to many, to those of a room that is far behind, and what was missed.
func TestBursts(t *testing.T) {
	for name, c := range map[string]struct {
		ears int
		hear func(h *Hub, r *room, l *fakeLog) (changes int)
	}{
		"few":  {1, func(h *Hub, _ *room, l *fakeLog) int { h.say("r", l.add()); return 1 }},
		"many": {few + 1, func(h *Hub, _ *room, l *fakeLog) int { h.say("r", l.add()); return 1 }},
		"far behind": {1, func(h *Hub, r *room, l *fakeLog) int {
			r.inbox.taken = true // by somebody who takes long
			for range maxHeard {
				h.say("r", l.add())
			}
			return maxHeard
		}},
		"missed": {1, func(h *Hub, _ *room, l *fakeLog) int {
			l.add()
			h.say("r", l.add())
			return 2
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bursts{}
				h, r, l := newCrowdThat(t, b)
				for range c.ears {
					s := &Subscription{room: r, to: b}
					r.add(s)
					s.Activate(l.at())
				}
				want := int64(c.ears * c.hear(h, r, l))
				synctest.Wait()
				if b.inside.Load() != want || b.outside.Load() > 0 || b.open.Load() != 0 || b.ended.Load() == 0 {
					t.Errorf("%d of %d are delivered in %d bursts, %d outside; %d are open",
						b.inside.Load(), want, b.ended.Load(), b.outside.Load(), b.open.Load())
				}
			})
		})
	}
}

// gated is a subscriber at which all wait.
type gated struct {
	gate         chan struct{}
	doing, heard *atomic.Int64
}

func (g gated) Deliver(*Message) {
	g.doing.Add(1)
	<-g.gate
	g.heard.Add(1)
}

func (gated) Lost() {}

// Small rooms have their turns by whoever reads, but of many at a time he leaves the rest to others.
func TestTurns(t *testing.T) {
	for rooms, by := range map[int]int64{1: 1, atOnce: 1, atOnce + 1: 2} {
		synctest.Test(t, func(t *testing.T) {
			h, _, l := newCrowd(t)
			ear := gated{make(chan struct{}), new(atomic.Int64), new(atomic.Int64)}
			var round fiber.Round
			turns := turns{hub: h}
			text := []byte(l.add())
			for i := range rooms {
				channel := "room " + strconv.Itoa(i)
				r := &room{hub: h, name: channel, channel: channel, slot: h.slotOf(channel), confirmed: make(chan struct{}), state: subscribed}
				h.rooms[channel], h.byChan[channel] = r, r
				s := &Subscription{room: r, to: ear}
				r.add(s)
				s.Activate(hearth.Cursor{Epoch: l.at().Epoch})
				h.hear(&round, &turns, []byte(channel), text)
			}
			synctest.Wait()
			if n := ear.doing.Load(); n != 0 {
				t.Errorf("%d rooms have their turn before the end of the round", n)
			}
			h.wg.Go(round.End)
			synctest.Wait()
			if n := ear.doing.Load(); n != by {
				t.Errorf("%d of %d rooms have their turn at a time, not %d", n, rooms, by)
			}
			close(ear.gate)
			h.wg.Wait()
			if n := ear.heard.Load(); n != int64(rooms) || len(turns.rooms) != 0 {
				t.Errorf("%d of %d heard it, %d are left", n, rooms, len(turns.rooms))
			}
		})
	}
}
