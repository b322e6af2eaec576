package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// whereIs returns where a user is, each as room/peer.
func (f *fixture) whereIs(user string) (out []string) {
	f.Helper()
	peers, err := f.s.UserPeers(f.ctx(), user, "")
	f.ok(err)
	for _, u := range peers {
		out = append(out, u.Room+"/"+u.Peer.ID)
	}
	return out
}

// index returns what the index of users has of the room.
func (f *fixture) index(room string) []string {
	f.Helper()
	return sortedFields(f.state(room)["users"])
}

func testUsers(f *fixture) {
	f.run("a user is found in every room, as it is there", func(f *fixture) {
		const user = "ü \"é\"\\/\u2028*[a]"
		want := []string{}
		var first member
		for i := range 12 {
			room := f.newRoom()
			f.join(room, "other", ofUser(user+"x"))
			f.join(room, "else", ofUser("x"+user))
			m := f.join(room, "mine", ofUser(user), bearing("data"), inGroups("red"))
			if want = append(want, room+"/mine"); i == 0 {
				first = m
				f.join(room, "ghost", ofUser(user), hidden)
				want = append(want, room+"/ghost")
			}
		}
		peers, err := f.s.UserPeers(f.ctx(), user, "")
		f.ok(err)
		got := map[string]bool{}
		last := ""
		for _, u := range peers {
			name := u.Room + "/" + u.Peer.ID
			if name <= last {
				f.Errorf("%s after %s", name, last)
			}
			got[name], last = true, name
		}
		for _, name := range want {
			if !got[name] {
				f.Errorf("%s was not found", name)
			}
		}
		f.equal("how many", len(peers), len(want))

		of, err := f.s.UserPeers(f.ctx(), user, first.Room)
		f.ok(err)
		f.equal("how many in one room", len(of), 2)
		f.equal("in one room", of[1], store.UserPeer{Room: first.Room, Session: first.ID, Peer: first.Own})
		f.equal("where nobody is", f.whereIs("nobody"), nil)
	})

	f.run("the index follows joins and leaves", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann", ofUser("u"))
		f.join(room, "ann", ofUser("u")) // a takeover
		bob := f.join(room, "bob", ofUser("u"), leased(time.Hour))
		f.equal("index", f.index(room), []string{"\"u\"\n" + room + "/ann", "\"u\"\n" + room + "/bob"})
		ann := f.join(room, "ann", ofUser("u"))
		f.leave(ann)
		f.equal("where it is", f.whereIs("u"), []string{room + "/bob"})
		f.equal("index", f.index(room), []string{"\"u\"\n" + room + "/bob"})
		f.leave(bob)
		f.gone(room)
	})

	f.run("what the index has too much is not believed", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", ofUser("other"))
		for _, member := range []string{"\"u\"\n" + room + "/ann", "\"u\"\n" + room + "/gone", "\"u\"\nnowhere/ann"} {
			f.ok(f.env.Client.ZAdd(f.ctx(), f.key("users", room), z(member)).Err())
		}
		f.ok(f.env.Client.ZRem(f.ctx(), f.key("users", room), "none").Err())
		f.equal("where it is", f.whereIs("u"), nil)
		f.ok(f.env.Client.Del(f.ctx(), f.key("users", room)).Err())
		f.leave(ann)
		f.gone(room)
	})

	f.run("a server that has lost its scripts is asked again", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann", ofUser("lost"))
		f.ok(f.env.Client.ScriptFlush(f.ctx()).Err())
		f.equal("where it is", f.whereIs("lost"), []string{room + "/ann"})
	})
}

func testDisconnect(f *fixture) {
	f.run("all peers of the user are removed, and nobody else", func(f *fixture) {
		room := f.newRoom()
		bob := f.join(room, "bob")
		f.join(room, "a1", ofUser("u"), bearing("data"))
		f.join(room, "a2", ofUser("u"), bearing("more data"), hidden, leased(time.Hour))
		f.join(room, "a3", ofUser("u\""))
		w := f.watch(room)
		n, err := f.s.Disconnect(f.ctx(), room, store.Writer{}, "u", "for \"good\"")
		f.ok(err)
		f.equal("removed", n, 2)
		for _, e := range w.tells("leave a1 removed to all but a1", "leave a2 removed to nobody") {
			f.equal("text", e.Text, `"for \"good\""`)
		}
		s := f.state(room)
		f.equal("who is there", sortedFields(s["c"]), []string{"a3", "bob"})
		f.equal("due", sortedFields(s["due"]), []string{"log/" + room})
		f.equal("hidden", s["s"]["hid"], "0")
		f.equal("bytes of data", s["s"]["db"], "0")
		f.set(bob, "k", "1")
		f.unchanged(room, func() error {
			n, err := f.s.Disconnect(f.ctx(), room, store.Writer{}, "u", "")
			f.equal("removed", n, 0)
			return err
		})
	})

	f.run("with its last peers the session ends", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "a1", ofUser("u"))
		f.join(room, "a2", ofUser("u"))
		w := f.watch(room)
		n, err := f.s.Disconnect(f.ctx(), room, with(store.Writer{Key: "k"}, "op"), "u", "")
		f.ok(err)
		f.equal("removed", n, 2)
		w.tells("leave a1 removed to all but a1", "leave a2 removed to all but a2", "end empty to all")
		f.gone(room)
		_, err = f.s.Disconnect(f.ctx(), room, store.Writer{}, "u", "")
		f.equal("then", hearth.ReasonOf(err), hearth.ReasonNoSession)
	})

	f.run("a repeat with the op_id counts what was removed at first", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "bob")
		w := with(store.Writer{Key: "k"}, "op")
		f.join(room, "a1", ofUser("u"))
		for range 2 {
			n, err := f.s.Disconnect(f.ctx(), room, w, "u", "")
			f.ok(err)
			f.equal("removed", n, 1)
			f.join(room, "a1", ofUser("u"))
		}
		f.unchanged(room, func() error {
			n, err := f.s.Disconnect(f.ctx(), room, w, "u", "")
			f.equal("removed", n, 1)
			return err
		})
		few := f.limited(hearth.Limits{MaxOps: 1})
		few.refused(room, hearth.ReasonTooMany, func() error {
			_, err := few.s.Disconnect(f.ctx(), room, with(store.Writer{Key: "k"}, "another"), "u", "")
			return err
		})
		f.equal("where it is", f.whereIs("u"), []string{room + "/a1"})
	})

	f.run("many go in several steps", func(f *fixture) {
		const many = 450
		room := f.newRoom()
		for i := range many {
			f.join(room, fmt.Sprint("p", i), ofUser("many"))
		}
		n, err := f.s.Disconnect(f.ctx(), room, with(store.Writer{Key: "k"}, "op"), "many", "")
		f.ok(err)
		f.equal("removed", n, many)
		f.gone(room)
	})

	f.run("what the index has too much goes", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann", ofUser("other"))
		f.ok(f.env.Client.ZAdd(f.ctx(), f.key("users", room), z("\"u\"\n"+room+"/ann")).Err())
		n, err := f.s.Disconnect(f.ctx(), room, store.Writer{}, "u", "")
		f.ok(err)
		f.equal("removed", n, 0)
		f.equal("index", f.index(room), []string{"\"other\"\n" + room + "/ann"})
	})

	f.run("however much that is, it hides nobody", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "bob")
		f.join(room, "zed", ofUser("u"))
		for i := range 450 { // as after an end for all that the sweep hasn't come to yet
			stale := redis.Z{Member: "\"u\"\n" + room + "/p" + strconv.Itoa(i)}
			f.ok(f.env.Client.ZAdd(f.ctx(), f.key("users", room), stale).Err())
		}
		n, err := f.s.Disconnect(f.ctx(), room, store.Writer{}, "u", "")
		f.ok(err)
		f.equal("removed", n, 1)
		f.equal("index", f.index(room), []string{"\"u-bob\"\n" + room + "/bob"})
	})

	f.run("what is for another session is refused", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann", ofUser("u"))
		f.refused(room, hearth.ReasonSessionEnded, func() error {
			_, err := f.s.Disconnect(f.ctx(), room, store.Writer{Session: hearth.NewSessionID()}, "u", "")
			return err
		})
	})
}

func testBury(f *fixture) {
	end := func(f *fixture, room string) {
		f.Helper()
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
	}
	f.run("after an end for all the sweep forgets where its peers were", func(f *fixture) {
		const many = 1300 // several steps
		room := f.newRoom()
		var ann member
		for i := range many {
			ann = f.join(room, fmt.Sprint("p", i), ofUser("u"), leased(time.Hour))
		}
		end(f, room)
		f.equal("where they are", f.whereIs("u"), nil)
		f.equal("left to do", len(f.index(room)), many)
		item := store.DueItem{Kind: store.DueDead, Room: room, Session: ann.ID}
		f.equal("due", f.dueOf(room), []store.DueItem{item})
		w := f.watch(room)
		f.ok(f.s.Settle(f.ctx(), item))
		w.tells()
		f.gone(room)
		for _, key := range f.leftOver() {
			if strings.Contains(key, "dead:") {
				f.Errorf("left: %s", key)
			}
		}
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), item) })
	})

	f.run("who is in the next session stays known", func(f *fixture) {
		room := f.newRoom()
		for _, peer := range []string{"same", "leased", "other", "away"} {
			f.join(room, peer, ofUser("u"), leased(time.Hour))
		}
		end(f, room)
		f.join(room, "same", ofUser("u"))
		f.join(room, "leased", ofUser("u"), leased(2*time.Hour))
		f.join(room, "other", ofUser("v"))
		end(f, room) // and a second one before the first was buried
		f.join(room, "same", ofUser("u"))
		f.join(room, "leased", ofUser("u"), leased(2*time.Hour))
		f.join(room, "other", ofUser("v"))
		f.bury(room)
		f.equal("where u is", f.whereIs("u"), []string{room + "/leased", room + "/same"})
		f.equal("where v is", f.whereIs("v"), []string{room + "/other"})
		f.equal("index", len(f.index(room)), 3)
		f.equal("due", sortedFields(f.state(room)["due"]), []string{"log/" + room, "peer/" + room + "/leased"})
	})
}
