package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// back makes a join the return of a 100ms client.
func back(q *store.JoinRequest) {
	q.Implicit, q.Return, q.KeepName, q.KeepData = true, true, true, true
}

// listen has a 100ms client watch keys.
func (f *fixture) listen(m member, keys ...string) []hearth.Entry {
	f.Helper()
	_, entries, err := f.s.Listen(f.ctx(), m.Room, m.Writer, patterns(keys...))
	f.ok(err)
	return entries
}

func patterns(keys ...string) (out hearth.Patterns) {
	for _, k := range keys {
		out = append(out, hearth.Pattern(k))
	}
	return out
}

// comesToNothing expects that a return finds nothing, and has changed and told nothing.
func (f *fixture) comesToNothing(room, peer string, want error, changes ...change) {
	f.Helper()
	f.unchanged(room, func() error {
		if _, err := f.tryJoin(room, peer, append([]change{back}, changes...)...); !errors.Is(err, want) {
			f.Errorf("%s comes back to %v, not %v", peer, err, want)
		}
		return nil
	})
}

// lose lets the grace or the lease of a peer end.
func (f *fixture) lose(room, peer string) {
	f.Helper()
	item := "peer/" + room + "/" + peer
	f.ok(f.env.Client.ZAdd(f.ctx(), f.key("due", room), z(item)).Err())
	f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: room, Peer: peer}))
}

func (f *fixture) handOver(m member) {
	f.Helper()
	f.ok(f.s.HandOver(f.ctx(), f.s.Partition(m.Room), []store.Place{{Room: m.Room, Peer: m.Peer, Conn: m.Conn}}))
}

func testReturn(f *fixture) {
	f.run("who is no member has nothing to come back to", func(f *fixture) {
		room := f.newRoom()
		f.comesToNothing(room, "ann", store.ErrAbsent)
		f.equal("session", len(f.state(room)), 0)
		bob := f.join(room, "bob")
		f.comesToNothing(room, "ann", store.ErrAbsent)
		ann := f.join(room, "ann", implicit)
		f.comesToNothing(room, "ann", store.ErrAbsent, ofUser("another"))
		f.leave(ann)
		f.comesToNothing(room, "ann", store.ErrAbsent)
		f.set(bob, "k", "1")
	})

	f.run("a return takes the peer over as it is, and nobody sees it", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "bob")
		ann := f.join(room, "ann", implicit, bearing("d"), inGroups("g"), ofRole("host"), named("A"))
		f.handOver(ann)
		f.equal("grace", f.state(room)["due"]["peer/"+room+"/ann"] != "", true)
		w := f.watch(room)
		again := f.join(room, "ann", back, ofRole("guest"))
		w.tells("conn ann to nobody")
		f.equal("taken over", again.TakenOver, true)
		f.equal("own", again.Own, ann.Own)
		f.equal("seq of its join", again.OwnSeq, ann.OwnSeq)
		f.equal("all peers", ids(again.Peers), []string{"ann", "bob"})
		f.equal("due", f.state(room)["due"]["peer/"+room+"/ann"], "")
		f.refused(room, hearth.ReasonNotMember, func() error { _, err := f.s.Leave(f.ctx(), room, ann.Writer, hearth.Left); return err })
		f.set(again, "k", "1")
		// One that was not known to be gone, too.
		third := f.join(room, "ann", back)
		w.tells("meta ann k to all", "conn ann to nobody")
		f.equal("leaves", third.Left, nil)
	})

	f.run("a return to a room that is shut and full", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", implicit)
		f.ok(f.env.Client.HSet(f.ctx(), f.key("r", room), "shut", "1 99999999999999", "max", "1 99999999999999").Err())
		f.handOver(ann)
		f.join(room, "ann", back)
	})

	f.run("the last leaves of those who are gone", func(f *fixture) {
		room := f.newRoom()
		early := f.join(room, "early")
		f.leave(f.join(room, "before"))
		ann := f.join(room, "ann", implicit)
		bob, cat, hid := f.join(room, "bob"), f.join(room, "cat"), f.join(room, "hid")
		f.leave(bob)
		f.leave(f.join(room, "bob"))
		f.leave(cat)
		f.join(room, "cat")
		f.leave(hid)
		f.join(room, "hid", hidden)
		f.leave(early)
		f.set(ann, "leave", `"leave 1 ann"`)
		var got []string
		for _, text := range f.join(room, "ann", back).Left {
			e := parse(f, text)
			got = append(got, fmt.Sprint(e.Kind, " ", e.Peer, " ", e.Leave))
		}
		f.equal("leaves", got, []string{"leave bob left", "leave hid left", "leave early left"})
		// As far as the log has them.
		f.ok(f.env.Client.LTrim(f.ctx(), f.key("l", room), -3, -1).Err())
		f.equal("leaves in a short log", len(f.join(room, "ann", back).Left), 1)
	})

	f.run("all peers of a room, and none of a large one", func(f *fixture) {
		f = f.limited(hearth.Limits{LargeRoom: 300})
		room := f.newRoom()
		f.join(room, "ann", implicit)
		for i := range 299 {
			f.join(room, "p"+strconv.Itoa(i))
		}
		f.join(room, "hid", hidden)
		f.equal("peers", len(f.join(room, "ann", back).Peers), 300)
		f.join(room, "one-more")
		again := f.join(room, "ann", back)
		f.equal("peers", ids(again.Peers), []string{"ann"})
		f.equal("how many there are", again.PeerCount, 301)
	})
}

// values lists entries with their data.
func values(entries []hearth.Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Key+"="+string(e.Data))
	}
	return strings.Join(out, " ")
}

func testKept(f *fixture) {
	f.run("what a 100ms client watches is kept for its return", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", implicit)
		f.set(ann, "a", "1")
		f.equal("entries", len(f.listen(ann, "a", "b")), 2)
		f.set(ann, "a", "2")
		f.set(ann, "c", "3")
		again := f.join(room, "ann", back)
		f.equal("watched", again.Watch, patterns("a", "b"))
		f.equal("entries", values(again.Entries), "a=2 b=")
		f.listen(again, "c*", "a")
		again = f.join(room, "ann", back)
		f.equal("watched", again.Watch, patterns("c*", "a"))
		f.equal("entries", values(again.Entries), "a=2 c=3")
		f.listen(again)
		again = f.join(room, "ann", back)
		f.equal("watched", len(again.Watch)+len(again.Entries), 0)
		f.equal("kept", f.state(room)["v"], nil)
		f.equal("kept bytes", f.state(room)["s"]["kb"], "0")
	})

	f.run("a join begins anew", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", implicit, watching("a", "b*"))
		f.equal("kept", f.state(room)["v"], map[string]string{"k/ann": "a\nb*"})
		f.equal("watched", f.join(room, "ann", back).Watch, patterns("a", "b*"))
		f.join(room, "ann", implicit)
		f.equal("watched", len(f.join(room, "ann", back).Watch), 0)
		f.refused(room, hearth.ReasonNotMember, func() error {
			_, _, err := f.s.Listen(f.ctx(), room, ann.Writer, patterns("x"))
			return err
		})
		f.join(room, "ann", watching("a"))
		f.equal("nothing is kept of others", f.state(room)["v"], nil)
	})

	f.run("it goes with the peer and with the session", func(f *fixture) {
		room := f.newRoom()
		bob, ann := f.join(room, "bob", implicit), f.join(room, "ann", implicit)
		f.listen(ann, "abc", "de")
		f.listen(bob, "f")
		f.equal("kept bytes", f.state(room)["s"]["kb"], "7")
		f.leave(ann)
		f.equal("kept", f.state(room)["v"], map[string]string{"k/bob": "f"})
		f.equal("kept bytes", f.state(room)["s"]["kb"], "1")
		f.leave(bob)
		f.gone(room)
	})

	f.run("a session keeps so many bytes of them", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann", implicit), f.join(room, "bob", implicit)
		f.listen(ann, "a")
		f.ok(f.env.Client.HSet(f.ctx(), f.key("s", room), "kb", hearth.MaxKeptWatch).Err())
		f.listen(ann, "b")
		f.refused(room, hearth.ReasonTooLarge, func() error {
			_, _, err := f.s.Listen(f.ctx(), room, bob.Writer, patterns("c"))
			return err
		})
		f.refused(room, hearth.ReasonTooLarge, func() error { _, err := f.tryJoin(room, "cat", implicit, watching("c")); return err })
		f.listen(f.join(room, "ann", back))
		f.listen(bob, "c")
	})
}

func testGone(f *fixture) {
	f.run("a 100ms client that timed out is told so", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "bob")
		ann, cat := f.join(room, "ann", implicit), f.join(room, "cat")
		f.handOver(ann)
		f.handOver(cat)
		f.comesToNothing(room, "dan", store.ErrAbsent)
		f.lose(room, "ann")
		f.lose(room, "cat")
		f.comesToNothing(room, "ann", store.ErrTimedOut)
		f.comesToNothing(room, "ann", store.ErrTimedOut) // as often as it asks
		f.comesToNothing(room, "ann", store.ErrAbsent, ofUser("another"))
		f.comesToNothing(room, "cat", store.ErrAbsent)
		f.join(room, "ann", ofUser("another")) // who may take the name
		f.comesToNothing(room, "ann", store.ErrAbsent, ofUser("a third"))
	})

	f.run("who has joined again is not", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "bob")
		f.handOver(f.join(room, "ann", implicit))
		f.lose(room, "ann")
		ann := f.join(room, "ann", implicit)
		f.leave(ann)
		f.comesToNothing(room, "ann", store.ErrAbsent)
	})

	f.run("also if its session ended with it, or its node died", func(f *fixture) {
		room := f.newRoom()
		f.handOver(f.join(room, "ann", implicit))
		f.lose(room, "ann")
		f.gone(room)
		f.comesToNothing(room, "ann", store.ErrTimedOut)
		ann := f.join(room, "ann", implicit)
		f.ok(f.env.Client.ZAdd(f.ctx(), f.key("due", room), z("node/"+incarnation)).Err())
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueNode, Partition: f.s.Partition(room), Incarnation: incarnation}))
		f.comesToNothing(room, "ann", store.ErrTimedOut)
		f.refused(room, hearth.ReasonNoSession, func() error { _, _, err := f.s.Peer(f.ctx(), room, "", ann.Peer); return err })
	})

	f.run("for a minute", func(f *fixture) {
		room := f.newRoom()
		p := f.s.Partition(room)
		gone, trim := f.key("gone", room), store.DueItem{Kind: store.DueGone, Partition: p}
		f.handOver(f.join(room, "ann", implicit))
		f.lose(room, "ann")
		f.ok(f.s.Settle(f.ctx(), trim))
		f.comesToNothing(room, "ann", store.ErrTimedOut)
		text := f.env.Client.HGet(f.ctx(), gone, room+"/ann").Val()
		at, who, _ := strings.Cut(text, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		f.ok(err)
		f.ok(f.env.Client.HSet(f.ctx(), gone, room+"/ann", strconv.FormatInt(ms-hearth.GoneTime.Milliseconds(), 10)+" "+who).Err())
		f.comesToNothing(room, "ann", store.ErrAbsent)
		f.equal("kept", f.env.Client.HExists(f.ctx(), gone, room+"/ann").Val(), true)
		f.ok(f.env.Client.ZAdd(f.ctx(), f.key("due", room), z("gone")).Err())
		var due bool
		f.until("due", func() bool {
			items, _, err := f.due(p, 1000)
			f.ok(err)
			for _, item := range items {
				if item == trim {
					due = true
					f.ok(f.s.Settle(f.ctx(), item))
				}
			}
			return due
		})
		f.equal("kept", f.env.Client.HExists(f.ctx(), gone, room+"/ann").Val(), false)
	})

	f.run("so many of a partition", func(f *fixture) {
		room := f.newRoom()
		gone := f.key("gone", room)
		f.handOver(f.join(room, "ann", implicit))
		fields := make([]any, 0, 2*hearth.MaxGone)
		for i := range hearth.MaxGone {
			fields = append(fields, "x/"+strconv.Itoa(i), `1 "u"`)
		}
		f.ok(f.env.Client.HSet(f.ctx(), gone, fields...).Err())
		f.lose(room, "ann")
		f.comesToNothing(room, "ann", store.ErrAbsent)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueGone, Partition: f.s.Partition(room)}))
		f.handOver(f.join(room, "ann", implicit))
		f.lose(room, "ann")
		f.comesToNothing(room, "ann", store.ErrTimedOut)
	})

	f.run("the grace of a 100ms client is longer", func(f *fixture) {
		f = f.limited(hearth.Limits{Grace: time.Millisecond, NodeLease: 5 * time.Second})
		room := f.newRoom()
		bob, ann := f.join(room, "bob"), f.join(room, "ann", implicit)
		f.handOver(bob)
		f.handOver(ann)
		due := f.state(room)["due"]
		of := func(peer string) int64 {
			at, err := strconv.ParseInt(due["peer/"+room+"/"+peer], 10, 64)
			f.ok(err)
			return at
		}
		if d := of("ann") - of("bob"); d < 29_000 || d > 32_000 {
			f.Errorf("by %d ms", d)
		}
	})
}
