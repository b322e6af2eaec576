package pubsub

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadErrorsAreRetried(t *testing.T) {
	onDesk(t, func(d *desk) {
		left := 7
		d.log.fail = func() error {
			if left--; left >= 0 {
				return errors.New("connection refused")
			}
			return nil
		}
		e := d.active()
		m := d.log.addN(3)
		d.room.hear(m[0])
		d.room.hear(m[2])
		e.until(3)
		synctest.Wait()
		e.want(span(1, 3))
		d.wantReads(1, 1, 1, 1, 1, 1, 1, 1)
	})
}

// A server that comes and goes is asked as soon as it is back: it may be away again when a pause is over.
func TestReadsAreRetriedWhenTheServerIsBack(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.log.fail = func() error { return errors.New("connection refused") }
		e := d.active()
		d.room.hear(d.log.addN(3)[2])
		<-time.After(time.Minute) // by now the pauses are as long as they get
		synctest.Wait()
		d.log.failing(nil)
		began := time.Now()
		d.room.confirm(true)
		synctest.Wait()
		e.want(span(1, 3))
		if d := time.Since(began); d > 0 {
			t.Errorf("after another %v", d)
		}
	})
}

// Only a pause is ended: a server that refuses is not asked more often because the rest goes well.
func TestHasteIsNotKept(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.log.fail = func() error { return errors.New("refused") }
		d.active()
		d.hear(d.log.addN(2)[1])
		for range 50 {
			d.room.confirm(true)
			synctest.Wait()
		}
		if n := len(d.log.asked()); n > 102 {
			t.Errorf("%d reads for 50 confirmations", n)
		}
		d.log.failing(nil)
		<-time.After(time.Minute)
	})
}
