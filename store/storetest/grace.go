package storetest

import (
	"errors"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// servedBy is the incarnation of the node that has a peer's socket.
func servedBy(inc string) change    { return func(q *store.JoinRequest) { q.Incarnation = inc } }
func implicit(q *store.JoinRequest) { q.Implicit = true }
func place(m member) store.Place    { return store.Place{Room: m.Room, Peer: m.Peer, Conn: m.Conn} }
func graceOf(peer string) string    { return "peer/" + peer }

// begin begins an incarnation, as if for the first time.
func (f *fixture) begin(room, inc string) {
	f.Helper()
	f.ok(f.env.Client.ZRem(f.ctx(), f.key("due", room), "node/"+inc).Err())
	_, err := f.s.Begin(f.ctx(), f.s.Partition(room), inc)
	f.ok(err)
}

// drop says that the members' sockets, all of one partition, are gone.
func (f *fixture) drop(members ...member) {
	f.Helper()
	gone := make([]store.Place, len(members))
	for i, m := range members {
		gone[i] = place(m)
	}
	f.ok(f.s.HandOver(f.ctx(), f.s.Partition(members[0].Room), gone))
}

// pass lets d pass in the room's partition, which is looked after meanwhile: all its deadlines come nearer, and no
// incarnation is renewed.
func (f *fixture) pass(room string, d time.Duration) {
	f.Helper()
	for _, kind := range []string{"due", "nodes"} {
		key := f.key(kind, room)
		for member := range f.members(key, func(string) bool { return true }) {
			f.ok(f.env.Client.ZIncrBy(f.ctx(), key, -float64(d.Milliseconds()), member).Err())
		}
	}
	if hold, _ := f.env.Client.HGet(f.ctx(), f.key("beat", room), "hold").Int64(); hold > 0 {
		f.ok(f.env.Client.HIncrBy(f.ctx(), f.key("beat", room), "hold", -d.Milliseconds()).Err())
	}
}

// sweep settles all that is due in the room's partition, until nothing is.
func (f *fixture) sweep(room string) {
	f.Helper()
	for range 10 {
		items, _, err := f.due(f.s.Partition(room), 1000)
		f.ok(err)
		if len(items) == 0 {
			return
		}
		for _, item := range items {
			f.ok(f.s.Settle(f.ctx(), item))
		}
	}
	f.Fatal("the sweep does not end")
}

// served are the places of an incarnation in the room's partition.
func (f *fixture) served(room, inc string) []string {
	f.Helper()
	places, err := f.env.Client.SMembers(f.ctx(), f.key("node:"+inc, room)).Result()
	f.ok(err)
	var out []string
	for _, p := range places {
		if strings.HasPrefix(p, room+"/") {
			out = append(out, p)
		}
	}
	return out
}

// dueIn expects that something of the room is due in about d.
func (f *fixture) dueIn(room, item string, d time.Duration) {
	f.Helper()
	at, ok := f.state(room)["due"][item]
	if !ok {
		f.Errorf("%s is not to come", item)
		return
	}
	now, err := f.env.Client.Time(f.ctx()).Result()
	f.ok(err)
	if in := time.UnixMilli(parseMillis(f, at)).Sub(now); in > d+100*time.Millisecond || in < d-4*time.Second {
		f.Errorf("%s is due in %s, not %s", item, in, d)
	}
}

func testGrace(f *fixture) {
	f.run("a peer whose socket is gone is a member still, and nobody is told", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann", bearing("hers")), f.join(room, "bob")
		before := f.record(room, "ann")
		w := f.watch(room)
		f.drop(ann)
		w.tells()
		before.node = ""
		f.equal("record", f.record(room, "ann"), before)
		f.dueIn(room, graceOf(room+"/ann"), 10*time.Second)
		f.equal("places", f.served(room, incarnation), []string{room + "/bob"})
		_, peers, err := f.s.Peers(f.ctx(), room, "")
		f.ok(err)
		f.equal("peers", ids(peers), []string{"ann", "bob"})
		f.set(bob, "k", "1")
		f.set(ann, "k", "2") // her connection is hers until another one is
		f.leave(bob)
		f.set(ann, "k", "3")
	})

	f.run("a hand-over of a connection that is not the peer's changes nothing", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "other")
		old := f.join(room, "ann")
		f.join(room, "ann", servedBy("other"))
		web, gone := f.join(room, "web", leased(time.Hour)), f.join(room, "gone")
		f.leave(gone)
		never := member{store.Joined{Session: hearth.Session{Room: room}}, store.Writer{Peer: "never", Conn: "c"}}
		places := f.served(room, "other")
		f.unchanged(room, func() error {
			return f.s.HandOver(f.ctx(), f.s.Partition(room), []store.Place{place(old), place(web), place(gone), place(never)})
		})
		f.equal("places", f.served(room, "other"), places)
		f.unchanged(room, func() error { return f.s.HandOver(f.ctx(), f.s.Partition(room), nil) })
	})

	f.run("a repeated hand-over does not begin the time anew", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.drop(ann)
		f.pass(room, 5*time.Second)
		f.unchanged(room, func() error { return f.s.HandOver(f.ctx(), f.s.Partition(room), []store.Place{place(ann)}) })
		f.dueIn(room, graceOf(room+"/ann"), 5*time.Second)
	})

	f.run("many are handed over at once, of several rooms", func(f *fixture) {
		first := f.newRoom()
		rooms := []string{first}
		for len(rooms) < 3 {
			if room := f.newRoom(); f.s.Partition(room) == f.s.Partition(first) {
				rooms = append(rooms, room)
			}
		}
		var all []member
		for _, room := range rooms {
			for _, peer := range []string{"a", "b", "c"} {
				all = append(all, f.join(room, peer))
			}
		}
		f.drop(append(all, all[0])...)
		for _, room := range rooms {
			f.equal("places", f.served(room, incarnation), nil)
			f.equal("due", len(f.state(room)["due"]), 4)
		}
		f.pass(first, 11*time.Second)
		f.sweep(first)
		for _, room := range rooms {
			f.gone(room)
		}
	})

	f.run("who comes back within the time was never gone", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "other")
		ann := f.join(room, "ann", inGroups("red"), bearing("hers"))
		f.join(room, "bob")
		e := f.write(ann, "k", "1", owned)
		h := f.hold(ann, "l")
		w := f.watch(room)
		f.drop(ann)
		f.pass(room, 9*time.Second)
		f.sweep(room)
		back := f.join(room, "ann", servedBy("other"), keepData, keepName)
		w.tells("conn ann to nobody")
		f.equal("taken over", back.TakenOver, true)
		f.equal("seq of the join", back.OwnSeq, ann.OwnSeq)
		f.equal("peer", back.Own, ann.Own)
		f.equal("due", f.state(room)["due"][graceOf(room+"/ann")], "")
		f.equal("places", f.served(room, "other"), []string{room + "/ann"})
		f.equal("entry", f.get(room, "k"), e)
		f.ok(f.release(back, "l", h))
		f.drop(ann) // the first one, repeated
		f.pass(room, 11*time.Second)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}))
		w.tells("lock ann l released to all")
	})

	f.run("who asks for another snapshot stands back behind what came in between", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		between := map[string]func(eve member){
			"a takeover": func(_ member) { f.join(room, "eve") },
			"a leave":    func(eve member) { f.leave(eve) },
			"the end":    func(_ member) { _, err := f.s.End(f.ctx(), room, store.Writer{}, ""); f.ok(err) },
		}
		for what, happens := range between {
			eve := f.join(room, "eve")
			again := func() error {
				_, err := f.tryJoin(room, "eve", func(q *store.JoinRequest) { q.Conn, q.Again = eve.Conn, true })
				return err
			}
			f.ok(again())
			happens(eve)
			f.unchanged(room, func() error {
				if err := again(); !errors.Is(err, store.ErrSuperseded) {
					f.Errorf("after %s: %v", what, err)
				}
				return nil
			})
		}
	})

	f.run("who does not come back leaves once, with all that goes with it", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann", bearing("hers")), f.join(room, "bob")
		f.write(ann, "k", "1", owned)
		f.hold(ann, "l")
		f.queue(bob, "l")
		w := f.watch(room)
		f.drop(ann)
		f.pass(room, 9*time.Second)
		f.sweep(room)
		w.tells()
		f.pass(room, 2*time.Second)
		f.sweep(room)
		told := w.tells("meta k to all", "lock ann l released to all", "lock bob l acquired to all", "leave ann timed_out to all but ann")
		f.equal("connection that left", told[3].Conn, ann.Conn)
		f.equal("due", f.state(room)["due"][graceOf(room+"/ann")], "")
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
		f.unchanged(room, func() error { return f.s.HandOver(f.ctx(), f.s.Partition(room), []store.Place{place(ann)}) })
		f.refused(room, hearth.ReasonNotMember, func() error { _, err := f.s.Leave(f.ctx(), room, ann.Writer, hearth.Left); return err })
	})

	f.run("the last peer keeps its session while it may come back, and then ends it", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.set(ann, "k", "1")
		w := f.watch(room)
		f.drop(ann)
		f.pass(room, 9*time.Second)
		f.sweep(room)
		w.tells()
		f.equal("entry", string(f.get(room, "k").Data), "1")
		f.pass(room, 2*time.Second)
		f.sweep(room)
		w.tells("leave ann timed_out to all but ann", "end empty to all")
		f.gone(room)
	})
	testGraceEnds(f)
	testGraceLocks(f)

	f.run("a 100ms client has longer", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann", implicit, hidden), f.join(room, "bob")
		f.equal("flags", f.record(room, "ann").flags, "hi")
		f.drop(ann, bob)
		f.dueIn(room, graceOf(room+"/ann"), hearth.MinImplicitGrace)
		f.dueIn(room, graceOf(room+"/bob"), 10*time.Second)
		bob, ann = f.join(room, "bob", implicit), f.join(room, "ann") // by the other kind of client
		f.equal("flags", f.record(room, "bob").flags, "i")
		f.equal("flags", f.record(room, "ann").flags, "h")
		f.drop(ann, bob)
		f.dueIn(room, graceOf(room+"/bob"), hearth.MinImplicitGrace)
		f.dueIn(room, graceOf(room+"/ann"), 10*time.Second)
	})

	f.run("the time is as long as it is set", func(f *fixture) {
		room := f.newRoom()
		f = f.limited(hearth.Limits{Grace: 40 * time.Second})
		ann, bob := f.join(room, "ann", implicit), f.join(room, "bob")
		f.drop(ann, bob)
		f.dueIn(room, graceOf(room+"/ann"), 40*time.Second)
		f.dueIn(room, graceOf(room+"/bob"), 40*time.Second)
	})
}

// testGraceEnds ends the membership of a peer in its grace in all ways there are.
func testGraceEnds(f *fixture) {
	server := store.Writer{Key: "key"}
	for name, tt := range map[string]struct {
		do   func(f *fixture, room string, ann member) error
		told []string
	}{
		"a removal": {func(f *fixture, room string, _ member) error {
			_, err := f.s.Remove(f.ctx(), room, server, "ann", "")
			return err
		}, []string{"leave ann removed to all but ann"}},
		"a user's disconnection": {func(f *fixture, room string, ann member) error {
			_, err := f.s.Disconnect(f.ctx(), room, server, ann.User, "")
			return err
		}, []string{"leave ann removed to all but ann"}},
		"a leave": {func(f *fixture, room string, ann member) error {
			_, err := f.s.Leave(f.ctx(), room, ann.Writer, hearth.Left)
			return err
		}, []string{"leave ann left to all but ann"}},
		"an end for all": {func(f *fixture, room string, _ member) error {
			_, err := f.s.End(f.ctx(), room, server, "")
			return err
		}, []string{"end ended to all"}},
	} {
		f.run(name+" ends a membership in its grace, and leaves nothing of it", func(f *fixture) {
			room := f.newRoom()
			ann, bob := f.join(room, "ann"), f.join(room, "bob")
			f.drop(ann)
			w := f.watch(room)
			f.ok(tt.do(f, room, ann))
			w.tells(tt.told...)
			if len(w.ended) == 0 {
				f.leave(bob)
			}
			f.gone(room)
		})
	}

	f.run("a grace of a session that ended for all does not run on in the next", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.drop(ann, bob)
		_, err := f.s.End(f.ctx(), room, server, "")
		f.ok(err)
		f.pass(room, 5*time.Second)
		ann = f.join(room, "ann") // with a socket
		bob = f.join(room, "bob")
		f.drop(bob) // and in a grace of its own
		w := f.watch(room)
		f.pass(room, 6*time.Second)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"})) // before what is left is buried
		f.sweep(room)
		w.tells()
		f.equal("due", f.state(room)["due"][graceOf(room+"/ann")], "")
		f.dueIn(room, graceOf(room+"/bob"), 4*time.Second)
		f.leave(ann)
		f.leave(bob)
		f.gone(room)
	})

	f.run("a lease over HTTP takes over from a grace, and a socket from a lease", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.drop(ann)
		ann = f.join(room, "ann", leased(time.Minute))
		f.equal("taken over", ann.TakenOver, true)
		f.dueIn(room, graceOf(room+"/ann"), time.Minute)
		f.pass(room, 11*time.Second)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: "ann"}) })
		ann = f.join(room, "ann")
		f.equal("due", f.state(room)["due"][graceOf(room+"/ann")], "")
		f.equal("places", f.served(room, incarnation), []string{room + "/ann"})
		f.refused(room, hearth.ReasonBadParams, func() error { _, err := f.s.Renew(f.ctx(), room, ann.Writer); return err })
		ann = f.join(room, "ann", leased(time.Minute)) // and a lease from a socket
		f.equal("places", f.served(room, incarnation), nil)
		f.leave(ann)
		f.gone(room)
	})

	f.run("nobody renews a grace", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.drop(ann)
		f.refused(room, hearth.ReasonBadParams, func() error { _, err := f.s.Renew(f.ctx(), room, ann.Writer); return err })
	})
}

func testGraceLocks(f *fixture) {
	f.run("a holder keeps its lock while it may come back", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		h := f.hold(ann, "l", binding("k"))
		f.drop(ann)
		f.equal("holder", f.holder(room), "ann")
		f.refused(room, hearth.ReasonLockHeld, func() error { _, err := f.acquire(bob, "l"); return err })
		f.refused(room, hearth.ReasonLockHeld, func() error {
			_, err := f.s.Set(f.ctx(), room, bob.Writer, "k", []byte("1"), nil, hearth.Life{})
			return err
		})
		ann = f.join(room, "ann")
		f.ok(f.release(ann, "l", h))
	})

	f.run("who waits and whose socket is gone is dropped and passed over", func(f *fixture) {
		room := f.newRoom()
		ann, bob, cid := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "cid")
		f.join(room, "bo") // whose name begins alike
		h, g := f.hold(ann, "l"), f.hold(ann, "g")
		f.queue(bob, "l")
		f.queue(bob, "g")
		f.queue(cid, "l")
		f.drop(bob)
		s := f.state(room)
		f.equal("waiting", len(s["q"]), 1)
		f.equal("what they want", len(s["z"]), 1)
		f.equal("goes with peers", len(s["w"]), 3)
		w := f.watch(room)
		f.ok(f.release(ann, "l", h))
		f.ok(f.release(ann, "g", g))
		w.tells("lock ann l released to all", "lock cid l acquired to all", "lock ann g released to all")
	})

	f.run("who has come to wait without a socket is passed over", func(f *fixture) {
		room := f.newRoom()
		ann, bob, web := f.join(room, "ann"), f.join(room, "bob"), f.join(room, "web", leased(time.Hour))
		h := f.hold(ann, "l")
		f.drop(bob)
		f.queue(bob, "l") // the call was on its way
		f.queue(web, "l") // who has none and needs none
		w := f.watch(room)
		f.ok(f.release(ann, "l", h))
		w.tells("lock ann l released to all", "lock web l acquired to all")
		f.equal("waiting", f.state(room)["q"], nil)
	})
}
