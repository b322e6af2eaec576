package pubsub

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/hearthstore/hearth"
)

// position is where a log stood after one of its changes.
func position(t testing.TB, text string) hearth.Cursor {
	t.Helper()
	c, _, _, err := hearth.ParseCursorLine(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestActivateDropsWhatIsKnown(t *testing.T) {
	for known := 1; known <= 5; known++ {
		onDesk(t, func(d *desk) {
			s, e := d.sub()
			m := d.log.addN(5)
			d.hear(m...)
			e.want("")
			s.Activate(position(d, m[known-1]))
			e.want(span(known+1, 5))
			d.hear(d.log.add())
			e.want(span(known+1, 6))
			if s.At() != d.log.at() {
				d.Errorf("at %v, the log at %v", s.At(), d.log.at())
			}
		})
	}
}

func TestActivateBehindWhatIsKept(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		m := d.log.addN(3)
		d.hear(m[0], m[1])
		s, e := d.sub()
		d.hear(m[2])
		s.Activate(position(d, m[0])) // m2 was published before the subscription
		e.want("Lost")
	})
}

// A position whose change the store has replaced since, as it was rewound, is not one that the next change follows.
func TestActivateBeforeWhatFollowsAnother(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.sub()
		m := d.log.addN(3)
		d.hear(m...)
		at := position(d, m[1])
		at.Nonce = "another"
		s.Activate(at)
		e.want("Lost")
	})
}

func TestActivateBehindTheHub(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		m := d.log.addN(3)
		d.hear(m...)
		s, e := d.sub()
		s.Activate(position(d, m[1]))
		e.want("Lost")
	})
}

// What the subscriber knows was read after what the hub has heard.
func TestActivateAheadOfTheHub(t *testing.T) {
	onDesk(t, func(d *desk) {
		first := d.active()
		m := d.log.addN(4)
		d.hear(m[0])
		s, e := d.sub()
		s.Activate(position(d, m[2]))
		d.hear(m[1:]...)
		e.want("m4")
		first.want(span(1, 4))
		d.wantReads()
	})
}

func TestActivateSetsTheHubsPosition(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.log.addN(7)
		e := d.active()
		m := d.log.addN(2)
		d.hear(m[1])
		e.want(span(8, 9))
		d.wantReads(7)
	})
}

// The one active subscription sets the position; another one, that knows less, has what was kept.
func TestSubscribersAtDifferentPositions(t *testing.T) {
	onDesk(t, func(d *desk) {
		a, ea := d.sub()
		b, eb := d.sub()
		m := d.log.addN(6)
		d.hear(m[0], m[1], m[2])
		a.Activate(position(d, m[2]))
		d.hear(m[3])
		b.Activate(position(d, m[0]))
		d.hear(m[4], m[5])
		ea.want(span(4, 6))
		eb.want(span(2, 6))
	})
}

// Of two, the one that knows more begins first, before the hub has heard any of it: replies overtake what is published.
func TestLaterSubscriberKnowsLess(t *testing.T) {
	for between := range 5 {
		onDesk(t, func(d *desk) {
			a, ea := d.sub()
			b, eb := d.sub()
			m := d.log.addN(5)
			a.Activate(position(d, m[3])) // nothing of it was heard
			d.hear(m[:between]...)
			b.Activate(position(d, m[0]))
			d.hear(m[between:]...)
			ea.want("m5")
			eb.want(span(2, 5))
			d.wantReads()
		})
	}
}

// The subscriber's position is of a log that was rewound since.
func TestActivateAtAnotherNonce(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		d.log.addN(2)
		old := d.log.at()
		d.log.rewind(1)
		d.log.add()
		d.room.confirm(true)
		synctest.Wait()
		s, e := d.sub()
		s.Activate(old)
		d.hear(d.log.add())
		e.want("Lost")
	})
}

func TestPendingOverflow(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.sub()
		at := d.log.at()
		d.hear(d.log.addN(maxPending)...)
		e.want("")
		d.hear(d.log.add())
		e.want("Lost")
		s.Activate(at)
		e.want("Lost")
	})
	onDesk(t, func(d *desk) { // just as many as are kept
		s, e := d.sub()
		at := d.log.at()
		d.hear(d.log.addN(maxPending)...)
		s.Activate(at)
		e.want(span(1, maxPending))
	})
}

// A repair goes on for subscribers that are not active yet, too.
func TestPendingIsRepaired(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.sub()
		m := d.log.addN(6)
		d.hear(m[0], m[4])
		s.Activate(position(d, m[1]))
		e.want(span(3, 6))
	})
}

func TestActivateWhileReading(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		s, e := d.sub()
		m := d.log.addN(4)
		d.slowRead(func() { s.Activate(position(d, m[1])) })
		d.hear(m[0], m[3])
		e.want(span(3, 4))
	})
}

// The log that is read no longer reaches back to where the hub is. Who became active meanwhile is not lost by that, and needs
// what the log has after where it begins.
func TestActivateWhileReadingALogThatIsCut(t *testing.T) {
	onDesk(t, func(d *desk) {
		old := d.active()
		d.hear(d.log.addN(2)...)
		d.log.addN(5)
		late, e := d.sub()
		at := d.log.at()
		d.log.add()
		d.log.trim(3)
		d.slowRead(func() { late.Activate(at) })
		d.room.confirm(true)
		synctest.Wait()
		old.want("m1 m2 Lost")
		e.want("m8")
		d.hear(d.log.add())
		e.want("m8 m9")
	})
}

// The hub learnt from the log that another session is on; who then says that it begins in the old one is told.
func TestActivateInASessionThatWasSkipped(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		d.hear(d.log.add())
		s, e := d.sub()
		old := d.log.at()
		d.log.end()
		d.log.begin("B")
		d.hear(d.log.addN(2)[1])
		s.Activate(old)
		synctest.Wait() // for the log
		e.want("Lost")
	})
	onDesk(t, func(d *desk) { // or that none is
		d.active()
		d.hear(d.log.add())
		s, e := d.sub()
		old := d.log.at()
		d.log.end()
		d.room.confirm(true)
		synctest.Wait()
		s.Activate(old)
		synctest.Wait()
		e.want("Lost")
	})
}

// The connection was made anew before anybody was active: what a subscriber's position lacks is missing.
func TestReconnectBeforeActivate(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.sub()
		d.log.addN(3)
		at := d.log.at()
		d.log.add() // lost with the connection
		d.room.confirm(true)
		synctest.Wait()
		s.Activate(at)
		e.want("Lost")
	})
	onDesk(t, func(d *desk) { // active before the log is read
		s, e := d.sub()
		d.log.addN(3)
		at := d.log.at()
		d.log.add()
		d.room.confirm(true)
		s.Activate(at)
		synctest.Wait()
		e.want("m4")
	})
}

func TestClosedHearsNothing(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.sub()
		other := d.active()
		m := d.log.addN(3)
		d.hear(m[0])
		if !s.Close() || s.Close() {
			d.Error("the first Close and no other reports true")
		}
		s.Activate(hearth.Cursor{Epoch: "A"})
		d.hear(m[2])
		e.want("")
		other.want(span(1, 3))
	})
}

// The room is left by all and wanted again while its log is read; what that read returns is too old by then.
func TestLeftAndWantedAgainWhileReading(t *testing.T) {
	onDesk(t, func(d *desk) {
		first, _ := d.sub()
		first.Activate(d.log.at())
		m := d.log.addN(3)
		var e *ear
		d.slowRead(func() {
			first.Close()
			e = newEar(d)
			s := &Subscription{room: d.room, to: e}
			confirmed := d.room.add(s)
			d.room.parted()
			d.log.addN(4) // nobody hears these
			d.room.confirm(true)
			<-confirmed
			s.Activate(d.log.at())
			d.room.hear(d.log.add())
		})
		d.hear(m[0], m[2])
		e.want("m8")
	})
}

func TestClosedHubStopsReading(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.log.fail = func() error { return context.DeadlineExceeded }
		e := d.active()
		m := d.log.addN(3)
		d.room.hear(m[2])
		d.room.hub.cancel()
		d.room.hub.wg.Wait()
		e.want("")
	})
}
