package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/hearthstore/hearth"
)

// desk is one room of a hub without Redis: what is published is heard by calling hear. It is made inside a synctest
// bubble, whose clock makes back-off free and whose Wait tells when repairs have come to rest.
type desk struct {
	*testing.T
	log  *fakeLog
	room *room
}

func onDesk(t *testing.T, f func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{}
		l.begin("A")
		newDesk(t, l, f)
	})
}

// onDesk2 is another hub's, at the same log.
func onDesk2(d *desk, f func(d *desk)) { newDesk(d.T, d.log, f) }

func newDesk(t *testing.T, l *fakeLog, f func(d *desk)) {
	ctx, cancel := context.WithCancel(t.Context())
	h := newHub(ctx, cancel, Options{
		Read: l.read, Decode: decode, Log: slog.New(slog.DiscardHandler),
		Channel: func(room string) string { return room },
	})
	defer h.wg.Wait()
	defer cancel()
	r := &room{hub: h, name: "r", channel: "r", slot: h.slotOf("r"), state: subscribed, confirmed: make(chan struct{})}
	close(r.confirmed)
	f(&desk{T: t, log: l, room: r})
}

// sub adds a subscriber that is not active yet.
func (d *desk) sub() (*Subscription, *ear) { return d.add(false) }

// follower adds one that follows the room.
func (d *desk) follower() (*Subscription, *ear) { return d.add(true) }

func (d *desk) add(follows bool) (*Subscription, *ear) {
	e := newEar(d)
	e.follows = follows
	s := &Subscription{room: d.room, to: e, follows: follows}
	<-d.room.add(s)
	return s, e
}

// active adds one that is, where the log stands.
func (d *desk) active() *ear {
	s, e := d.sub()
	s.Activate(d.log.at())
	return e
}

// hear has the room hear texts, and waits for what that sets off.
func (d *desk) hear(texts ...string) {
	for _, text := range texts {
		d.room.hear(text)
	}
	synctest.Wait()
}

// wantReads fails the test unless the log was read after exactly those seqs.
func (d *desk) wantReads(seqs ...uint64) {
	d.Helper()
	if got := d.log.asked(); !slices.Equal(got, seqs) {
		d.Errorf("log read after %v, wanted %v", got, seqs)
	}
}

// slowRead lets the next read see the log as it is now, and returns it only after f.
func (d *desk) slowRead(f func()) {
	d.log.readEnd = func() {
		d.log.mu.Lock()
		d.log.readEnd = nil
		d.log.mu.Unlock()
		f()
	}
}

func TestInOrderNeedsNoLog(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		d.hear(d.log.addN(5)...)
		e.want(span(1, 5))
		d.wantReads()
	})
}

func TestDuplicatesAreDropped(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(4)
		d.hear(m[0], m[0], m[1], m[2], m[0], m[1], m[2], m[3], m[3])
		e.want(span(1, 4))
		d.wantReads()
		if n := d.room.hub.Stats.Duplicates.Load(); n != 5 {
			d.Errorf("%d duplicates counted", n)
		}
	})
}

func TestMalformedIsIgnored(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(2)
		d.hear("", "nonsense", "x n p e\n", m[0], "2 n2 n1 A\nbad", m[1])
		e.want(span(1, 2))
	})
}

func TestGapIsReadFromTheLog(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(9)
		d.hear(m[0], m[1], m[4], m[5])
		e.want(span(1, 9)) // the log already has more than was heard
		d.hear(m[6:]...)
		e.want(span(1, 9))
		d.wantReads(2)
	})
}

func TestOutOfOrder(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(4)
		d.hear(m[1], m[0], m[3], m[2])
		e.want(span(1, 4))
	})
}

func TestSeveralGaps(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		var asked []uint64
		for at := 0; at < 30; at += 3 {
			m := d.log.addN(3)
			d.hear(m[0], m[2])
			e.want(span(1, at+3))
			asked = append(asked, uint64(at+1))
		}
		d.wantReads(asked...)
	})
}

// Gaps in what is heard while the log is being read.
func TestGapsWhileReading(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(3)
		d.slowRead(func() {
			for range 3 {
				more := d.log.addN(4)
				d.room.hear(more[1])
				d.room.hear(more[3])
			}
		})
		d.hear(m[2])
		e.want(span(1, 15))
		d.wantReads(0, 3)
	})
}

// What comes while the log is read and follows the log's end is not read again.
func TestHeldFollowsTheLog(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(3)
		d.slowRead(func() {
			for _, text := range d.log.addN(5) {
				d.room.hear(text)
			}
		})
		d.hear(m[2])
		e.want(span(1, 8))
		d.wantReads(0)
	})
}

func TestLogLongerThanOneRead(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.log.longest = 10
		e := d.active()
		m := d.log.addN(35)
		d.hear(m[34])
		e.want(span(1, 35))
		d.wantReads(0, 10, 20, 30)
	})
}

func TestLogNoLongerReachesBack(t *testing.T) {
	for _, kept := range []int{0, 1, 7} { // of ten, of which two were heard
		t.Run(strconv.Itoa(kept), func(t *testing.T) {
			onDesk(t, func(d *desk) {
				e := d.active()
				m := d.log.addN(10)
				d.log.trim(kept)
				d.hear(m[0], m[1], m[9])
				e.want(span(1, 2) + " Lost")
				// Who comes then is served from there.
				next := d.active()
				d.hear(d.log.add())
				next.want("m11")
				e.want(span(1, 2) + " Lost")
			})
		})
	}
	t.Run("just enough", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			e := d.active()
			m := d.log.addN(10)
			d.log.trim(8)
			d.hear(m[0], m[1], m[9])
			e.want(span(1, 10))
		})
	})
}

// The store was rewound: the change at the hub's seq is another one now.
func TestRewound(t *testing.T) {
	lost := func(name string, back, again int, want string) {
		t.Run(name, func(t *testing.T) {
			onDesk(t, func(d *desk) {
				e := d.active()
				d.hear(d.log.addN(5)...)
				d.log.rewind(back)
				d.hear(d.log.addN(again)...)
				e.want(want)
				next := d.active()
				d.hear(d.log.add())
				next.want(fmt.Sprintf("m%d", 5-back+again+1))
			})
		})
	}
	lost("same seq", 1, 1, span(1, 5)+" Lost")
	lost("further", 2, 4, span(1, 5)+" Lost")
}

// Behind the hub's seq, a rewound store's changes look like duplicates until they reach it.
func TestRewoundFurtherBack(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		d.hear(d.log.addN(5)...)
		d.log.rewind(3)
		d.hear(d.log.addN(2)...)
		e.want(span(1, 5))
		d.hear(d.log.add())
		e.want(span(1, 5) + " Lost")
	})
}

// A connection made anew asks the log, which tells at once.
func TestRewoundSeenOnReconnect(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		d.hear(d.log.addN(5)...)
		d.log.rewind(3)
		d.log.add()
		d.room.confirm(true)
		synctest.Wait()
		e.want(span(1, 5) + " Lost")
	})
}

func TestNextSession(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		d.hear(d.log.add(), d.log.end())
		e.want("m1 end")
		s, next := d.sub()
		d.log.begin("B")
		at := d.log.at()
		d.hear(d.log.addN(2)...)
		s.Activate(at)
		next.want(span(1, 2))
		d.wantReads()
	})
}

func TestMissedEnd(t *testing.T) {
	onDesk(t, func(d *desk) {
		old := d.active()
		d.hear(d.log.add())
		d.log.end()
		d.log.begin("B")
		next := d.active()
		late, ear := d.sub()
		d.hear(d.log.add())
		old.want("m1 Lost")
		late.Activate(d.log.at())
		d.hear(d.log.add())
		next.want(span(1, 2))
		ear.want("m2")
	})
}

// The end came between two changes of what was missed: the log is gone with its session.
func TestMissedEndAndNoSession(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(3)
		d.log.end()
		d.hear(m[0], m[2])
		e.want("m1 Lost")
		d.wantReads(1)
		// The next session is served from its first change.
		d.log.begin("B")
		s, next := d.sub()
		s.Activate(d.log.at())
		d.hear(d.log.addN(2)...)
		next.want(span(1, 2))
	})
}

// The end is heard while the log, which it removed, is read for a reason that turns out to be none.
func TestEndWhileReading(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		d.hear(d.log.add())
		end := d.log.end()
		d.slowRead(func() { d.room.hear(end) })
		d.room.confirm(true) // reconnected
		synctest.Wait()
		e.want("m1 end")
	})
}

// After an end that was heard, the next session's beginning was missed.
func TestMissedBeginning(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		d.hear(d.log.add(), d.log.end())
		d.log.begin("B")
		d.log.addN(3)
		next := d.active()
		d.hear(d.log.addN(1)...)
		d.hear(d.log.addN(2)...)
		next.want(span(4, 6))
		if n := len(d.log.asked()); n > 3 {
			d.Errorf("%d reads", n)
		}
	})
}

// The same, and the connection was made anew meanwhile.
func TestMissedBeginningReconnected(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		d.hear(d.log.add(), d.log.end())
		d.log.begin("B")
		d.log.addN(3)
		d.room.confirm(true)
		synctest.Wait()
		next := d.active()
		d.hear(d.log.addN(2)...)
		next.want(span(4, 5))
	})
}

// Changes are heard in the very order while a reconnected room reads its log, which shows more than was heard.
func TestReconnectedWhileChangesCome(t *testing.T) {
	for heardFirst := range 4 { // of three that the log has when it is read
		t.Run(strconv.Itoa(heardFirst), func(t *testing.T) {
			onDesk(t, func(d *desk) {
				e := d.active()
				d.hear(d.log.addN(5)...)
				m := d.log.addN(3)
				d.slowRead(func() {
					for _, text := range m[:heardFirst] {
						d.room.hear(text)
					}
				})
				d.room.confirm(true)
				synctest.Wait()
				d.hear(m[heardFirst:]...)
				d.hear(d.log.add())
				e.want(span(1, 9))
			})
		})
	}
}

// More is heard while the log is read than can be held.
func TestHeldOverflow(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		m := d.log.addN(2)
		d.slowRead(func() {
			for range maxHeld + 10 {
				d.room.hear(d.log.add())
			}
		})
		d.hear(m[1])
		e.want(span(1, maxHeld+12))
		d.wantReads(0, 0)
	})
}

// A straggler of a session that is over must not have the log read for ever, nor take the hub back.
func TestStragglerOfAnOldSession(t *testing.T) {
	for i := range 3 {
		onDesk(t, func(d *desk) {
			d.active()
			old := d.log.addN(3)
			d.hear(old[:2]...)
			d.log.end()
			d.log.begin("B")
			e := d.active()
			d.hear(d.log.add()) // the end was missed
			before := len(d.log.asked())
			d.hear(old[i])
			if n := len(d.log.asked()) - before; n != 1 {
				d.Errorf("%d reads for one straggler", n)
			}
			d.hear(d.log.add())
			e.want(span(1, 2))
		})
	}
}

// A change that the log doesn't have (yet) is read for once, not for ever.
func TestChangeFromNowhere(t *testing.T) {
	for name, ghost := range map[string]struct {
		seq  uint64
		prev string
	}{"far ahead": {9, "y"}, "next but one": {3, "n1"}, "after another": {2, "y"}} {
		t.Run(name, func(t *testing.T) {
			onDesk(t, func(d *desk) {
				e := d.active()
				d.hear(d.log.add())
				d.hear(format(hearth.Cursor{Epoch: "A", Seq: ghost.seq, Nonce: "x"}, ghost.prev, "ghost"))
				d.wantReads(1)
				d.hear(d.log.add())
				e.want(span(1, 2))
			})
		})
	}
}

// A session's first change follows none: who is before its own session's first must not take another's for that.
func TestStragglerBeforeTheFirst(t *testing.T) {
	onDesk(t, func(d *desk) {
		e := d.active()
		d.hear(format(hearth.Cursor{Epoch: "Z", Seq: 1, Nonce: "z1"}, "", "z"))
		synctest.Wait()
		d.hear(d.log.add())
		e.want(span(1, 1))
	})
}
