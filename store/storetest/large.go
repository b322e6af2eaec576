package storetest

import (
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// testLargeRoom: over so many peers, who comes and goes is told only to who listens, and the nodes are told how many there are.
func testLargeRoom(f *fixture) {
	f = f.limited(hearth.Limits{LargeRoom: 2})
	rename := func(f *fixture, room, peer, name string) {
		f.Helper()
		_, err := f.s.UpdatePeer(f.ctx(), room, store.Writer{}, peer, &name, nil)
		f.ok(err)
	}

	f.run("a room is large from the join that makes it so to the leave that ends it", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		f.join(room, "ann")
		bob := f.join(room, "bob")
		rename(f, room, "bob", "B1")
		f.join(room, "cat")
		rename(f, room, "bob", "B2")
		dan := f.join(room, "dan")
		_, err := f.s.AddToGroup(f.ctx(), room, store.Writer{}, "dan", "red")
		f.ok(err)
		f.leave(bob)
		_, err = f.s.Remove(f.ctx(), room, store.Writer{}, "cat", "")
		f.ok(err)
		f.leave(dan)
		f.join(room, "bob")
		w.tells(
			"join ann to all but ann",
			"join bob to all but bob",
			"update bob to all",
			"join cat to all but cat who listen of 3",
			"update bob to all who listen and bob",
			"join dan to all but dan who listen of 4",
			"update dan to all who listen and dan",
			"leave bob left to all but bob who listen of 3",
			"leave cat removed to all but cat who listen of 2",
			"leave dan left to all but dan",
			"join bob to all but bob",
		)
	})

	f.run("hidden peers don't make it large", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		f.join(room, "ann")
		hid := f.join(room, "hid", hidden)
		f.join(room, "bob")
		f.join(room, "cat")
		rename(f, room, "hid", "H")
		f.leave(hid)
		w.tells(
			"join ann to all but ann",
			"join hid to nobody",
			"join bob to all but bob",
			"join cat to all but cat who listen of 3",
			"update hid to nobody",
			"leave hid left to nobody",
		)
	})

	f.run("what is no peer's is told to all", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.join(room, "bob")
		f.join(room, "cat")
		w := f.watch(room)
		f.set(ann, "k", "1")
		f.say(ann, "hello")
		_, err := f.s.Acquire(f.ctx(), room, ann.Writer, store.AcquireRequest{Lock: "l", Peer: "ann", TTL: time.Minute})
		f.ok(err)
		w.tells("meta ann k to all", "msg ann to all but ann", "lock ann l acquired to all")
	})

	f.run("a takeover with another name is an update", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		f.join(room, "bob")
		f.join(room, "cat")
		w := f.watch(room)
		f.join(room, "bob")
		f.join(room, "bob", named("B"))
		w.tells("conn bob to nobody", "conn bob to nobody", "update bob to all who listen and bob")
	})

	f.run("the last of a large room ends the session", func(f *fixture) {
		f = f.limited(hearth.Limits{LargeRoom: 1})
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		w := f.watch(room)
		f.leave(bob)
		f.leave(ann)
		w.tells("leave bob left to all but bob who listen of 1", "leave ann left to all but ann", "end empty to all")
	})
}
