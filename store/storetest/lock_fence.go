package storetest

import (
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// metadataWrites are the writes that a lock can stand before. Each would change the key k.
var metadataWrites = map[string]func(f *fixture, room string, w store.Writer) error{
	"set": func(f *fixture, room string, w store.Writer) error {
		_, err := f.s.Set(f.ctx(), room, w, "k", []byte("2"), nil, hearth.Life{})
		return err
	},
	"delete": func(f *fixture, room string, w store.Writer) error {
		_, err := f.s.Delete(f.ctx(), room, w, "k", nil)
		return err
	},
	"update": func(f *fixture, room string, w store.Writer) error {
		_, err := f.s.Update(f.ctx(), room, w, []hearth.Op{op(hearth.OpSet, "other", "1"), op(hearth.OpDelete, "k", "")})
		return err
	},
}

func testLockFence(f *fixture) {
	for name, write := range metadataWrites {
		f.run(name, func(f *fixture) {
			open := func() (room string, ann, bob member, h store.Held) {
				room = f.newRoom()
				ann, bob = f.join(room, "ann"), f.join(room, "bob")
				f.set(ann, "k", "1")
				return room, ann, bob, f.hold(ann, "l")
			}
			f.run("the current holding is let through", func(f *fixture) {
				room, ann, _, h := open()
				w := ann.Writer
				w.Lock = hearth.Holding{Name: "l", Token: h.Token}
				f.ok(write(f, room, w))
			})
			f.run("a holding that is over is refused, whoever holds the lock now", func(f *fixture) {
				room, ann, bob, h := open()
				w := ann.Writer
				w.Lock = hearth.Holding{Name: "l", Token: h.Token}
				f.ok(f.release(ann, "l", h))
				f.refused(room, hearth.ReasonLockLost, func() error { return write(f, room, w) })
				next := f.hold(bob, "l")
				f.refused(room, hearth.ReasonLockLost, func() error {
					err := write(f, room, w)
					f.equal("now", hearth.AsError(err).Lock, &hearth.Lock{Name: "l", Peer: "bob", Token: next.Token, ExpiresAt: next.ExpiresAt, Waiters: -1})
					return err
				})
				f.ok(f.release(bob, "l", next))
				f.hold(ann, "l")
				f.refused(room, hearth.ReasonLockLost, func() error { return write(f, room, w) })
			})
			f.run("a token to come and another lock's are refused", func(f *fixture) {
				room, ann, _, h := open()
				other := f.hold(ann, "other")
				w := ann.Writer
				for _, lock := range []hearth.Holding{{Name: "l", Token: h.Token + 1}, {Name: "l", Token: other.Token}, {Name: "none", Token: 1}} {
					w.Lock = lock
					f.refused(room, hearth.ReasonLockLost, func() error { return write(f, room, w) })
				}
			})
		})
	}
}

func testBoundKeys(f *fixture) {
	for name, write := range metadataWrites {
		f.run(name, func(f *fixture) {
			open := func(keys ...string) (room string, ann, bob member, h store.Held) {
				room = f.newRoom()
				ann, bob = f.join(room, "ann"), f.join(room, "bob")
				f.set(ann, "k", "1")
				return room, ann, bob, f.hold(ann, "l", binding(keys...))
			}
			for _, keys := range [][]string{{"k"}, {"k*"}, {"*"}, {"x", "k"}, {"kk", "x*", "k*"}} {
				f.run("only the holder writes what is bound", func(f *fixture) {
					room, ann, bob, h := open(keys...)
					for _, w := range []store.Writer{bob.Writer, {}, {Key: "key", Lock: hearth.Holding{Name: "l", Token: h.Token}}} {
						f.refused(room, hearth.ReasonLockHeld, func() error {
							err := write(f, room, w)
							if l := hearth.AsError(err).Lock; l == nil || l.Name != "l" || l.Peer != "ann" {
								f.Errorf("told of %+v", l)
							}
							return err
						})
					}
					f.ok(write(f, room, ann.Writer))
				})
			}
			for _, keys := range [][]string{{}, {"kk"}, {"kk*"}, {"K"}, {"o"}, {"x*"}} {
				f.run("what isn't bound is everybody's", func(f *fixture) {
					room, _, bob, _ := open(keys...)
					f.ok(write(f, room, bob.Writer))
				})
			}
			f.run("a lock that is free binds nothing", func(f *fixture) {
				room, ann, bob, h := open("k")
				f.ok(f.release(ann, "l", h))
				f.ok(write(f, room, bob.Writer))
			})
			f.run("it binds for the next holder what that one asked for", func(f *fixture) {
				room, ann, bob, h := open("k")
				f.queue(bob, "l", binding("k"))
				f.refused(room, hearth.ReasonLockHeld, func() error { return write(f, room, bob.Writer) })
				f.ok(f.release(ann, "l", h))
				f.refused(room, hearth.ReasonLockHeld, func() error { return write(f, room, ann.Writer) })
				f.ok(write(f, room, bob.Writer))
			})
			f.run("of several locks each binds", func(f *fixture) {
				room, ann, bob, _ := open("x")
				f.hold(bob, "m", binding("k"))
				f.refused(room, hearth.ReasonLockHeld, func() error { return write(f, room, ann.Writer) })
				f.ok(write(f, room, bob.Writer))
			})
		})
	}

	f.run("what is bound still expires, and goes with its owner", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.write(bob, "a", "1", ttl(time.Minute))
		f.write(bob, "b", "1", owned)
		f.hold(ann, "l", binding("*"))
		f.grow(room, 2*time.Minute)
		f.settle(room)
		f.leave(bob)
		f.equal("left", f.state(room)["m"], nil)
	})

	f.run("who is given the lock by a write that finds it over binds all of that write's keys", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cat := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cat")
		f.hold(ann, "l", binding("last"), func(q *store.AcquireRequest) { q.TTL = time.Second })
		f.queue(bob, "l", binding("first"))
		f.grow(room, 10*time.Second)
		_, err := f.s.Update(f.ctx(), room, cat.Writer, []hearth.Op{op(hearth.OpSet, "first", "1"), op(hearth.OpSet, "last", "1")})
		if l := hearth.AsError(err).Lock; hearth.ReasonOf(err) != hearth.ReasonLockHeld || l == nil || l.Peer != "bob" {
			f.Errorf("gave %v, told of %+v", err, l)
		}
		f.equal("holder", f.holder(room), "bob")
		f.equal("written", f.state(room)["m"], nil)
	})

	f.run("a check needs no lock", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.hold(ann, "l", binding("k"))
		f.update(bob, hearth.Op{Kind: hearth.OpCheck, Key: "k", IfVersion: new(uint64(0))}, op(hearth.OpSet, "other", "1"))
	})
}
