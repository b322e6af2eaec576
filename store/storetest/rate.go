package storetest

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// A rate so low that no call flows in while a test runs, and how long one takes.
const (
	slow = 0.01
	each = 100 * time.Second
)

// by is the fixture whose calls count as a peer's.
func (f *fixture) by(peer string) *fixture {
	c := *f
	c.caller.peer, c.caller.user = peer, "u-"+peer
	return &c
}

// byUser is the fixture whose calls count as a user's, of whom no peer is known.
func (f *fixture) byUser(user string) *fixture {
	c := *f
	c.caller.peer, c.caller.user = "", user
	return &c
}

// another is the fixture with another store of the same limits: what the first one knows of who was refused, it doesn't.
func (f *fixture) another() *fixture {
	f.Helper()
	return f.limited(f.s.Limits())
}

// refill lets time go by for a room's buckets, and for a store that knows nothing of them.
func (f *fixture) refill(room string, d time.Duration) *fixture {
	f.Helper()
	if f.env.Advance != nil {
		f.env.Advance(d)
		return f.another()
	}
	for _, of := range []string{"", "/j", "/p/ann", "/p/bob", `/u/"u-ann"`} { // the same as if the clock had gone on
		key := f.tag(room) + "t:" + room + of
		if at, err := f.env.Client.Get(f.ctx(), key).Int64(); err == nil {
			f.ok(f.env.Client.Set(f.ctx(), key, at-d.Microseconds(), time.Hour).Err())
		}
	}
	return f.another()
}

// look is a call that changes nothing.
func (f *fixture) look(room string) error {
	_, err := f.s.Room(f.ctx(), room)
	return err
}

// spend makes all calls that may come at once.
func (f *fixture) spend(room string) {
	f.Helper()
	for range hearth.MinBurst {
		f.ok(f.look(room))
	}
}

// limitedBy expects that a call is refused by a rate, changes nothing, and is told when it may come.
func (f *fixture) limitedBy(room string, least, most time.Duration, call func() error) {
	f.Helper()
	var err error
	f.refused(room, hearth.ReasonRateLimited, func() error { err = call(); return err })
	if wait := hearth.AsError(err).RetryAfter; err != nil && (wait < least || wait > most) {
		f.Errorf("has to wait for %s, not %s to %s", wait, least, most)
	}
}

// counting are the calls that peers make, besides those that are remembered by an op_id.
func counting() map[string]func(f *fixture, room string, w store.Writer) error {
	return map[string]func(f *fixture, room string, w store.Writer) error{
		"get": func(f *fixture, room string, _ store.Writer) error {
			_, _, err := f.s.Get(f.ctx(), room, "", "k")
			return err
		},
		"list": func(f *fixture, room string, _ store.Writer) error {
			_, _, _, err := f.s.List(f.ctx(), room, "", "", "", 9)
			return err
		},
		"peer": func(f *fixture, room string, _ store.Writer) error {
			_, _, err := f.s.Peer(f.ctx(), room, "", "bob")
			return err
		},
		"peers": func(f *fixture, room string, _ store.Writer) error {
			_, _, err := f.s.Peers(f.ctx(), room, "")
			return err
		},
		"log": func(f *fixture, room string, _ store.Writer) error {
			_, err := f.s.Log(f.ctx(), room, "", 0, 9)
			return err
		},
		"locks": func(f *fixture, room string, _ store.Writer) error {
			_, _, err := f.s.Locks(f.ctx(), room, "")
			return err
		},
		"room":  func(f *fixture, room string, _ store.Writer) error { return f.look(room) },
		"count": func(f *fixture, room string, _ store.Writer) error { return f.s.Count(f.ctx(), room) },
		"watch": func(f *fixture, room string, _ store.Writer) error {
			_, _, err := f.s.Watch(f.ctx(), room, "", hearth.Patterns{"*"})
			return err
		},
		"snapshot": func(f *fixture, room string, _ store.Writer) error {
			_, err := f.s.Snapshot(f.ctx(), room, "ann", 9, false, nil)
			return err
		},
		"room state": func(f *fixture, room string, _ store.Writer) error {
			_, err := f.s.RoomState(f.ctx(), room)
			return err
		},
		"put room": func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.PutRoom(f.ctx(), room, w, hearth.RoomChange{MaxPeers: new(7)})
			return err
		},
		"listen": func(f *fixture, room string, w store.Writer) error {
			_, _, err := f.s.Listen(f.ctx(), room, w, hearth.Patterns{"k"})
			return err
		},
		"accept role": func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.AcceptRole(f.ctx(), room, w, "", "host", "token")
			return err
		},
		"acquire": func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Acquire(f.ctx(), room, w, store.AcquireRequest{Lock: "free", Peer: "ann", TTL: time.Minute})
			return err
		},
		"join": func(f *fixture, room string, _ store.Writer) error { _, err := f.tryJoin(room, "new"); return err },
		"end": func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.End(f.ctx(), room, w, "")
			return err
		},
	}
}

// keeping are the calls by which a peer keeps or gives back what it has.
func keeping(held store.Held) map[string]func(f *fixture, room string, w store.Writer) error {
	h := hearth.Holding{Name: "l", Token: held.Token}
	return map[string]func(f *fixture, room string, w store.Writer) error{
		"come back": func(f *fixture, room string, w store.Writer) error {
			_, err := f.tryJoin(room, "ann", leased(time.Hour), func(q *store.JoinRequest) { q.Conn = w.Conn })
			return err
		},
		"renew": func(f *fixture, room string, w store.Writer) error { _, err := f.s.Renew(f.ctx(), room, w); return err },
		"renew lock": func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.RenewLock(f.ctx(), room, w, h, 0, "ann")
			return err
		},
		"release": func(f *fixture, room string, w store.Writer) error {
			return f.s.ReleaseLock(f.ctx(), room, w, h, "ann")
		},
	}
}

func testRates(f *fixture) {
	peers := f.limited(hearth.Limits{PeerRate: slow})
	whole := f.limited(hearth.Limits{RoomRate: slow})
	// open makes a room in which each call would do something.
	open := func(f *fixture) (room string, ann member, held store.Held) {
		room = f.newRoom()
		ann = f.join(room, "ann", leased(time.Hour))
		f.join(room, "bob", inGroups("blue"))
		f.restore(room, ann)
		return room, ann, f.hold(ann, "l")
	}
	// Before the clock is moved, where it can be.
	f.run("who was refused is let through when it is time", func(f *fixture) {
		f = f.limited(hearth.Limits{PeerRate: 20})
		room, _, _ := open(f)
		f = f.by("ann")
		var err error
		for i := 0; i < 10_000 && err == nil; i++ {
			err = f.look(room)
		}
		if wait := hearth.AsError(err).RetryAfter; hearth.ReasonOf(err) != hearth.ReasonRateLimited || wait > 50*time.Millisecond {
			f.Errorf("gave %v, to wait for %s", err, wait)
		}
		f.until("it may call again", func() bool { return f.look(room) == nil })
		f.equal("refused by its own rate alone", f.s.Refused(store.PeerBound) > 0 && f.s.Refused(store.RoomBound) == 0, true)
	})
	all := counting()
	for name, write := range remembered() {
		all[name] = func(f *fixture, room string, w store.Writer) error { _, err := write(f, room, w); return err }
	}
	for name, call := range all {
		f.run(name+" counts, for its peer and for the room", func(f *fixture) {
			for limit, f := range map[string]*fixture{"peer": peers.on(f), "room": whole.on(f)} {
				room, ann, _ := open(f)
				f.by("ann").spend(room)
				most := each
				if limit == "room" {
					most += time.Second
				}
				f.limitedBy(room, each-10*time.Second, most, func() error { return call(f.by("ann"), room, ann.Writer) })
				if err := call(f, room, ann.Writer); hearth.ReasonOf(err) == hearth.ReasonRateLimited { // a server's
					f.Error(err)
				}
			}
		})
	}
	for _, name := range []string{"come back", "renew", "renew lock", "release"} {
		f.run(name+" counts for its peer alone", func(f *fixture) {
			f = peers.on(f)
			room, ann, held := open(f)
			f.by("ann").spend(room)
			f.limitedBy(room, 0, each, func() error { return keeping(held)[name](f.by("ann"), room, ann.Writer) })
			f = whole.on(f)
			room, ann, held = open(f)
			f.by("bob").spend(room)
			f.ok(keeping(held)[name](f.by("ann"), room, ann.Writer))
		})
	}
	f.run("leaving and giving up are never refused", func(f *fixture) {
		f = f.limited(hearth.Limits{PeerRate: slow, RoomRate: slow, JoinRate: slow})
		room, ann, _ := open(f)
		bob := f.join(room, "bob", ofUser("u-bob"))
		f.queue(bob, "l")
		f = f.by("bob")
		f.spend(room)
		if _, err := f.s.StopWaiting(f.ctx(), room, bob.Writer, "l"); hearth.ReasonOf(err) != hearth.ReasonLockHeld {
			f.Error(err)
		}
		f.leave(bob)
		f.by("ann").leave(ann)
	})
	f.run("all nodes count together, and what was refused was not counted", func(f *fixture) {
		f = peers.on(f)
		room, _, _ := open(f)
		for range hearth.MinBurst {
			f = f.another().by("ann")
			f.ok(f.look(room))
		}
		for range 3 {
			f = f.another().by("ann")
			f.limitedBy(room, each-10*time.Second, each, func() error { return f.look(room) })
		}
		f = f.refill(room, each).by("ann")
		f.ok(f.look(room))
		f.limitedBy(room, each-10*time.Second, each, func() error { return f.look(room) })
		f = f.refill(room, 50*each)
		f.by("ann").spend(room)
		f.limitedBy(room, 0, each, func() error { return f.by("ann").look(room) })
	})
	f.run("of many at the same time as many are let through as may be", func(f *fixture) {
		f = peers.on(f)
		room, ann, _ := open(f)
		others := []*fixture{f.another(), f.another()}
		var done atomic.Int64
		f.together(3*hearth.MinBurst, func(i int) {
			if _, err := others[i%2].s.Set(others[i%2].by("ann").ctx(), room, ann.Writer, "k", []byte("1"), nil, hearth.Life{}); err == nil {
				done.Add(1)
			} else if hearth.ReasonOf(err) != hearth.ReasonRateLimited {
				f.Error(err)
			}
		})
		f.equal("done", done.Load(), int64(hearth.MinBurst))
	})
	f.run("a peer's flood refuses nobody else", func(f *fixture) {
		f = f.limited(hearth.Limits{PeerRate: slow, RoomRate: 1000})
		room, ann, _ := open(f)
		bob := f.join(room, "bob", ofUser("u-bob"))
		f.by("ann").spend(room)
		for range 5 * hearth.MinBurst {
			f.limitedBy(room, 0, each, func() error { return f.by("ann").look(room) })
		}
		f.by("bob").set(bob, "k", "2")
		f.byUser("u-ann").spend(room) // nor is it of a user's by its token
		f.by("ann").leave(ann)
		room, _, _ = open(f) // in another room it has not called
		f.by("ann").spend(room)
	})
	f.run("a refused write is done by its repeat", func(f *fixture) {
		f = peers.on(f)
		room, ann, _ := open(f)
		f.by("ann").spend(room)
		set := func(f *fixture) error {
			_, err := f.s.Set(f.by("ann").ctx(), room, with(ann.Writer, "1"), "n", []byte("1"), nil, hearth.Life{})
			return err
		}
		f.limitedBy(room, 0, each, func() error { return set(f) })
		f = f.refill(room, 2*each)
		w := f.watch(room)
		f.ok(set(f))
		w.tells("meta ann n to all")
		f.unchanged(room, func() error { return set(f) })
	})
	f.run("a call of several steps counts once", func(f *fixture) {
		f = peers.on(f)
		room, ann, _ := open(f)
		f.by("ann").spend(room)
		f = f.refill(room, each).by("ann")
		ctx := f.ctx()
		asked := 0
		w := ann.Writer
		w.Role, w.Allow = "another", func(string) error { asked++; return nil }
		_, err := f.s.Set(ctx, room, w, "k", []byte("1"), nil, hearth.Life{})
		f.ok(err)
		_, _, err = f.s.Peers(ctx, room, "")
		f.ok(err)
		f.equal("asked", asked, 1)
		f.limitedBy(room, 0, each, func() error { return f.look(room) })
	})
	f.run("who was refused is refused by the node, at no cost to the store", func(f *fixture) {
		for limit, f := range map[string]*fixture{"/p/ann": peers.on(f), "": whole.on(f)} {
			room, _, _ := open(f)
			ann := f.by("ann")
			ann.spend(room)
			f.limitedBy(room, 0, each+time.Second, func() error { return ann.look(room) })
			// From here on the store would let it through, as another node shows.
			f.ok(f.env.Client.Del(f.ctx(), f.tag(room)+"t:"+room+limit).Err())
			f.ok(f.another().by("ann").look(room))
			f.limitedBy(room, each-10*time.Second, each+time.Second, func() error { return ann.look(room) })
			f.ok(ann.another().byUser("u-ann").look(room))
			f.ok(f.look(room)) // a server's
		}
	})
	f.run("a clock that is set back makes nobody wait longer than once", func(f *fixture) {
		f = peers.on(f)
		room, _, _ := open(f)
		f.ok(f.env.Client.Set(f.ctx(), f.tag(room)+"t:"+room+"/p/ann", strconv.FormatInt(1<<52, 10), time.Hour).Err())
		f.limitedBy(room, each, each, func() error { return f.by("ann").look(room) })
	})
	f.run("a bucket is gone when it is full again", func(f *fixture) {
		f = f.limited(hearth.Limits{PeerRate: slow, RoomRate: slow, JoinRate: slow})
		room := f.newRoom()
		f.by("ann").leave(f.by("ann").join(room, "ann"))
		for _, of := range []string{"", "/j", "/p/ann"} {
			left, err := f.env.Client.PTTL(f.ctx(), f.tag(room)+"t:"+room+of).Result()
			f.ok(err)
			if left <= 0 || left > each {
				f.Errorf("%q: %s", of, left)
			}
		}
	})
}

// on is the fixture as a subtest uses it.
func (f *fixture) on(sub *fixture) *fixture {
	c := *f
	c.T = sub.T
	return &c
}

func testJoinRate(f *fixture) {
	f = f.limited(hearth.Limits{JoinRate: slow})
	fill := func(f *fixture) (room string, first member) {
		f.Helper()
		room = f.newRoom()
		for i := range hearth.MinBurst {
			peer := "p" + strconv.Itoa(i)
			if m := f.byUser("u-"+peer).join(room, peer); i == 0 {
				first = m
			}
		}
		return room, first
	}
	join := func(f *fixture, room, peer string) func() error {
		return func() error { _, err := f.byUser("u-"+peer).tryJoin(room, peer); return err }
	}
	const most = each + time.Second // spread over a second
	f.run("beyond it nobody new is let in, on any node, until there is room", func(f *fixture) {
		room, _ := fill(f)
		f.limitedBy(room, each-10*time.Second, most, join(f, room, "new"))
		f.limitedBy(room, each-10*time.Second, most, join(f.another(), room, "new"))
		f.limitedBy(room, each-10*time.Second, most, join(f, room, "newer"))
		f.equal("refused", f.s.Refused(store.JoinBound), int64(2))
		f.join(room, "of-server")
		f = f.refill(room, each)
		f.ok(join(f, room, "new")())
		f.limitedBy(room, 0, most, join(f, room, "newer"))
	})
	f.run("who is in it comes back and calls", func(f *fixture) {
		room, first := fill(f)
		f.limitedBy(room, 0, most, join(f, room, "new"))
		f = f.byUser("u-p0")
		f.set(f.join(room, "p0"), "k", "1")
		f.set(f.byUser("u-p0").join(room, "p0"), "k", "1")
		f.refused(room, hearth.ReasonNotMember, func() error {
			_, err := f.s.Leave(f.ctx(), room, first.Writer, hearth.Left)
			return err
		})
	})
	f.run("a room is not emptied of it by leaving", func(f *fixture) {
		room := f.newRoom()
		for range hearth.MinBurst {
			f.leave(f.byUser("u-ann").join(room, "ann"))
		}
		f.limitedBy(room, 0, most, join(f, room, "ann"))
		f.gone(room)
	})
	f.run("of many at the same time as many join as may", func(f *fixture) {
		room := f.newRoom()
		other := f.another()
		var done atomic.Int64
		f.together(3*hearth.MinBurst, func(i int) {
			c := []*fixture{f, other}[i%2]
			if join(c, room, "p"+strconv.Itoa(i))() == nil {
				done.Add(1)
			}
		})
		f.equal("joined", done.Load(), int64(hearth.MinBurst))
	})
}

func testUsersPeers(f *fixture) {
	f = f.limited(hearth.Limits{MaxUserPeers: 2})
	ann := ofUser("ann")
	third := func(f *fixture, room string) func() error {
		return func() error { _, err := f.tryJoin(room, "a3", ann); return err }
	}
	f.run("a user has so many in a room", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "a1", ann, hidden)
		f.join(room, "a2", ann, leased(time.Hour))
		f.refused(room, hearth.ReasonTooMany, third(f, room))
		f.equal("refused", f.s.Refused(store.UserBound) > 0, true)
		f.refused(room, hearth.ReasonPeerExists, func() error { _, err := f.tryJoin(room, "a1", ofUser("ann/")); return err })
		a1 := f.join(room, "a1", ann) // comes back
		for i, user := range []string{"an", "ann/", "ann0", "ann\"", "annn", "ann\n" + room} {
			f.join(room, "b"+strconv.Itoa(i), ofUser(user))
		}
		f.join(f.newRoom(), "a3", ann)
		f.join(room+"0", "a3", ann)
		f.leave(a1)
		f.ok(third(f, room)())
	})
	f.run("those of a session that was ended for all don't count", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "a1", ann)
		f.join(room, "a2", ann)
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		f.ok(third(f, room)())
		f.join(room, "a1", ann)
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.tryJoin(room, "a2", ann); return err })
		f.settle(room)
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.tryJoin(room, "a2", ann); return err })
	})
	f.run("of many at the same time so many join", func(f *fixture) {
		room := f.newRoom()
		var done atomic.Int64
		f.together(8, func(i int) {
			if _, err := f.tryJoin(room, "a"+strconv.Itoa(i), ann); err == nil {
				done.Add(1)
			} else if hearth.ReasonOf(err) != hearth.ReasonTooMany {
				f.Error(err)
			}
		})
		f.equal("joined", done.Load(), int64(2))
	})
}
