package storetest

import (
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func testMembers(f *fixture) {
	all := func(f *fixture, room, inc string) (out []store.Place) {
		f.Helper()
		for cursor, first := "", true; first || cursor != ""; first = false {
			places, next, err := f.s.Members(f.ctx(), f.s.Partition(room), inc, cursor)
			f.ok(err)
			for _, p := range places {
				if p.Room == room { // others have the same in its partition
					out = append(out, p)
				}
			}
			cursor = next
		}
		return out
	}
	f.run("an incarnation's members are those whose socket it has", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "mine")
		f.begin(room, "other")
		ann := f.join(room, "ann", servedBy("mine"))
		f.join(room, "bob", servedBy("other"))
		f.drop(f.join(room, "away", servedBy("mine")))
		f.join(room, "web", leased(time.Hour))
		f.join(room, "moved", servedBy("mine"))
		f.join(room, "moved", servedBy("other"))
		f.leave(f.join(room, "gone", servedBy("mine")))
		f.equal("members", all(f, room, "mine"), []store.Place{place(ann)})
		f.equal("members of nobody", all(f, room, "nobody"), nil)
	})

	f.run("places that are no more are dropped", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "mine")
		f.join(room, "ann", servedBy("mine"))
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		bob := f.join(room, "bob", servedBy("mine"))
		f.join(room, "cid")
		f.ok(f.env.Client.SAdd(f.ctx(), f.key("node:mine", room), room+"/cid").Err())
		f.equal("members", all(f, room, "mine"), []store.Place{place(bob)})
		f.equal("places", f.served(room, "mine"), []string{room + "/bob"})
	})

	f.run("many come in steps", func(f *fixture) {
		room := f.newRoom()
		f.begin(room, "mine")
		const many = 1300
		want := map[store.Place]bool{}
		for i := range many {
			want[place(f.join(room, "p"+formatMillis(int64(i)), servedBy("mine")))] = true
		}
		got := map[store.Place]bool{}
		for _, p := range all(f, room, "mine") {
			got[p] = true
		}
		f.equal("members", got, want)
	})

	f.run("a partition that is broken says so", func(f *fixture) {
		room := f.newRoom()
		f.ok(f.env.Client.Set(f.ctx(), f.key("node:bad", room), "no set", 0).Err())
		_, _, err := f.s.Members(f.ctx(), f.s.Partition(room), "bad", "")
		f.equal("reason", hearth.ReasonOf(err), hearth.ReasonInternal)
		f.ok(f.env.Client.Del(f.ctx(), f.key("node:bad", room)).Err())
	})
}
