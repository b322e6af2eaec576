package storetest

import (
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// put changes a room's settings as a server.
func (f *fixture) put(room string, c hearth.RoomChange) store.RoomState {
	f.Helper()
	s, err := f.s.PutRoom(f.ctx(), room, store.Writer{}, c)
	f.ok(err)
	got, err := f.s.RoomState(f.ctx(), room)
	f.ok(err)
	f.equal("what is read then", got, s)
	return s
}

func (f *fixture) linger(room string, d time.Duration) { f.put(room, hearth.RoomChange{Linger: &d}) }

// near reports whether a time (epoch ms) is about d from now.
func near(at int64, d time.Duration) bool {
	return time.Until(time.UnixMilli(at).Add(-d)).Abs() < 30*time.Second
}

func testSettings(f *fixture) {
	yes, no, day, hour := true, false, 24*time.Hour, time.Hour
	ahead := func(d time.Duration) *int64 { return new(time.Now().Add(d).UnixMilli()) }

	f.run("a room that nobody set is open, and nothing is kept of it", func(f *fixture) {
		room := f.newRoom()
		s, err := f.s.RoomState(f.ctx(), room)
		f.ok(err)
		f.equal("room", s, store.RoomState{})
		f.put(room, hearth.RoomChange{})
		f.put(room, hearth.RoomChange{Shut: &no, Linger: new(time.Duration), MaxPeers: new(int), Until: new(int64)})
		f.put(room, hearth.RoomChange{Until: ahead(time.Hour)})
		f.gone(room)
		ann := f.join(room, "ann")
		ses, err := f.s.Room(f.ctx(), room)
		f.ok(err)
		f.equal("session", f.put(room, hearth.RoomChange{}), store.RoomState{Session: &ses})
		f.equal("session", ses.ID, ann.ID)
	})

	f.run("what is left out keeps its value and its time, what is null goes", func(f *fixture) {
		room := f.newRoom()
		long := ahead(48 * time.Hour)
		s := f.put(room, hearth.RoomChange{Shut: &yes})
		if !s.Shut || !near(s.ShutUntil, day) || s.Until() != s.ShutUntil || s.Linger != 0 || s.MaxPeers != 0 {
			f.Errorf("%+v", s)
		}
		first := s.ShutUntil
		s = f.put(room, hearth.RoomChange{Linger: &hour, MaxPeers: new(7), Until: long})
		if !s.Shut || s.ShutUntil != first || s.Until() != first || s.Linger != hour || s.LingerUntil != *long || s.MaxPeers != 7 || s.MaxPeersUntil != *long {
			f.Errorf("%+v", s)
		}
		state := f.state(room)
		f.put(room, hearth.RoomChange{})
		f.equal("after a change of nothing", f.state(room), state)
		f.equal("due", state["due"], map[string]string{"room/" + room: strconv.FormatInt(first, 10)})
		s = f.put(room, hearth.RoomChange{Shut: &no})
		if s.Shut || s.ShutUntil != 0 || s.Until() != *long || s.Linger != hour || s.MaxPeers != 7 {
			f.Errorf("%+v", s)
		}
		f.equal("due", f.state(room)["due"], map[string]string{"room/" + room: strconv.FormatInt(*long, 10)})
		s = f.put(room, hearth.RoomChange{MaxPeers: new(0)})
		f.equal("max peers", s.MaxPeers, 0)
		s = f.put(room, hearth.RoomChange{Until: new(int64)})
		if !near(s.LingerUntil, day) || s.Linger != hour {
			f.Errorf("%+v", s)
		}
		f.put(room, hearth.RoomChange{Linger: new(time.Duration)})
		f.gone(room)
	})

	f.run("what is over holds no more and is forgotten", func(f *fixture) {
		room := f.newRoom()
		f.put(room, hearth.RoomChange{Linger: &hour, Until: ahead(200 * time.Hour)})
		f.put(room, hearth.RoomChange{Shut: &yes, MaxPeers: new(1), Until: ahead(500 * time.Millisecond)})
		f.later(600 * time.Millisecond)
		var s store.RoomState
		f.until("it is over", func() bool {
			var err error
			s, err = f.s.RoomState(f.ctx(), room)
			f.ok(err)
			return !s.Shut
		})
		if s.Linger != hour || s.MaxPeers != 0 {
			f.Errorf("%+v", s)
		}
		f.join(room, "ann")
		f.join(room, "bob")
		f.equal("due", f.dueOf(room), []store.DueItem{{Kind: store.DueRoom, Room: room}})
		f.settle(room)
		f.equal("kept", sortedFields(f.state(room)["r"]), []string{"linger"})
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueRoom, Room: room}) })
	})

	f.run("what lies behind can't be set", func(f *fixture) {
		room := f.newRoom()
		f.refused(room, hearth.ReasonBadParams, func() error {
			_, err := f.s.PutRoom(f.ctx(), room, store.Writer{}, hearth.RoomChange{Shut: &yes, Until: ahead(-time.Hour)})
			return err
		})
	})

	f.run("a peer's change and one for a session are fenced", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for _, tt := range []struct {
			reason hearth.Reason
			change func(*store.Writer)
		}{
			{"", func(*store.Writer) {}},
			{hearth.ReasonNotMember, func(w *store.Writer) { w.Conn = hearth.NewConnSecret() }},
			{hearth.ReasonSessionEnded, func(w *store.Writer) { *w = store.Writer{Session: hearth.NewSessionID()} }},
		} {
			w := ann.Writer
			tt.change(&w)
			if _, err := f.s.PutRoom(f.ctx(), room, w, hearth.RoomChange{MaxPeers: new(5)}); hearth.ReasonOf(err) != tt.reason {
				f.Errorf("%+v: %v", w, err)
			}
		}
		f.leave(ann)
		_, err := f.s.PutRoom(f.ctx(), room, store.Writer{Peer: "ann", Conn: ann.Conn}, hearth.RoomChange{MaxPeers: new(5)})
		f.equal("after the end", hearth.ReasonOf(err), hearth.ReasonNoSession)
	})

	f.run("a shut room takes no new peers; who is in stays and comes back", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.put(room, hearth.RoomChange{Shut: &yes})
		f.refused(room, hearth.ReasonRoomClosed, func() error { _, err := f.tryJoin(room, "bob"); return err })
		f.refused(room, hearth.ReasonPeerExists, func() error { _, err := f.tryJoin(room, "ann", ofUser("eve")); return err })
		if m := f.join(room, "ann"); !m.TakenOver || m.ID != ann.ID {
			f.Errorf("%+v", m)
		}
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		f.refused(room, hearth.ReasonRoomClosed, func() error { _, err := f.tryJoin(room, "ann"); return err })
		f.put(room, hearth.RoomChange{Shut: &no})
		f.join(room, "bob")
	})

	f.run("an end can shut the room", func(f *fixture) {
		room := f.newRoom()
		f.linger(room, time.Hour)
		ann := f.join(room, "ann")
		w := f.watch(room)
		id, err := f.s.EndAndShut(f.ctx(), room, ann.Writer, "", time.Minute)
		f.ok(err)
		f.equal("session", id, ann.ID)
		w.tells("end ended by ann to all")
		s, err := f.s.RoomState(f.ctx(), room)
		f.ok(err)
		if !s.Shut || !near(s.ShutUntil, time.Minute) || s.Linger != time.Hour || s.Session != nil {
			f.Errorf("%+v", s)
		}
		f.bury(room)
		f.equal("due", f.state(room)["due"], map[string]string{"room/" + room: strconv.FormatInt(s.ShutUntil, 10)})
		f.refused(room, hearth.ReasonRoomClosed, func() error { _, err := f.tryJoin(room, "ann"); return err })
		f.refused(room, hearth.ReasonNoSession, func() error {
			_, err := f.s.EndAndShut(f.ctx(), room, store.Writer{}, "", time.Hour)
			return err
		})
	})

	f.run("an end does not open the room sooner than it was to", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		till := f.put(room, hearth.RoomChange{Shut: &yes, Until: ahead(48 * time.Hour)}).ShutUntil
		_, err := f.s.EndAndShut(f.ctx(), room, store.Writer{}, "", time.Minute)
		f.ok(err)
		s, err := f.s.RoomState(f.ctx(), room)
		f.ok(err)
		f.equal("shut until", s.ShutUntil, till)
	})

	f.run("a room's own bound counts hidden peers and no takeover", func(f *fixture) {
		room := f.newRoom()
		f.put(room, hearth.RoomChange{MaxPeers: new(2)})
		f.join(room, "ann")
		f.join(room, "ghost", hidden)
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.tryJoin(room, "bob"); return err })
		f.join(room, "ann")
		f.put(room, hearth.RoomChange{MaxPeers: new(3)})
		bob := f.join(room, "bob")
		f.put(room, hearth.RoomChange{MaxPeers: new(1)}) // who is in stays
		f.leave(bob)
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.tryJoin(room, "bob"); return err })
		few := f.limited(hearth.Limits{MaxPeers: 2})
		f.put(room, hearth.RoomChange{MaxPeers: new(3)})
		few.refused(room, hearth.ReasonTooMany, func() error { _, err := few.tryJoin(room, "bob"); return err })
	})
}

func testLinger(f *fixture) {
	f.run("an emptied session waits for its time and ends as empty", func(f *fixture) {
		room := f.newRoom()
		f.linger(room, 300*time.Millisecond)
		ann := f.join(room, "ann", bearing("data"))
		f.set(ann, "k", "1")
		w := f.watch(room)
		if f.leave(ann) {
			f.Error("the leave ended the session")
		}
		w.tells("leave ann left to all but ann")
		s := f.state(room)
		f.equal("what is there", sortedKinds(s), []string{"due", "l", "m", "r", "rooms", "s", "sums"})
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueEmpty, Room: room}) })

		// A server reads and writes meanwhile.
		f.equal("entry", string(f.get(room, "k").Data), "1")
		_, err := f.s.Set(f.ctx(), room, store.Writer{}, "k", []byte("2"), nil, hearth.Life{})
		f.ok(err)
		state, err := f.s.RoomState(f.ctx(), room)
		f.ok(err)
		if state.Session == nil || state.Session.ID != ann.ID || state.Session.PeerCount != 0 {
			f.Errorf("%+v", state.Session)
		}
		f.later(400 * time.Millisecond)
		f.settle(room)
		w.tells("meta k to all", "end empty to all")
		sum := f.summaryOf(ann.ID)
		if sum.Reason != hearth.EndEmpty || sum.Peers != 1 || sum.By != "" {
			f.Errorf("%+v", sum)
		}
		f.linger(room, 0)
		f.gone(room)
	})

	f.run("a join meets the session that lingers, and its end is off", func(f *fixture) {
		room := f.newRoom()
		f.linger(room, 50*time.Millisecond)
		ann := f.join(room, "ann")
		v := f.set(ann, "k", "1")
		f.leave(ann)
		bob := f.join(room, "bob", watching("k"))
		f.equal("session", bob.ID, ann.ID)
		f.equal("version", bob.Entries[0].ChangeVersion, v)
		f.equal("due", sortedFields(f.state(room)["due"]), []string{"log/" + room, "room/" + room})
		f.later(60 * time.Millisecond)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueEmpty, Room: room}) })
		f.set(bob, "k", "2")
	})

	f.run("a deadline that a join has overtaken ends nothing", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.ok(f.env.Client.ZAdd(f.ctx(), f.key("due", room), z("empty/"+room)).Err())
		w := f.watch(room)
		f.settle(room)
		w.tells()
		f.equal("due", sortedFields(f.state(room)["due"]), []string{"log/" + room})
		f.set(ann, "k", "1")
	})

	f.run("a deadline without a session is dropped", func(f *fixture) {
		room := f.newRoom()
		f.ok(f.env.Client.ZAdd(f.ctx(), f.key("due", room), z("empty/"+room)).Err())
		f.settle(room)
		f.gone(room)
	})

	for name, end := range map[string]func(f *fixture, ann member) error{
		"a removal": func(f *fixture, ann member) error {
			ended, err := f.s.Remove(f.ctx(), ann.Room, store.Writer{}, "ann", "")
			if ended {
				f.Error("ended")
			}
			return err
		},
		"a lease that runs out": func(f *fixture, ann member) error {
			f.ok(f.env.Client.ZAdd(f.ctx(), f.key("due", ann.Room), z("peer/"+ann.Room+"/ann")).Err())
			return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DuePeer, Room: ann.Room, Peer: "ann"})
		},
	} {
		f.run("so does one that was emptied by "+name, func(f *fixture) {
			room := f.newRoom()
			f.linger(room, time.Hour)
			f.ok(end(f, f.join(room, "ann", leased(time.Hour))))
			s := f.state(room)
			if _, ok := s["due"]["empty/"+room]; !ok || s["s"]["hid"] != "" || s["s"]["db"] != "" {
				f.Errorf("%v", s)
			}
		})
	}

	f.run("one that lingers can be ended", func(f *fixture) {
		room := f.newRoom()
		f.linger(room, time.Hour)
		ann := f.join(room, "ann")
		f.leave(ann)
		w := f.watch(room)
		id, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		f.equal("session", id, ann.ID)
		w.tells("end ended to all")
		f.linger(room, 0)
		f.gone(room)
	})

	f.run("a new time counts from when it is given, none is the end", func(f *fixture) {
		room := f.newRoom()
		f.linger(room, time.Hour)
		f.leave(f.join(room, "ann"))
		f.put(room, hearth.RoomChange{MaxPeers: new(5)}) // says nothing about it
		before := f.state(room)["due"]["empty/"+room]
		if at, err := strconv.ParseInt(before, 10, 64); err != nil || !near(at, time.Hour) {
			f.Errorf("due at %q", before)
		}
		f.linger(room, time.Minute)
		if at, err := strconv.ParseInt(f.state(room)["due"]["empty/"+room], 10, 64); err != nil || !near(at, time.Minute) {
			f.Errorf("due at %d", at)
		}
		w := f.watch(room)
		f.put(room, hearth.RoomChange{Linger: new(time.Duration), MaxPeers: new(int)})
		f.settle(room)
		w.tells("end empty to all")
		f.gone(room)
	})

	f.run("without linger a session that was emptied ends at once", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.put(room, hearth.RoomChange{Linger: new(time.Hour), Until: new(ann.StartedAt + 100)})
		f.later(150 * time.Millisecond)
		f.until("it is over", func() bool { s, err := f.s.RoomState(f.ctx(), room); return err == nil && s.Linger == 0 })
		if !f.leave(ann) {
			f.Error("it lingers")
		}
	})
}
