package pubsub

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hearthstore/hearth"
)

// next ends the room's session and begins another one, and returns what is published meanwhile: the end and n changes.
func (d *desk) next(epoch string, n int) []string {
	texts := []string{d.log.end()}
	d.log.begin(epoch)
	return append(texts, d.log.addN(n)...)
}

func TestFollowerGoesOnWithTheNextSession(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.hear(d.log.addN(2)...)
		s, e := d.follower()
		member := d.active()
		s.Activate(d.log.at())
		d.hear(d.log.add())
		d.hear(d.next("B", 2)...)
		d.hear(d.next("C", 1)...)
		e.want("m3 end m1 m2 end m1")
		member.want("m3 end Lost")
		if s.At() != d.log.at() {
			d.Errorf("at %v, the log at %v", s.At(), d.log.at())
		}
		d.wantReads()
	})
}

func TestAwait(t *testing.T) {
	for _, tt := range []struct {
		name  string
		begin func(d *desk) (late []string) // before the room is found without a session
		known string
		want  string
	}{
		{"nothing was ever", func(d *desk) []string { d.log.live = false; return nil }, "", "m1 m2"},
		{"all was heard", func(d *desk) []string { d.hear(d.log.addN(2)...); d.hear(d.log.end()); return nil }, "A", "m1 m2"},
		{"a session's last changes come late", func(d *desk) []string {
			d.hear(d.log.addN(2)...)
			return append(d.log.addN(2), d.log.end())
		}, "A", "m1 m2"},
		{"a session that is known comes late, whole", func(d *desk) []string { return append(d.log.addN(2), d.log.end()) }, "A", "m1 m2"},
		{"a session that is not known comes late", func(d *desk) []string { return append(d.log.addN(2), d.log.end()) }, "", "m1 m2 end m1 m2"},
	} {
		for _, early := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				onDesk(t, func(d *desk) {
					s, e := d.follower()
					if tt.known == "A" && tt.name == "all was heard" {
						d.active()
					}
					late := tt.begin(d)
					if early {
						d.hear(late...)
					}
					s.Await(tt.known)
					if !early {
						d.hear(late...)
					}
					d.log.begin("B")
					d.hear(d.log.addN(2)...)
					e.want(tt.want)
					d.wantReads()
				})
			})
		}
	}
}

// The session's first member knows more than the hub has heard yet; who waits for the session gets all of it.
func TestAwaitBesideOneWhoKnowsMore(t *testing.T) {
	for _, first := range []bool{false, true} {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			if first {
				s.Await("")
			}
			m := d.log.addN(4)
			member, em := d.sub()
			member.Activate(position(d, m[2]))
			if !first {
				s.Await("")
			}
			d.hear(m...)
			d.hear(d.log.add())
			e.want(span(1, 5))
			em.want(span(4, 5))
			d.wantReads()
		})
	}
}

// Where a whole session may have come and gone unheard, who waited for one is told.
func TestFollowerIsToldWhatItMayHaveMissed(t *testing.T) {
	missed := func(d *desk) {
		d.log.begin("B")
		d.log.addN(2)
		d.log.end()
	}
	t.Run("the connection was made anew", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			d.log.end()
			s.Await("A")
			missed(d)
			d.room.confirm(true)
			synctest.Wait()
			d.log.begin("C")
			d.hear(d.log.add())
			e.want("Lost")
		})
	})
	t.Run("before it was active", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			d.log.end()
			missed(d)
			d.room.confirm(true)
			synctest.Wait()
			s.Await("A")
			e.want("Lost")
		})
	})
	t.Run("after an end that it heard", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			s.Activate(d.log.at())
			d.hear(d.log.add(), d.log.end())
			missed(d)
			d.room.confirm(true)
			d.log.begin("C")
			d.room.hear(d.log.add()) // while the log is read: it seems to follow
			synctest.Wait()
			e.want("m1 end Lost")
		})
	})
	t.Run("after an end that was kept for it", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			at := d.log.at()
			d.hear(d.log.add(), d.log.end())
			missed(d)
			d.room.confirm(true)
			synctest.Wait()
			d.log.begin("C")
			d.hear(d.log.add())
			s.Activate(at)
			e.want("m1 end Lost")
		})
	})
	t.Run("with its session's end", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			s.Activate(d.log.at())
			d.hear(d.log.add())
			d.log.end()
			missed(d)
			d.log.begin("C")
			d.hear(d.log.addN(2)...)
			e.want("m1 Lost")
		})
	})
	t.Run("before it was active, and what comes seems to follow", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			d.active()
			d.hear(d.log.add(), d.log.end())
			s, e := d.follower()
			missed(d)
			d.room.confirm(true)
			d.log.begin("C")
			d.room.hear(d.log.add())
			synctest.Wait()
			s.Await("A")
			e.want("Lost")
		})
	})
	t.Run("a part of a session was heard", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			s.Activate(d.log.at())
			d.hear(d.log.add(), d.log.end())
			d.log.begin("B")
			d.log.add()
			second := d.log.add()
			d.log.end()
			d.hear(second)
			e.want("m1 end Lost")
		})
	})
	t.Run("too much was heard while the log was read", func(t *testing.T) {
		onDesk(t, func(d *desk) {
			s, e := d.follower()
			d.log.addN(3)
			end := d.log.end()
			s.Await("A")
			d.log.begin("B")
			first := d.log.add()
			d.slowRead(func() {
				d.room.hear(end)
				for range maxHeld {
					d.room.hear(first)
				}
			})
			d.room.mu.Lock()
			d.room.known, d.room.pos = true, position(d, first)
			d.room.repair()
			d.room.mu.Unlock()
			synctest.Wait()
			e.want("Lost")
		})
	})
}

// Once its loss was told it begins again at once, while the log is still being read.
func TestFollowerBeginsAgain(t *testing.T) {
	for _, late := range []bool{false, true} {
		onDesk(t, func(d *desk) {
			d.log.end()
			first, told := d.follower()
			first.Await("")
			var s *Subscription
			var e *ear
			d.slowRead(func() {
				s, e = d.follower()
				first.Close()
				if !late {
					s.Await("")
				}
			})
			d.room.confirm(true)
			told.want("Lost")
			synctest.Wait()
			if late {
				s.Await("")
			}
			d.log.begin("B")
			d.hear(d.log.add())
			e.want("m1")
		})
	}
}

// What else makes the hub read the log is nothing to who is in a session of which nothing is missing.
func TestFollowerIsRepairedLikeAnybody(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.follower()
		s.Activate(d.log.at())
		m := d.log.addN(5)
		d.hear(m[0], m[4])
		d.room.confirm(true)
		synctest.Wait()
		d.hear(d.next("B", 1)...)
		e.want(span(1, 5) + " end m1")
	})
}

// What was given up before it was active is no reason to lose it later.
func TestFollowerThatSkippedNothingOfItsOwn(t *testing.T) {
	onDesk(t, func(d *desk) {
		s, e := d.follower()
		d.log.addN(2)
		d.room.confirm(true)
		synctest.Wait()
		d.hear(d.log.add())
		s.Activate(d.log.at())
		d.hear(d.next("B", 1)...)
		e.want("end m1")
	})
}

func TestMissed(t *testing.T) {
	for _, longest := range []int{0, 1, 3} {
		onDesk(t, func(d *desk) {
			m := d.log.addN(8)
			d.log.trim(6) // 3..8
			d.log.longest = longest
			missed := func(from hearth.Cursor) (string, error) {
				got, err := d.room.hub.Missed(d.Context(), "r", from)
				e := newEar(d)
				for _, m := range got {
					e.Deliver(m)
				}
				return e.heard(), err
			}
			for n := 2; n <= 8; n++ {
				want := ""
				if n < 8 {
					want = span(n+1, 8)
				}
				if got, err := missed(position(d, m[n-1])); got != want || err != nil {
					d.Errorf("from %d: %s, %v", n, got, err)
				}
			}
			other := position(d, m[3])
			other.Nonce = "other"
			head := d.log.at()
			head.Nonce = "other"
			for name, from := range map[string]hearth.Cursor{
				"too old": position(d, m[0]), "before the first": {Epoch: "A", Nonce: "A"}, "another change": other,
				"another newest change": head, "ahead": {Epoch: "A", Seq: 9, Nonce: "n9"}, "another session": {Epoch: "B", Seq: 8, Nonce: "n8"},
			} {
				if got, err := missed(from); got != "" || !errors.Is(err, ErrGone) {
					d.Errorf("%s: %s, %v", name, got, err)
				}
			}
			d.log.rewind(2)
			d.log.addN(2)
			if got, err := missed(position(d, m[6])); got != "" || !errors.Is(err, ErrGone) {
				d.Errorf("of a change that a rewind took back: %s, %v", got, err)
			}
			broken := errors.New("no answer")
			d.log.failing(func() error { return broken })
			if _, err := missed(d.log.at()); !errors.Is(err, broken) {
				d.Errorf("a read that fails: %v", err)
			}
			d.log.failing(nil)
			d.log.end()
			if _, err := missed(position(d, m[5])); !errors.Is(err, ErrGone) {
				d.Errorf("a session that is over: %v", err)
			}
			d.log.begin("B")
			d.log.addN(2)
			if got, err := missed(hearth.Cursor{Epoch: "B", Nonce: "B"}); got != span(1, 2) || err != nil {
				d.Errorf("from before the first: %s, %v", got, err)
			}
		})
	}
}

// Changes go on while the log is read: what is read and what is heard fit together.
func TestMissedWhileChangesGoOn(t *testing.T) {
	onDesk(t, func(d *desk) {
		d.active()
		m := d.log.addN(6)
		d.hear(m...)
		d.log.longest = 2
		s, e := d.follower()
		d.slowRead(func() {
			for range 3 {
				d.room.hear(d.log.add())
			}
		})
		at := position(d, m[1])
		missed, err := d.room.hub.Missed(d.Context(), "r", at)
		if err != nil {
			d.Fatal(err)
		}
		for _, m := range missed {
			e.Deliver(m)
			at = m.Cursor
		}
		d.hear(d.log.add())
		s.Activate(at)
		d.hear(d.log.add())
		e.want(span(3, 11))
	})
}
