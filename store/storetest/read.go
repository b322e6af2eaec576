package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
)

func testRead(f *fixture) {
	reads := []struct {
		name string
		call func(f *fixture, room, session string) (hearth.Session, error)
	}{
		{"get", func(f *fixture, room, session string) (hearth.Session, error) {
			ses, _, err := f.s.Get(f.ctx(), room, session, "k")
			return ses, err
		}},
		{"list", func(f *fixture, room, session string) (hearth.Session, error) {
			ses, _, _, err := f.s.List(f.ctx(), room, session, "", "", 10)
			return ses, err
		}},
		{"watch", func(f *fixture, room, session string) (hearth.Session, error) {
			ses, _, err := f.s.Watch(f.ctx(), room, session, hearth.Patterns{"*"})
			return ses, err
		}},
		{"peer", func(f *fixture, room, session string) (hearth.Session, error) {
			ses, _, err := f.s.Peer(f.ctx(), room, session, "ann")
			return ses, err
		}},
		{"peers", func(f *fixture, room, session string) (hearth.Session, error) {
			ses, _, err := f.s.Peers(f.ctx(), room, session)
			return ses, err
		}},
		{"snapshot", func(f *fixture, room, session string) (hearth.Session, error) {
			if session != "" { // it is of whichever is live
				ses, _, err := f.s.Get(f.ctx(), room, session, "k")
				return ses, err
			}
			snap, err := f.s.Snapshot(f.ctx(), room, "ann", 10, false, hearth.Patterns{"*"})
			return snap.Session, err
		}},
		{"log", func(f *fixture, room, session string) (hearth.Session, error) {
			log, err := f.s.Log(f.ctx(), room, session, 0, 10)
			return log.Session, err
		}},
	}
	for _, read := range reads {
		f.run(read.name+" is of the session that was asked for, or of none", func(f *fixture) {
			room := f.newRoom()
			call := func(session string) func() error {
				return func() error { _, err := read.call(f, room, session); return err }
			}
			f.refused(room, hearth.ReasonNoSession, call(""))
			f.refused(room, hearth.ReasonSessionEnded, call(hearth.NewSessionID()))
			old := f.join(room, "ann")
			f.leave(old)
			f.refused(room, hearth.ReasonSessionEnded, call(old.ID))
			ann := f.join(room, "ann")
			f.join(room, "ghost", hidden)
			f.set(ann, "k", "1")
			f.refused(room, hearth.ReasonSessionEnded, call(old.ID))
			want, err := f.s.Room(f.ctx(), room)
			f.ok(err)
			if want.ID != ann.ID || want.Epoch != ann.Epoch || want.StartedAt != ann.StartedAt || want.Seq != 3 ||
				want.PeerCount != 1 || want.Room != room || want.Nonce == ann.Nonce {
				f.Errorf("the room is %+v", want)
			}
			for _, session := range []string{"", ann.ID} {
				f.unchanged(room, func() error {
					ses, err := read.call(f, room, session)
					f.equal("session", ses, want)
					return err
				})
			}
		})
	}
	f.run("a room without a session has no state", func(f *fixture) {
		room := f.newRoom()
		f.refused(room, hearth.ReasonNoSession, func() error { _, err := f.s.Room(f.ctx(), room); return err })
	})

	f.run("list", testList)
}

func testList(f *fixture) {
	room := f.newRoom()
	ann := f.join(room, "ann")
	// In the order of their bytes, which is that of no language.
	keys := []string{"-", "10", "9", "A", "B", "_", "a", "a*b", "a/1", "a/2", "a/É", "aa", "b", "é", "日本", "😀"}
	for _, i := range []int{7, 3, 12, 0, 15, 1, 9, 2, 14, 4, 8, 5, 13, 6, 11, 10} {
		f.set(ann, keys[i], strconv.Itoa(i))
	}
	list := func(f *fixture, prefix, after string, limit int) (got []string, more bool) {
		f.Helper()
		_, entries, more, err := f.s.List(f.ctx(), room, ann.ID, prefix, after, limit)
		f.ok(err)
		for _, e := range entries {
			got = append(got, e.Key)
		}
		return got, more
	}
	for _, tt := range []struct {
		name, prefix, after string
		limit               int
		want                []string
		more                bool
	}{
		{"all, in the order of their bytes", "", "", 100, keys, false},
		{"exactly all", "", "", len(keys), keys, false},
		{"the first page", "", "", 3, keys[:3], true},
		{"a page after a key", "", "9", 3, keys[3:6], true},
		{"a page after a key that isn't there", "", "9z", 3, keys[3:6], true},
		{"the last page", "", "b", 3, keys[13:], false},
		{"after the last", "", "😀", 3, nil, false},
		{"a prefix", "a/", "", 100, keys[8:11], false},
		{"a prefix that is a key", "a", "", 100, keys[6:12], false},
		{"a page of a prefix", "a", "a", 2, keys[7:9], true},
		{"a prefix with a character of patterns", "a*", "", 100, keys[7:8], false},
		{"a prefix that nothing has", "x", "", 100, nil, false},
		{"a page of none", "", "", 0, nil, true},
	} {
		f.run(tt.name, func(f *fixture) {
			got, more := list(f, tt.prefix, tt.after, tt.limit)
			f.equal("keys", got, tt.want)
			f.equal("more", more, tt.more)
		})
	}
	f.run("page by page", func(f *fixture) {
		for limit := 1; limit <= 5; limit++ {
			var got []string
			for after, more := "", true; more; {
				var page []string
				if page, more = list(f, "", after, limit); len(page) == 0 {
					break
				}
				after = page[len(page)-1]
				got = append(got, page...)
			}
			f.equal(fmt.Sprintf("%d a page", limit), got, keys)
		}
	})
}

func testRooms(f *fixture) {
	all := func(f *fixture, limit int) []string {
		f.Helper()
		var got []string
		for cursor := ""; ; {
			page, next, err := f.s.Rooms(f.ctx(), cursor, limit)
			f.ok(err)
			if len(page) > limit {
				f.Errorf("a page of %d has %d", limit, len(page))
			}
			for _, ses := range page {
				want, err := f.s.Room(f.ctx(), ses.Room)
				f.ok(err)
				f.equal("listed session", ses, want)
				got = append(got, ses.Room)
			}
			if next == "" {
				slices.Sort(got)
				return got
			}
			if next == cursor {
				f.Fatalf("the page after %q is itself", cursor)
			}
			cursor = next
		}
	}
	f.run("none", func(f *fixture) { f.equal("rooms", all(f, 10), nil) })

	members := map[string]member{}
	var rooms []string
	for range 30 {
		room := f.newRoom()
		members[room] = f.join(room, "ann")
		rooms = append(rooms, room)
	}
	slices.Sort(rooms)
	for _, limit := range []int{1, 2, 7, 29, 30, 31, 1000} {
		f.run("each once, "+strconv.Itoa(limit)+" a page", func(f *fixture) { f.equal("rooms", all(f, limit), rooms) })
	}
	f.run("a page of none goes nowhere", func(f *fixture) {
		page, next, err := f.s.Rooms(f.ctx(), "", 0)
		if len(page) != 0 || hearth.ReasonOf(err) != hearth.ReasonBadParams {
			f.Errorf("%v, %q, %v", page, next, err)
		}
	})
	f.run("a room whose session ended is listed no more", func(f *fixture) {
		for _, room := range rooms[:10] {
			f.leave(members[room])
		}
		f.equal("rooms", all(f, 3), rooms[10:])
	})
	f.run("a room that is listed without a session is left out", func(f *fixture) {
		for _, room := range []string{rooms[0], rooms[12]} {
			f.ok(f.env.Client.Del(f.ctx(), f.key("s", room)).Err())
			f.ok(f.env.Client.ZAdd(f.ctx(), f.key("rooms", room), z(room)).Err())
		}
		want := slices.Delete(slices.Clone(rooms[10:]), 2, 3)
		for _, limit := range []int{1, 4, 100} {
			f.equal("rooms", all(f, limit), want)
		}
	})
	for _, cursor := range []string{".", "x", "1", "-1.", "8.", "9999999999999999999.", "1.{}", "1. "} {
		f.run("a cursor that no page gave is refused: "+cursor, func(f *fixture) {
			if _, _, err := f.s.Rooms(f.ctx(), cursor, 10); hearth.ReasonOf(err) != hearth.ReasonBadParams {
				f.Errorf("%v", err)
			}
		})
	}
}

func testNodes(f *fixture) {
	live := func(node string, ttl time.Duration) []string {
		f.Helper()
		nodes, err := f.s.Live(f.ctx(), node, ttl)
		f.ok(err)
		slices.Sort(nodes)
		return nodes
	}
	f.equal("the first node lives", live("a", time.Hour), []string{"a"})
	f.equal("so does the second", live("b", time.Millisecond), []string{"a", "b"})
	f.later(5 * time.Millisecond)
	f.equal("which was silent for too long", live("a", time.Hour), []string{"a"})
	f.equal("and comes back", live("b", time.Hour), []string{"a", "b"})
	f.ok(f.s.Gone(f.ctx(), "b"))
	f.ok(f.s.Gone(f.ctx(), "b"))
	f.equal("it says that it goes", live("a", time.Hour), []string{"a"})
	f.ok(f.s.Ping(f.ctx()))
}

func testPeers(f *fixture) {
	room := f.newRoom()
	ann := f.join(room, "ann", bearing("hers"), inGroups("red"))
	f.join(room, "ghost", hidden)
	// Many more than one step of a scan reads, written beneath the store: a record doesn't name its peer.
	const many = 1300
	rec, err := f.env.Client.HGet(f.ctx(), f.key("c", room), "ann").Result()
	f.ok(err)
	fields := make([]any, 0, 2*many)
	for i := range many {
		fields = append(fields, fmt.Sprintf("p%04d", i), strings.Replace(rec, ann.Conn, hearth.NewConnSecret(), 1))
	}
	f.ok(f.env.Client.HSet(f.ctx(), f.key("c", room), fields...).Err())
	f.ok(f.env.Client.HSet(f.ctx(), f.key("p", room), "p0007", `"of 7"`).Err())

	f.run("all of a large session, each once and by name", func(f *fixture) {
		ses, peers, err := f.s.Peers(f.ctx(), room, "")
		f.ok(err)
		if len(peers) != many+2 || ses.PeerCount != many+1 || !slices.IsSortedFunc(peers, func(a, b hearth.Peer) int {
			return strings.Compare(a.ID, b.ID)
		}) {
			f.Errorf("%d peers, %d counted, in the order %v", len(peers), ses.PeerCount, ids(peers))
		}
		seen := map[string]hearth.Peer{}
		for _, p := range peers {
			seen[p.ID] = p
		}
		f.equal("different peers", len(seen), len(peers))
		f.equal("ann", seen["ann"], ann.Own)
		f.equal("data of another", seen["p0007"].Data, "of 7")
		f.equal("no data of another", seen["p0008"].Data, "")
		f.equal("groups of another", seen["p0008"].Groups, []string{"red"})
		f.equal("the hidden one", seen["ghost"].Hidden, true)
	})
	f.run("a snapshot of a large session keeps its bound, which is another one in a large room", func(f *fixture) {
		bounded := func(what string, got []string, most int) {
			slices.Sort(got)
			if len(got) > most || len(got) < most/2 || slices.Contains(got, "ghost") || len(slices.Compact(got)) != len(got) {
				f.Errorf("%s: %d peers: %v", what, len(got), got)
			}
		}
		most := hearth.MaxLargeSnapshotPeer
		for i, f := range []*fixture{f, f.limited(hearth.Limits{LargeRoom: 2 * many})} {
			self := fmt.Sprintf("self%d", i)
			m := f.join(room, self, shown(hearth.MaxSnapshotPeer))
			f.equal("who joins is shown itself", slices.Contains(ids(m.Peers), self), true)
			f.equal("counted", m.PeerCount, many+2+i)
			bounded("who joins", ids(m.Peers), most)
			snap, err := f.s.Snapshot(f.ctx(), room, "", hearth.MaxSnapshotPeer, false, nil)
			f.ok(err)
			bounded("who watches", ids(snap.Peers), most)
			most = hearth.MaxSnapshotPeer
		}
	})
}
