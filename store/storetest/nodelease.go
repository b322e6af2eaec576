package storetest

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// tick renews an incarnation and returns whether it has lapsed.
func (f *fixture) tick(room, inc string) (lapsed bool) {
	f.Helper()
	t, err := f.s.Tick(f.ctx(), f.s.Partition(room), inc, 0)
	f.ok(err)
	return t.Lapsed
}

// live are the incarnations that have not ended in the room's partition.
func (f *fixture) live(room string) []string {
	f.Helper()
	return sortedFields(f.members(f.key("nodes", room), func(inc string) bool { return inc != incarnation }))
}

func nodeItem(f *fixture, room, inc string) store.DueItem {
	return store.DueItem{Kind: store.DueNode, Incarnation: inc, Partition: f.s.Partition(room)}
}

func testNodeLease(f *fixture) {
	f.run("who is renewed stays, and so do its peers", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		f.join(room, "ann", servedBy("a"))
		w := f.watch(room)
		for range 5 {
			f.pass(room, 14*time.Second)
			f.equal("lapsed", f.tick(room, "a"), false)
			f.sweep(room)
		}
		w.tells()
		f.equal("places", f.served(room, "a"), []string{room + "/ann"})
	})

	f.run("a renewal that comes late counts until somebody has swept", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		f.join(room, "ann", servedBy("a"))
		w := f.watch(room)
		f.pass(room, time.Minute)
		f.equal("lapsed", f.tick(room, "a"), false)
		f.sweep(room)
		w.tells()
	})

	f.run("who is not is ended: it is told so, no join of it comes any more, and its peers leave", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		f.begin(room, "b")
		f.join(room, "ann", servedBy("a"))
		f.join(room, "bob", servedBy("b"))
		w := f.watch(room)
		f.pass(room, 16*time.Second)
		f.equal("lapsed", f.tick(room, "b"), false)
		items, _, err := f.due(f.s.Partition(room), 1000)
		f.ok(err)
		if !slices.Contains(items, nodeItem(f, room, "a")) || slices.Contains(items, nodeItem(f, room, "b")) {
			f.Errorf("due: %+v", items)
		}
		f.equal("lapsed", f.tick(room, "a"), true)
		f.equal("lapsed", f.tick(room, "a"), true)
		f.equal("live", f.live(room), []string{"b"})
		for _, peer := range []string{"new", "ann", "bob"} {
			before := f.state(room)
			if _, err := f.tryJoin(room, peer, servedBy("a")); !errors.Is(err, store.ErrLapsed) {
				f.Errorf("%s joins by it: %v", peer, err)
			}
			f.equal("the join changed", f.state(room), before)
		}
		w.tells()
		f.sweep(room)
		w.tells("leave ann timed_out to all but ann")
		f.equal("left of it", f.served(room, "a"), nil)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), nodeItem(f, room, "a")) })
		f.begin(room, "a2")
		f.join(room, "ann", servedBy("a2"))
		w.tells("join ann to all but ann")
	})

	f.run("an incarnation that never began serves nobody", func(f *fixture) {
		room := f.newRoom()
		if _, err := f.tryJoin(room, "ann", servedBy("never")); !errors.Is(err, store.ErrLapsed) {
			f.Errorf("gave %v", err)
		}
		f.gone(room)
		f.equal("lapsed", f.tick(room, "never"), true)
		f.join(room, "web", servedBy("never"), leased(time.Hour)) // who needs none
	})

	f.run("a join that arrives after its moment takes nobody over", func(f *fixture) {
		room := f.newRoom()
		now, err := f.s.Begin(f.ctx(), f.s.Partition(room), "a")
		f.ok(err)
		t, err := f.s.Tick(f.ctx(), f.s.Partition(room), "a", 0)
		if f.ok(err); t.Now < now || t.Now > now+time.Minute.Milliseconds() {
			f.Errorf("the store's clock went from %d to %d", now, t.Now)
		}
		until := func(at int64) change { return func(q *store.JoinRequest) { q.NotAfter = at } }
		f.join(room, "ann", servedBy("a"), until(t.Now+time.Hour.Milliseconds()))
		for _, late := range [][]change{{servedBy("a")}, {leased(time.Hour)}} {
			for _, peer := range []string{"ann", "new"} {
				f.unchanged(room, func() error {
					_, err := f.tryJoin(room, peer, append(late, until(now-1))...)
					if e, ok := errors.AsType[*store.LateError](err); !ok || e.Now < t.Now {
						f.Errorf("%s: %v", peer, err)
					}
					return nil
				})
			}
		}
	})

	f.run("with several reapers each leaves once, and nobody else does", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		f.begin(room, "b")
		const many = 250 // several batches
		want := map[string]bool{}
		for i := range many {
			peer := "p" + strconv.Itoa(i)
			f.join(room, peer, servedBy("a"))
			want[peer] = true
		}
		f.join(room, "bob", servedBy("b"))
		f.drop(f.join(room, "away", servedBy("a")))
		f.join(room, "web", leased(time.Hour))
		f.join(room, "moved", servedBy("a"))
		f.join(room, "moved", servedBy("b"))
		f.ok(f.env.Client.SAdd(f.ctx(), f.key("node:a", room), room+"/moved", room+"/nobody").Err()) // which a failover may bring back
		w := f.watch(room)
		f.pass(room, 16*time.Second)
		f.equal("lapsed", f.tick(room, "b"), false)
		_, _, err := f.due(f.s.Partition(room), 1)
		f.ok(err)
		f.together(3, func(int) {
			if err := f.s.Settle(f.ctx(), nodeItem(f, room, "a")); err != nil {
				f.Error(err)
			}
		})
		for _, e := range w.take() {
			if e.Kind != hearth.KindLeave || e.Leave != hearth.TimedOut || !want[e.Peer] {
				f.Errorf("told %s", header(e))
			}
			delete(want, e.Peer)
		}
		f.equal("who did not leave", len(want), 0)
		f.equal("peers", sortedFields(f.state(room)["c"]), []string{"away", "bob", "moved", "web"})
		f.equal("left of it", f.served(room, "a"), nil)
		if n := f.env.Client.Exists(f.ctx(), f.key("node:a", room)).Val(); n != 0 {
			f.Error("its places are left")
		}
		if err := f.env.Client.ZScore(f.ctx(), f.key("due", room), "node/a").Err(); err == nil {
			f.Error("it is due for ever")
		}
	})

	f.run("who comes back by another node while the peers of its own leave stays", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		ann := f.join(room, "ann", servedBy("a"))
		f.join(room, "bob", servedBy("a"))
		w := f.watch(room)
		f.pass(room, 16*time.Second)
		_, _, err := f.due(f.s.Partition(room), 1)
		f.ok(err)
		f.begin(room, "b")
		back := f.join(room, "ann", servedBy("b"))
		f.equal("seq of the join", back.OwnSeq, ann.OwnSeq)
		f.ok(f.s.Settle(f.ctx(), nodeItem(f, room, "a")))
		w.tells("conn ann to nobody", "leave bob timed_out to all but bob")
		f.equal("places", f.served(room, "b"), []string{room + "/ann"})
	})

	f.run("who was handed over has its grace, whatever becomes of the node", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		ann := f.join(room, "ann", servedBy("a"))
		w := f.watch(room)
		f.pass(room, 16*time.Second)
		_, _, err := f.due(f.s.Partition(room), 1)
		f.ok(err)
		f.drop(ann) // the node lives, and was cut off
		f.ok(f.s.Settle(f.ctx(), nodeItem(f, room, "a")))
		w.tells()
		f.dueIn(room, graceOf(room+"/ann"), 10*time.Second)
	})

	f.run("a 100ms client has what is left of its longer grace, from the last sign of its node", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		f.join(room, "ann", servedBy("a"), implicit)
		f.join(room, "bob", servedBy("a"))
		w := f.watch(room)
		f.pass(room, 16*time.Second)
		f.sweep(room)
		w.tells("leave bob timed_out to all but bob")
		f.dueIn(room, graceOf(room+"/ann"), 14*time.Second)
		f.equal("places", f.served(room, "a"), nil)
		f.pass(room, 15*time.Second)
		f.sweep(room)
		w.tells("leave ann timed_out to all but ann", "end empty to all")
		f.gone(room)
	})

	f.run("an orphan that can't leave does not hold up the others", func(f *fixture) {
		room := f.newRoom()
		bad := f.newRoom()
		for f.s.Partition(bad) != f.s.Partition(room) {
			bad = f.newRoom()
		}
		f.begin(room, "a")
		for i := range 130 {
			f.join(room, "p"+strconv.Itoa(i), servedBy("a"))
		}
		ann := f.join(bad, "ann", servedBy("a"))
		record := f.state(bad)["c"]["ann"]
		f.ok(f.env.Client.Del(f.ctx(), f.key("c", bad)).Err())
		f.ok(f.env.Client.Set(f.ctx(), f.key("c", bad), "no hash", 0).Err())
		f.pass(room, 16*time.Second)
		_, _, err := f.due(f.s.Partition(room), 1)
		f.ok(err)
		if err := f.s.Settle(f.ctx(), nodeItem(f, room, "a")); hearth.ReasonOf(err) != hearth.ReasonInternal {
			f.Errorf("gave %v", err)
		}
		f.gone(room)
		f.ok(f.env.Client.Del(f.ctx(), f.key("c", bad)).Err())
		f.ok(f.env.Client.HSet(f.ctx(), f.key("c", bad), "ann", record).Err())
		w := f.watch(bad)
		f.ok(f.s.Settle(f.ctx(), nodeItem(f, room, "a")))
		w.tells("leave ann timed_out to all but ann", "end empty to all")
		f.gone(ann.Room)
	})

	f.run("of a session that ended for all nothing is left behind", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "a")
		f.begin(room, "b")
		f.join(room, "ann", servedBy("a"))
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		f.join(room, "ann", servedBy("b"))
		w := f.watch(room)
		f.pass(room, 16*time.Second)
		f.equal("lapsed", f.tick(room, "b"), false)
		f.sweep(room)
		w.tells()
		f.equal("left of it", f.served(room, "a"), nil)
	})

	f.run("what nobody has swept for long is said to be unseen", func(f *fixture) {
		room := f.newRoom()
		p := f.s.Partition(room)
		unseen := func() bool {
			t, err := f.s.Tick(f.ctx(), p, "", 0)
			f.ok(err)
			return t.Unseen
		}
		_, _, err := f.due(p, 1)
		f.ok(err)
		f.equal("just swept", unseen(), false)
		f.ok(f.env.Client.HIncrBy(f.ctx(), f.key("beat", room), "swept", -8_000).Err())
		f.equal("long ago", unseen(), true)
		f.equal("still", unseen(), true)
		_, _, err = f.due(p, 1)
		f.ok(err)
		f.equal("swept again", unseen(), false)
	})
}
