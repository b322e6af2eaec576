package storetest

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// acquire takes a lock for an hour, or tries to.
func (f *fixture) acquire(m member, lock string, changes ...func(*store.AcquireRequest)) (store.Held, error) {
	f.Helper()
	q := store.AcquireRequest{Lock: lock, Peer: m.Peer, TTL: time.Hour}
	for _, c := range changes {
		c(&q)
	}
	return f.s.Acquire(f.ctx(), m.Room, m.Writer, q)
}

// hold takes a lock that is free.
func (f *fixture) hold(m member, lock string, changes ...func(*store.AcquireRequest)) store.Held {
	f.Helper()
	h, err := f.acquire(m, lock, changes...)
	f.ok(err)
	return h
}

// queue makes a peer wait for a lock for a minute.
func (f *fixture) queue(m member, lock string, changes ...func(*store.AcquireRequest)) {
	f.Helper()
	changes = append([]func(*store.AcquireRequest){func(q *store.AcquireRequest) { q.Wait = time.Minute }}, changes...)
	if _, err := f.acquire(m, lock, changes...); !errors.Is(err, store.ErrWaiting) {
		f.Fatalf("%s does not wait for %s: %v", m.Peer, lock, err)
	}
}

func binding(keys ...string) func(*store.AcquireRequest) {
	return func(q *store.AcquireRequest) {
		q.SetKeys = true
		for _, k := range keys {
			q.Keys = append(q.Keys, hearth.Pattern(k))
		}
	}
}

func holdFor(d time.Duration) func(*store.AcquireRequest) {
	return func(q *store.AcquireRequest) { q.TTL = d }
}

func (f *fixture) release(m member, lock string, h store.Held) error {
	return f.s.ReleaseLock(f.ctx(), m.Room, m.Writer, hearth.Holding{Name: lock, Token: h.Token}, m.Peer)
}

// holder is who holds the lock l, "" if nobody does.
func (f *fixture) holder(room string) string {
	f.Helper()
	_, locks, err := f.s.Locks(f.ctx(), room, "")
	f.ok(err)
	for _, l := range locks {
		if l.Name == "l" {
			return l.Peer
		}
	}
	return ""
}

func testLock(f *fixture) {
	f.run("a free lock is given, told and listed", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		w := f.watch(room)
		h := f.hold(ann, "l", binding("a/*", "b"))
		e := w.tells("lock ann l acquired to all")[0]
		f.equal("held", h, store.Held{Session: ann.ID, Token: e.Seq, ExpiresAt: e.At + 3_600_000})
		f.equal("told", e.Body, `"name":"l","state":"acquired","peer_id":"ann","token":3`)
		f.equal("change", e.Lock, &hearth.LockChange{Name: "l", State: hearth.LockAcquired, Token: 3, ExpiresAt: h.ExpiresAt})
		want := hearth.Lock{Name: "l", Peer: "ann", Token: 3, ExpiresAt: h.ExpiresAt, Keys: hearth.Patterns{"a/*", "b"}}
		ses, locks, err := f.s.Locks(f.ctx(), room, "")
		f.ok(err)
		f.equal("listed", locks, []hearth.Lock{want})
		f.equal("seq", ses.Seq, uint64(3))
		f.refused(room, hearth.ReasonLockHeld, func() error {
			_, err := f.acquire(bob, "l")
			told := want
			told.Waiters = -1 // they are not counted
			f.equal("told of", hearth.AsError(err).Lock, &told)
			return err
		})
	})

	f.run("the holder who acquires again extends: same token, no event", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		h := f.hold(ann, "l", binding("a"))
		w := f.watch(room)
		again := f.hold(ann, "l", holdFor(2*time.Hour))
		if again.Token != h.Token || again.ExpiresAt < h.ExpiresAt+3_600_000 {
			f.Errorf("%+v after %+v", again, h)
		}
		f.equal("keys are kept", f.state(room)["s"]["bl"], "l ")
		f.hold(ann, "l", binding())
		f.equal("keys are given up", f.state(room)["s"]["bl"], "")
		w.tells()
	})

	f.run("a release frees it; a later holding has a higher token", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		h := f.hold(ann, "l", binding("a"))
		f.refused(room, hearth.ReasonLockLost, func() error { return f.release(bob, "l", h) })
		f.refused(room, hearth.ReasonLockLost, func() error { return f.release(ann, "l", store.Held{Token: h.Token + 1}) })
		f.refused(room, hearth.ReasonLockLost, func() error { return f.release(ann, "other", h) })
		w := f.watch(room)
		f.ok(f.release(ann, "l", h))
		f.equal("told", w.tells("lock ann l released to all")[0].Body, `"name":"l","state":"released","peer_id":"ann","token":3`)
		s := f.state(room)
		for _, kind := range []string{"k", "w", "x"} {
			f.equal(kind, s[kind], nil)
		}
		f.refused(room, hearth.ReasonLockLost, func() error { return f.release(ann, "l", h) })
		if next := f.hold(bob, "l"); next.Token <= h.Token {
			f.Errorf("token %d after %d", next.Token, h.Token)
		}
	})

	f.run("a renewal extends", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		h := f.hold(ann, "l", holdFor(time.Minute))
		lock := hearth.Holding{Name: "l", Token: h.Token}
		renewed, err := f.s.RenewLock(f.ctx(), room, ann.Writer, lock, time.Hour, "ann")
		f.ok(err)
		if renewed.Token != h.Token || renewed.ExpiresAt < h.ExpiresAt+3_000_000 {
			f.Errorf("%+v after %+v", renewed, h)
		}
		again, err := f.s.RenewLock(f.ctx(), room, ann.Writer, lock, 0, "ann")
		f.ok(err)
		if again.ExpiresAt < renewed.ExpiresAt {
			f.Errorf("%+v after %+v: as long as before", again, renewed)
		}
		f.refused(room, hearth.ReasonLockLost, func() error {
			_, err := f.s.RenewLock(f.ctx(), room, bob.Writer, lock, 0, "bob")
			f.equal("holder", hearth.AsError(err).Lock.Peer, "ann")
			return err
		})
	})

	f.run("a repeated renewal and a repeated release get the first result", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		h := f.hold(ann, "l", holdFor(time.Minute))
		lock, w := hearth.Holding{Name: "l", Token: h.Token}, with(ann.Writer, "1")
		first, err := f.s.RenewLock(f.ctx(), room, w, lock, time.Hour, "ann")
		f.ok(err)
		f.ok(f.s.ReleaseLock(f.ctx(), room, w, lock, "ann"))
		f.unchanged(room, func() error {
			again, err := f.s.RenewLock(f.ctx(), room, w, lock, time.Hour, "ann")
			f.equal("renewed", again, first)
			return err
		})
		f.unchanged(room, func() error { return f.s.ReleaseLock(f.ctx(), room, w, lock, "ann") })
	})

	f.run("a lock that is not renewed expires", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		h := f.hold(ann, "l", holdFor(time.Minute))
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueTimes, Room: room}) })
		f.grow(room, 2*time.Minute)
		f.equal("holder until its event", f.holder(room), "ann")
		w := f.watch(room)
		f.settle(room)
		w.tells("lock ann l expired to all")
		f.equal("holder", f.holder(room), "")
		f.refused(room, hearth.ReasonLockLost, func() error { return f.release(ann, "l", h) })
		f.equal("due", f.dueOf(room), nil)
	})

	f.run("who meets one that is over has it expire first", func(f *fixture) {
		for name, tt := range map[string]struct {
			call func(f *fixture, ann, bob member, h store.Held) error
			want []string
		}{
			"acquire": {
				func(f *fixture, _, bob member, _ store.Held) error { _, err := f.acquire(bob, "l"); return err },
				[]string{"lock ann l expired to all", "lock bob l acquired to all"},
			},
			"acquire again": {
				func(f *fixture, ann, _ member, _ store.Held) error { _, err := f.acquire(ann, "l"); return err },
				[]string{"lock ann l expired to all", "lock ann l acquired to all"},
			},
			"release": {
				func(f *fixture, ann, _ member, h store.Held) error { return f.release(ann, "l", h) },
				[]string{"lock ann l expired to all"},
			},
			"renew": {func(f *fixture, ann, _ member, h store.Held) error {
				_, err := f.s.RenewLock(f.ctx(), ann.Room, ann.Writer, hearth.Holding{Name: "l", Token: h.Token}, 0, "ann")
				return err
			}, []string{"lock ann l expired to all"}},
			"a write that names it": {func(f *fixture, ann, _ member, h store.Held) error {
				w := ann.Writer
				w.Lock = hearth.Holding{Name: "l", Token: h.Token}
				_, err := f.s.Set(f.ctx(), ann.Room, w, "k", []byte("1"), nil, hearth.Life{})
				return err
			}, []string{"lock ann l expired to all"}},
			"a write of a key that it binds": {
				func(f *fixture, _, bob member, _ store.Held) error { f.set(bob, "k", "1"); return nil },
				[]string{"lock ann l expired to all", "meta bob k to all"},
			},
		} {
			f.run(name, func(f *fixture) {
				room := f.newRoom()
				ann, bob := f.join(room, "ann"), f.join(room, "bob")
				h := f.hold(ann, "l", holdFor(time.Minute), binding("k"))
				f.grow(room, 2*time.Minute)
				w := f.watch(room)
				err := tt.call(f, ann, bob, h)
				if lost := len(tt.want) == 1; lost != (hearth.ReasonOf(err) == hearth.ReasonLockLost) {
					f.Errorf("gave %v", err)
				}
				w.tells(tt.want...)
			})
		}
	})

	f.run("a server holds for a peer that is there", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		server := member{Writer: store.Writer{Key: "key"}}
		server.Room = room
		f.refused(room, hearth.ReasonNotFound, func() error {
			_, err := f.acquire(server, "l", func(q *store.AcquireRequest) { q.Peer = "bob" })
			return err
		})
		h := f.hold(server, "l", func(q *store.AcquireRequest) { q.Peer = "ann" })
		f.equal("holder", f.holder(room), "ann")
		f.ok(f.release(ann, "l", h))
		h = f.hold(ann, "l")
		f.ok(f.release(server, "l", h))
	})

	f.run("a session holds so many locks", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for range hearth.MaxLocks {
			f.ok(f.env.Client.HSet(f.ctx(), f.key("k", room), "x"+hearth.NewNonce(), "1 ann 99999999999999 1000\n").Err())
		}
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.acquire(ann, "l"); return err })
	})
}

func testLockQueue(f *fixture) {
	f.run("waiters are served in their order", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cid := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cid")
		h := f.hold(ann, "l")
		w := f.watch(room)
		f.queue(bob, "l", binding("k"), holdFor(time.Minute))
		f.queue(cid, "l")
		w.tells()
		_, locks, err := f.s.Locks(f.ctx(), room, "")
		f.ok(err)
		f.equal("waiters", locks[0].Waiters, 2)
		f.ok(f.release(ann, "l", h))
		e := w.tells("lock ann l released to all", "lock bob l acquired to all")[1]
		f.equal("as bob asked for it", *e.Lock, hearth.LockChange{
			Name: "l", State: hearth.LockAcquired, Token: e.Seq, ExpiresAt: e.At + 60_000,
		})
		f.equal("bound", f.state(room)["s"]["bl"], "l ")
		f.ok(f.release(bob, "l", store.Held{Token: e.Seq}))
		w.tells("lock bob l released to all", "lock cid l acquired to all")
		s := f.state(room)
		f.equal("queue", len(s["q"])+len(s["z"]), 0)
		f.equal("goes with peers", sortedFields(s["w"]), []string{"cid/l/l"})
	})

	f.run("who asks again while it waits keeps its place", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cid := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cid")
		h := f.hold(ann, "l")
		f.queue(bob, "l")
		f.queue(cid, "l")
		f.queue(bob, "l")
		f.equal("places", len(f.state(room)["q"]), 2)
		f.ok(f.release(ann, "l", h))
		f.equal("holder", f.holder(room), "bob")
	})

	f.run("who left, was taken over, gave up or waited too long is passed over", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		h := f.hold(ann, "l")
		left, replaced, gaveUp, late, last := f.join(room, "left"), f.join(room, "replaced"), f.join(room, "gaveup"),
			f.join(room, "late"), f.join(room, "last")
		for _, m := range []member{left, replaced, gaveUp} {
			f.queue(m, "l")
		}
		f.queue(late, "l", func(q *store.AcquireRequest) { q.Wait = time.Second })
		f.queue(last, "l", func(q *store.AcquireRequest) { q.Wait = 5 * time.Minute })
		f.leave(left)
		f.equal("places", len(f.state(room)["q"]), 4)
		f.join(room, "replaced")
		_, err := f.s.StopWaiting(f.ctx(), room, gaveUp.Writer, "l")
		f.equal("giving up", hearth.ReasonOf(err), hearth.ReasonLockHeld)
		f.equal("held by", hearth.AsError(err).Lock.Peer, "ann")
		f.grow(room, 2*time.Second)
		f.ok(f.release(ann, "l", h))
		f.equal("holder", f.holder(room), "last")
		s := f.state(room)
		f.equal("queue", len(s["q"])+len(s["z"]), 0)
		f.equal("goes with peers", sortedFields(s["w"]), []string{"last/l/l"})
	})

	f.run("who has another role by then is passed over, unless it asks again", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cid, dan := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cid"), f.join(room, "dan")
		h := f.hold(ann, "l")
		for _, m := range []member{bob, cid, dan} {
			f.queue(m, "l", binding("k"))
		}
		f.giveRole(room, "bob", "mute")
		f.giveRole(room, "cid", "speaker")
		f.queue(cid, "l")
		f.ok(f.release(ann, "l", h))
		f.equal("holder", f.holder(room), "cid")
		f.equal("places", len(f.state(room)["q"]), 1)
	})

	f.run("who gives up too late has it", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		h := f.hold(ann, "l")
		f.queue(bob, "l")
		f.ok(f.release(ann, "l", h))
		got, err := f.s.StopWaiting(f.ctx(), room, bob.Writer, "l")
		f.ok(err)
		if got.Token <= h.Token {
			f.Errorf("%+v", got)
		}
	})

	f.run("who gives up is not given it, whatever it meets", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cid := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cid")
		stop := func() *hearth.Lock {
			_, err := f.s.StopWaiting(f.ctx(), room, bob.Writer, "l")
			f.equal("giving up", hearth.ReasonOf(err), hearth.ReasonLockHeld)
			return hearth.AsError(err).Lock
		}
		f.unchanged(room, func() error { f.equal("held by", stop(), (*hearth.Lock)(nil)); return nil })
		stale := bob.Writer
		stale.Conn = hearth.NewConnSecret()
		f.refused(room, hearth.ReasonNotMember, func() error { _, err := f.s.StopWaiting(f.ctx(), room, stale, "l"); return err })
		f.hold(ann, "l", holdFor(time.Minute))
		f.queue(bob, "l")
		f.queue(cid, "l", func(q *store.AcquireRequest) { q.Wait = time.Hour })
		f.grow(room, 2*time.Minute)
		w := f.watch(room)
		f.equal("held by", stop().Peer, "cid")
		w.tells("lock ann l expired to all", "lock cid l acquired to all")
		f.set(bob, "k", "1")
		w.tells("meta bob k to all") // by the seq after these
		f.equal("queue", f.state(room)["q"], nil)
	})

	f.run("the holder's leave and the end of its lease hand it on at once", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cid := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cid")
		f.hold(ann, "l")
		f.queue(bob, "l", holdFor(time.Second))
		f.queue(cid, "l", func(q *store.AcquireRequest) { q.Wait = time.Hour })
		w := f.watch(room)
		f.leave(ann)
		w.tells("lock ann l released to all", "lock bob l acquired to all", "leave ann left to all but ann")
		f.grow(room, 2*time.Second)
		w = f.watch(room)
		f.settle(room)
		w.tells("lock bob l expired to all", "lock cid l acquired to all")
	})

	f.run("a leave does not hand a lock to itself, whatever it waits for", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.hold(ann, "a")
		f.hold(bob, "b")
		f.queue(ann, "b")
		f.queue(bob, "a")
		w := f.watch(room)
		f.leave(ann)
		w.tells("lock ann a released to all", "lock bob a acquired to all", "leave ann left to all but ann")
		f.equal("queue", f.state(room)["q"], nil)
	})

	f.run("an op_id is remembered from when its turn has come", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		h := f.hold(ann, "l")
		op := bob
		op.Writer = with(bob.Writer, "1")
		f.queue(op, "l")
		f.ok(f.release(ann, "l", h))
		first := f.hold(op, "l")
		f.ok(f.release(bob, "l", first))
		f.equal("a repeat", f.hold(op, "l"), first)
		f.equal("holder", f.holder(room), "")
	})

	f.run("so many may wait for one lock", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.hold(ann, "l")
		for range hearth.MaxLockWaiters {
			f.ok(f.env.Client.ZAdd(f.ctx(), f.key("q", room), redis.Z{Member: "l/" + hearth.NewNonce()}).Err())
		}
		f.refused(room, hearth.ReasonTooMany, func() error {
			_, err := f.acquire(bob, "l", func(q *store.AcquireRequest) { q.Wait = time.Minute })
			return err
		})
	})

	f.run("the end of the session takes them along", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.hold(ann, "l", binding("k"))
		f.queue(bob, "l")
		f.write(ann, "k", "1", hearth.Life{TTL: time.Hour, Owned: true})
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		f.gone(room)
	})
}
