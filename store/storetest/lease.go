package storetest

import (
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// later lets d pass for what was stored with a deadline: by the server's clock, or by waiting where d is short.
func (f *fixture) later(d time.Duration) {
	f.Helper()
	if f.env.Advance != nil {
		f.env.Advance(d)
		return
	}
	<-time.After(d)
}

// due is what a node that has no peers in a partition learns by a tick.
func (f *fixture) due(partition, limit int) ([]store.DueItem, time.Duration, error) {
	t, err := f.s.Tick(f.ctx(), partition, "", limit)
	return t.Due, t.Next, err
}

// dueOf returns what is due of the room.
func (f *fixture) dueOf(room string) (items []store.DueItem) {
	f.Helper()
	all, _, err := f.due(f.s.Partition(room), 1000)
	f.ok(err)
	for _, item := range all {
		if item.Room == room {
			items = append(items, item)
		}
	}
	return items
}

// settle waits until something of the room is due, and settles all that is.
func (f *fixture) settle(room string) {
	f.Helper()
	f.later(10 * time.Millisecond)
	var items []store.DueItem
	f.until("due in "+room, func() bool { items = f.dueOf(room); return len(items) > 0 })
	f.ok(f.s.Settle(f.ctx(), items...))
}

func testLease(f *fixture) {
	f.run("a lease that runs out is a leave", func(f *fixture) {
		room := f.newRoom()
		bob := f.join(room, "bob")
		ann := f.join(room, "ann", leased(time.Millisecond), bearing("hers"))
		w := f.watch(room)
		f.settle(room)
		e := w.tells("leave ann timed_out to all but ann")[0]
		f.equal("what others are told", e.Body, string(ann.Own.AppendBody(nil))+`,"reason":"timed_out"`)
		s := f.state(room)
		f.equal("stored peers", sortedFields(s["c"]), []string{"bob"})
		f.equal("stored data", s["p"], map[string]string{})
		f.equal("due", sortedFields(s["due"]), []string{"log/" + room})
		f.refused(room, hearth.ReasonNotMember, func() error { _, err := f.s.Renew(f.ctx(), room, ann.Writer); return err })
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
		f.set(bob, "k", "1")
	})

	f.run("the last lease that runs out ends the session", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Millisecond))
		f.set(ann, "k", "1")
		w := f.watch(room)
		f.settle(room)
		w.tells("leave ann timed_out to all but ann", "end empty to all")
		f.gone(room)
	})

	f.run("a lease that runs on is left alone", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann", leased(time.Hour))
		f.later(time.Millisecond)
		f.equal("due", f.dueOf(room), nil)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
	})

	f.run("what was never due is left alone", func(f *fixture) {
		room := f.newRoom()
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueLog, Room: room}) })
		f.join(room, "ann")
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueLog, Room: room}) })
	})

	f.run("a renewal moves the deadline by the lease", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Minute))
		w := f.watch(room)
		f.later(30 * time.Millisecond)
		at, err := f.s.Renew(f.ctx(), room, ann.Writer)
		f.ok(err)
		if moved := at - ann.ExpiresAt; moved < 1 || moved > 20_000 {
			f.Errorf("moved by %d ms", moved)
		}
		f.equal("due", f.state(room)["due"]["peer/"+room+"/ann"], strconv.FormatInt(at, 10))
		w.tells() // nobody
	})

	f.run("a renewal in time outlives the first deadline", func(f *fixture) {
		if f.env.Advance == nil {
			f.outlive() // the same, where the clock can't be moved
			return
		}
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Minute))
		f.env.Advance(50 * time.Second)
		_, err := f.s.Renew(f.ctx(), room, ann.Writer)
		f.ok(err)
		f.env.Advance(50 * time.Second)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
		f.env.Advance(10 * time.Second)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}))
		f.gone(room)
	})

	f.run("a lease that ran out can be renewed until it is settled", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(50*time.Millisecond))
		f.later(60 * time.Millisecond)
		if _, err := f.s.Renew(f.ctx(), room, ann.Writer); err != nil {
			f.Error(err)
		}
	})

	f.run("a peer with a socket has nothing to renew", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.refused(room, hearth.ReasonBadParams, func() error { _, err := f.s.Renew(f.ctx(), room, ann.Writer); return err })
	})
}

// outlive shows with deadlines written by hand that a renewal replaces one that has passed.
func (f *fixture) outlive() {
	f.Helper()
	room := f.newRoom()
	ann := f.join(room, "ann", leased(time.Minute))
	f.ok(f.env.Client.ZIncrBy(f.ctx(), f.key("due", room), -120_000, "peer/"+room+"/ann").Err())
	f.equal("due", f.dueOf(room), []store.DueItem{{Kind: store.DuePeer, Room: room, Peer: "ann"}})
	_, err := f.s.Renew(f.ctx(), room, ann.Writer)
	f.ok(err)
	f.equal("due", f.dueOf(room), nil)
	f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
	f.ok(f.env.Client.ZIncrBy(f.ctx(), f.key("due", room), -120_000, "peer/"+room+"/ann").Err())
	f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}))
	f.gone(room)
}

func testDue(f *fixture) {
	room := f.newRoom()
	partition := f.s.Partition(room)
	due := func(f *fixture, limit int) (items []store.DueItem, next time.Duration) {
		f.Helper()
		items, next, err := f.due(partition, limit)
		f.ok(err)
		return items, next
	}
	f.run("a partition that holds nothing has nothing due, ever", func(f *fixture) {
		if items, next := due(f, 10); len(items) != 0 || next >= 0 {
			f.Errorf("%v, next in %v", items, next)
		}
	})
	for i, lease := range []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond} {
		f.join(room, "p"+strconv.Itoa(i), leased(lease))
	}
	f.join(room, "late", leased(time.Minute))
	f.later(20 * time.Millisecond)
	f.until("three leases run out", func() bool { items, _ := due(f, 10); return len(items) == 3 })
	f.run("what is due comes in the order of the deadlines, and tells when the next one comes", func(f *fixture) {
		items, next := due(f, 10)
		f.equal("due", items, []store.DueItem{{Kind: store.DuePeer, Room: room, Peer: "p0"}, {Kind: store.DuePeer, Room: room, Peer: "p1"}, {Kind: store.DuePeer, Room: room, Peer: "p2"}})
		if next < 30*time.Second || next > time.Minute {
			f.Errorf("the next one in %v", next)
		}
	})
	f.run("when more is due than was asked for, the next one is due now", func(f *fixture) {
		items, next := due(f, 2)
		f.equal("due", items, []store.DueItem{{Kind: store.DuePeer, Room: room, Peer: "p0"}, {Kind: store.DuePeer, Room: room, Peer: "p1"}})
		if next != 0 {
			f.Errorf("the next one in %v", next)
		}
		if items, next = due(f, 3); len(items) != 3 || next < 30*time.Second {
			f.Errorf("%v, the next one in %v", items, next)
		}
	})
	f.run("what was settled is due no more", func(f *fixture) {
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "p1"}))
		items, _ := due(f, 10)
		f.equal("due", items, []store.DueItem{{Kind: store.DuePeer, Room: room, Peer: "p0"}, {Kind: store.DuePeer, Room: room, Peer: "p2"}})
	})
}

func testLogAge(f *fixture) {
	f.run("changes older than the age go, newer ones stay", func(f *fixture) {
		f = f.limited(hearth.Limits{LogAge: 10 * time.Minute})
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.set(ann, "k", "1")
		f.grow(room, 6*time.Minute)
		f.set(ann, "k", "2")
		f.equal("due", f.dueOf(room), nil)
		f.grow(room, 5*time.Minute)
		f.equal("due", f.dueOf(room), []store.DueItem{{Kind: store.DueLog, Room: room}})
		w := f.watch(room)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueLog, Room: room}))
		w.tells() // nobody
		s := f.state(room)
		if len(s["l"]) != 1 || parse(f, s["l"]["0"]).Seq != 3 {
			f.Errorf("the log is %q", s.logged())
		}
		f.equal("counted bytes", s["s"]["lb"], strconv.Itoa(len(s["l"]["0"])))
		f.equal("due", f.dueOf(room), nil)
		f.equal("item", sortedFields(s["due"]), []string{"log/" + room})
		log, err := f.s.Log(f.ctx(), room, "", 0, 10)
		f.ok(err)
		if log.Oldest != 3 || len(log.Events) != 1 {
			f.Errorf("%+v", log)
		}

		f.grow(room, 6*time.Minute)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueLog, Room: room}))
		s = f.state(room)
		f.equal("log", s.logged(), nil)
		f.equal("counted bytes", s["s"]["lb"], "0")
		f.equal("item", s["due"], nil)
		log, err = f.s.Log(f.ctx(), room, "", 3, 10)
		f.ok(err)
		if log.Oldest != 4 || len(log.Events) != 0 || log.Seq != 3 {
			f.Errorf("%+v", log)
		}

		f.set(ann, "k", "3")
		f.equal("item", sortedFields(f.state(room)["due"]), []string{"log/" + room})
		log, err = f.s.Log(f.ctx(), room, "", 3, 10)
		f.ok(err)
		if log.Oldest != 4 || len(log.Events) != 1 || parse(f, log.Events[0]).Seq != 4 {
			f.Errorf("%+v", log)
		}
	})

	f.run("a log that isn't due is left alone", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueLog, Room: room}) })
	})
}

// grow makes all that the room's log and its deadlines hold older by d: by the server's clock, or by hand where it can't
// be moved.
func (f *fixture) grow(room string, d time.Duration) {
	f.Helper()
	if f.env.Advance != nil {
		f.env.Advance(d)
		return
	}
	s := f.state(room)
	for item := range s["due"] {
		f.ok(f.env.Client.ZIncrBy(f.ctx(), f.key("due", room), -float64(d.Milliseconds()), item).Err())
	}
	for member := range s["x"] {
		f.ok(f.env.Client.ZIncrBy(f.ctx(), f.key("x", room), -float64(d.Milliseconds()), member).Err())
	}
	// What the records themselves say of it: the field that comes n-th in their first line.
	for kind, n := range map[string]int{"m": 3, "k": 2, "z": 2} {
		for name, text := range s[kind] {
			head, rest, _ := strings.Cut(text, "\n")
			words := strings.Split(head, " ")
			if at, err := strconv.ParseInt(words[n], 10, 64); err == nil {
				words[n] = strconv.FormatInt(at-d.Milliseconds(), 10)
			}
			f.ok(f.env.Client.HSet(f.ctx(), f.key(kind, room), name, strings.Join(words, " ")+"\n"+rest).Err())
		}
	}
	for i, text := range s.logged() {
		f.ok(f.env.Client.LSet(f.ctx(), f.key("l", room), int64(i), older(f, text, d)).Err())
	}
	if turn, ok := s["s"]["turn"]; ok && turn != "0" {
		f.ok(f.env.Client.HIncrBy(f.ctx(), f.key("s", room), "turn", -d.Milliseconds()).Err())
	}
}
