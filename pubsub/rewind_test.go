package pubsub

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/hearthstore/hearth"
)

// rewinds has the desk's store begin a new log when the hub says so; what it publishes is heard by the hubs given, after
// its own.
func (d *desk) rewinds(others ...*desk) (calls *int) {
	calls = new(int)
	d.room.hub.o.Rewound = func(_ context.Context, _ string, at hearth.Cursor) error {
		*calls++
		if text := d.log.rewound(at); text != "" {
			d.room.hear(text)
			for _, o := range others {
				o.room.hear(text)
			}
		}
		return nil
	}
	return calls
}

// A store that has lost changes begins a new log before anybody is told that it is lost.
func TestRewoundBeginsANewLog(t *testing.T) {
	for _, tt := range []struct{ lost, others int }{{1, 0}, {3, 0}, {3, 1}, {3, 3}, {3, 9}} {
		t.Run(fmt.Sprintf("%d lost, %d others", tt.lost, tt.others), func(t *testing.T) {
			onDesk(t, func(d *desk) {
				calls := d.rewinds()
				e, f := d.active(), newEar(d)
				s := &Subscription{room: d.room, to: f, follows: true}
				<-d.room.add(s)
				s.Activate(d.log.at())
				d.hear(d.log.addN(5)...)
				d.log.rewind(tt.lost)
				d.log.addN(tt.others)
				d.room.confirm(true) // the connection to the new master
				synctest.Wait()
				e.want(span(1, 5) + " Lost")
				f.want(span(1, 5) + " Lost")
				if at := d.log.at(); *calls != 1 || at.Epoch != "A+" || at.Seq <= 1005 {
					d.Errorf("%d calls, the log is at %v", *calls, at)
				}
				// Who comes back is served from there, and those who were ahead can't resume.
				if _, err := d.room.hub.Missed(d.Context(), "r", position(d, format(hearth.Cursor{Epoch: "A", Seq: 5, Nonce: "n5"}, "", ""))); !errors.Is(err, ErrGone) {
					d.Errorf("resumed from the old log: %v", err)
				}
				next := d.active()
				text := d.log.add()
				d.hear(text)
				if got, lost := next.last(); lost || got != position(d, text) {
					d.Errorf("heard up to %v, lost: %v", got, lost)
				}
				if n := d.room.hub.Stats.Rewinds.Load(); n != 1 {
					d.Errorf("%d rewinds", n)
				}
			})
		})
	}
}

// What the log no longer tells of is no proof: only this hub's subscribers are lost.
func TestLogNoLongerReachesBackIsNoRewind(t *testing.T) {
	onDesk(t, func(d *desk) {
		calls := d.rewinds()
		e := d.active()
		m := d.log.addN(10)
		d.log.trim(3)
		d.hear(m[0], m[1], m[9])
		e.want(span(1, 2) + " Lost")
		if *calls > 0 || d.log.at().Epoch != "A" {
			d.Errorf("%d calls, the log is at %v", *calls, d.log.at())
		}
	})
}

// The new log can't be begun at first: nobody is told until it is.
func TestRewoundIsTriedAgain(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.rewinds()
		began := d.room.hub.o.Rewound
		left := 5
		d.room.hub.o.Rewound = func(ctx context.Context, room string, at hearth.Cursor) error {
			if left--; left >= 0 {
				return errors.New("no answer")
			}
			return began(ctx, room, at)
		}
		e := d.active()
		d.hear(d.log.addN(5)...)
		d.log.rewind(2)
		d.room.confirm(true)
		e.until(6) // or lost
		synctest.Wait()
		e.want(span(1, 5) + " Lost")
		if left != -1 || d.log.at().Epoch != "A+" {
			d.Errorf("%d tries left, the log is at %v", left, d.log.at())
		}
	})
}

// A hub that has not heard what was lost hears the new log begin, and tells its own.
func TestAnotherHubFindsOut(t *testing.T) {
	onDesk(t, func(d *desk) {
		onDesk2(d, func(o *desk) {
			calls, others := d.rewinds(o), o.rewinds()
			e, f := d.active(), o.active()
			m := d.log.addN(5)
			d.hear(m...)
			o.hear(m[:3]...)
			d.log.rewind(2)
			d.room.confirm(true)
			synctest.Wait()
			e.want(span(1, 5) + " Lost")
			f.want(span(1, 3) + " Lost")
			if *calls != 1 || *others != 0 {
				d.Errorf("%d and %d calls", *calls, *others)
			}
		})
	})
}

// A failover that brings a session back whose end was heard.
func TestEndIsRewound(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.rewinds()
		d.active()
		m := d.log.addN(3)
		d.hear(m...)
		before := d.log.at()
		d.hear(d.log.end())
		d.log.mu.Lock()
		d.log.pos, d.log.live, d.log.texts = before, true, m
		d.log.mu.Unlock()
		d.room.confirm(true)
		synctest.Wait()
		if at := d.log.at(); at.Epoch != "A+" || at.Seq <= 1004 {
			d.Errorf("the log is at %v", at)
		}
	})
}

// A change that has the next seq and comes after another one than was heard is one of a store that was rewound.
func TestRewoundIsSeenByTheNextChange(t *testing.T) {
	onDesk(t, func(d *desk) {
		calls := d.rewinds()
		e := d.active()
		d.hear(d.log.addN(5)...)
		d.log.rewind(1)
		d.hear(d.log.addN(2)[1])
		synctest.Wait()
		e.want(span(1, 5) + " Lost")
		if at := d.log.at(); *calls != 1 || at.Epoch != "A+" {
			d.Errorf("%d calls, the log is at %v", *calls, at)
		}
	})
}

// Behind the hub's seq other changes look like duplicates: they make it look. The log may be as long as it was by then.
func TestRewoundIsSuspected(t *testing.T) {
	for _, others := range []int{1, 3, 4} {
		t.Run(fmt.Sprintf("%d others", others), func(t *testing.T) {
			onDesk(t, func(d *desk) {
				d.rewinds()
				h := d.room.hub
				h.byChan["r"], h.rooms["r"], d.room.slot.rooms["r"] = d.room, d.room, d.room
				h.o.Heads = func(context.Context, []string) ([]hearth.Cursor, error) { return []hearth.Cursor{d.log.at()}, nil }
				h.o.CompareEvery, h.o.ProbeEvery = 1, 1<<40
				e := d.active()
				d.hear(d.log.addN(5)...)
				d.log.rewind(3)
				d.hear(d.log.addN(others)[0])
				e.want(span(1, 5))
				h.wg.Go(h.compare)
				e.until(6) // or lost
				synctest.Wait()
				e.want(span(1, 5) + " Lost")
				if at := d.log.at(); at.Epoch != "A+" {
					d.Errorf("the log is at %v", at)
				}
			})
		})
	}
}
