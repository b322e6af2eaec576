package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth"
)

func testJoin(f *fixture) {
	f.run("the first join begins the session", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		m := f.join(room, "ann", ofRole("host"), bearing(`say "hi"`), inGroups("red", "blue"), shown(200))

		want := hearth.Peer{
			ID: "ann", User: "u-ann", Role: "host", Name: "Name of ann", Data: `say "hi"`,
			Groups: []string{"red", "blue"}, JoinedAt: m.StartedAt,
		}
		f.equal("own peer", m.Own, want)
		f.equal("snapshot", m.Peers, []hearth.Peer{want})
		if m.TakenOver || m.ExpiresAt != 0 || m.Seq != 1 || m.PeerCount != 1 || len(m.ID) != 32 || m.Epoch == "" {
			f.Errorf("joined as %+v", m.Joined)
		}
		e := w.tells("join ann to all but ann")[0]
		if e.Conn != m.Conn || e.Role != "host" || strings.Join(e.Groups, " ") != "red blue" || e.At != m.StartedAt {
			f.Errorf("the event says %+v", e)
		}
		f.equal("what others are told", e.Body, string(want.AppendBody(nil)))
		f.equal("cursor", e.Cursor, m.Cursor())

		s := f.state(room)
		at := strconv.FormatInt(m.StartedAt, 10)
		f.equal("stored session", s["s"], map[string]string{
			"id": m.ID, "ep": m.Epoch, "at": at, "seq": "1", "n": m.Nonce, "lb": strconv.Itoa(len(s["l"]["0"])),
			"hid": "0", "pc": "1", "pk": "1", "db": strconv.Itoa(len(`"say \"hi\""`)),
		})
		f.equal("stored peer", f.record(room, "ann"), record{
			conn: m.Conn, user: `"u-ann"`, role: "host", groups: "red,blue", name: `"Name of ann"`, node: "node-1",
			joined: m.StartedAt, seq: 1,
		})
		f.equal("stored data", s["p"], map[string]string{"ann": `"say \"hi\""`})
		f.equal("listed room", s["rooms"], map[string]string{room: at})
		f.equal("due", sortedFields(s["due"]), []string{"log/" + room})
		for _, kind := range []string{"m", "oa", "ob"} {
			f.equal("stored as "+kind, s[kind], map[string]string{})
		}
	})

	f.run("a second peer meets the same session", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		w := f.watch(room)
		bob := f.join(room, "bob", shown(200))
		if bob.ID != ann.ID || bob.Epoch != ann.Epoch || bob.StartedAt != ann.StartedAt || bob.Seq != 2 || bob.PeerCount != 2 {
			f.Errorf("bob met %+v, ann %+v", bob.Joined.Session, ann.Joined.Session)
		}
		f.equal("snapshot", ids(bob.Peers), []string{"ann", "bob"})
		w.tells("join bob to all but bob")
	})

	f.run("a peer_id of another user is refused", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", bearing("hers"))
		f.refused(room, hearth.ReasonPeerExists, func() error {
			_, err := f.tryJoin(room, "ann", ofUser("mallory"), bearing("his"), leased(time.Minute))
			return err
		})
		f.set(ann, "k", "1") // her connection is still hers
	})

	f.run("a full session takes nobody new, and its members over", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxPeers: 2})
		room := f.newRoom()
		f.join(room, "ann")
		f.join(room, "ghost", hidden)
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.tryJoin(room, "bob"); return err })
		f.refused(room, hearth.ReasonTooMany, func() error { _, err := f.tryJoin(room, "bob", hidden); return err })
		if m := f.join(room, "ann"); !m.TakenOver {
			f.Error("ann was no member")
		}
	})

	f.run("however many join at once, the session never has too many", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxPeers: 5})
		room := f.newRoom()
		var joined atomic.Int64
		f.together(20, func(i int) {
			switch _, err := f.tryJoin(room, "p"+strconv.Itoa(i)); {
			case err == nil:
				joined.Add(1)
			case hearth.ReasonOf(err) != hearth.ReasonTooMany:
				f.Error(err)
			}
		})
		if n := len(f.state(room)["c"]); joined.Load() != 5 || n != 5 {
			f.Errorf("%d joined, %d are there", joined.Load(), n)
		}
	})

	f.run("data of all peers has a limit", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann", bearing("0123456789"))
		full := hearth.MaxSessionData - 3 // three bytes are left: a string of one character with its quotes
		f.ok(f.env.Client.HSet(f.ctx(), f.key("s", room), "db", full).Err())
		f.refused(room, hearth.ReasonTooLarge, func() error { _, err := f.tryJoin(room, "bob", bearing("12")); return err })
		f.refused(room, hearth.ReasonTooLarge, func() error {
			_, err := f.tryJoin(room, "ann", bearing("01234567890123"))
			return err
		})
		f.join(room, "bob", bearing("1"))
		f.equal("counted", f.state(room)["s"]["db"], strconv.Itoa(hearth.MaxSessionData))
		f.join(room, "eve")                  // who brings none
		ann := f.join(room, "ann", keepData) // whose data is counted already
		f.join(room, "bob", bearing("2"))    // as much as before
		f.leave(ann)                         // who frees 12
		f.join(room, "dan", bearing("0123")) // of which this takes 6
		f.equal("counted", f.state(room)["s"]["db"], strconv.Itoa(hearth.MaxSessionData-12+6))
	})

	f.run("a hidden peer is shown and counted to nobody", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		ghost := f.join(room, "ghost", hidden, shown(200))
		f.equal("its own snapshot", ids(ghost.Peers), []string{"ghost"})
		if ghost.PeerCount != 0 || !ghost.Own.Hidden {
			f.Errorf("joined as %+v", ghost.Joined)
		}
		ann := f.join(room, "ann", shown(200))
		f.equal("another's snapshot", ids(ann.Peers), []string{"ann"})
		if ann.ID != ghost.ID || ann.PeerCount != 1 {
			f.Errorf("joined as %+v", ann.Joined)
		}
		w.tells("join ghost to nobody", "join ann to all but ann")
		_, all, err := f.s.Peers(f.ctx(), room, "")
		f.ok(err)
		f.equal("peers of the store", ids(all), []string{"ann", "ghost"})
		f.leave(ann)
		if ses, err := f.s.Room(f.ctx(), room); err != nil || ses.PeerCount != 0 {
			f.Errorf("alone, the hidden peer keeps %+v, %v", ses, err)
		}
		f.join(room, "bob")
		f.leave(ghost)
		if ses, err := f.s.Room(f.ctx(), room); err != nil || ses.PeerCount != 1 {
			f.Errorf("the hidden peer leaves %+v, %v", ses, err)
		}
		w.tells("leave ann left to all but ann", "join bob to all but bob", "leave ghost left to nobody")
	})
}

func testTakeover(f *fixture) {
	for _, tt := range []struct {
		name       string
		with       []change
		told       []string // after the change of connection
		wantName   string
		wantData   string // as stored
		wantedData string
	}{
		{
			"with the same name and data tells nodes only",
			[]change{named("Ann"), bearing("d")},
			nil, "Ann", `"d"`, "d",
		},
		{
			"without name and data keeps them",
			[]change{named(""), keepName, keepData},
			nil, "Ann", `"d"`, "d",
		},
		{
			"with another name tells all",
			[]change{named("Anna"), keepData},
			[]string{"update ann to all"},
			"Anna", `"d"`, "d",
		},
		{
			"with other data tells all",
			[]change{keepName, bearing("e")},
			[]string{"update ann to all"},
			"Ann", `"e"`, "e",
		},
		{
			"with empty data removes it",
			[]change{keepName, bearing("")},
			[]string{"update ann to all"},
			"Ann", "", "",
		},
		{
			"keeps role, groups and visibility",
			[]change{named("Ann"), bearing("d"), ofRole("admin"), inGroups("blue"), hidden},
			nil, "Ann", `"d"`, "d",
		},
	} {
		f.run(tt.name, func(f *fixture) {
			room := f.newRoom()
			f.join(room, "bob")
			old := f.join(room, "ann", named("Ann"), bearing("d"), ofRole("host"), inGroups("red"))
			before := f.record(room, "ann")
			w := f.watch(room)
			tt.with = append(tt.with, shown(200))
			m := f.join(room, "ann", tt.with...)

			want := hearth.Peer{
				ID: "ann", User: "u-ann", Role: "host", Name: tt.wantName, Data: tt.wantedData,
				Groups: []string{"red"}, JoinedAt: old.Own.JoinedAt,
			}
			if !m.TakenOver || m.ID != old.ID || m.PeerCount != 2 {
				f.Errorf("joined as %+v", m.Joined)
			}
			f.equal("own peer", m.Own, want)
			f.equal("snapshot", ids(m.Peers), []string{"ann", "bob"})
			events := w.tells(append([]string{"conn ann to nobody"}, tt.told...)...)
			if events[0].Conn != old.Conn {
				f.Errorf("the connection that was replaced is told as %q", events[0].Conn)
			}
			if len(events) > 1 {
				f.equal("what all are told", events[1].Body, string(want.AppendBody(nil)))
			}
			f.equal("cursor", m.Cursor(), events[len(events)-1].Cursor)
			before.conn, before.name = m.Conn, hearth.QuoteString(tt.wantName)
			f.equal("stored peer", f.record(room, "ann"), before)
			f.equal("stored data", f.state(room)["p"]["ann"], tt.wantData)

			f.refused(room, hearth.ReasonNotMember, func() error {
				_, err := f.s.Leave(f.ctx(), room, old.Writer, hearth.TimedOut)
				return err
			})
			f.set(m, "k", "1")
		})
	}

	f.run("a hidden peer stays hidden", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ghost", hidden)
		w := f.watch(room)
		m := f.join(room, "ghost", bearing("new"))
		if !m.Own.Hidden || m.PeerCount != 0 {
			f.Errorf("joined as %+v", m.Joined)
		}
		w.tells("conn ghost to nobody", "update ghost to nobody")
	})

	f.run("the socket that takes over a leased peer ends its lease", func(f *fixture) {
		room := f.newRoom()
		m := f.join(room, "ann", leased(time.Minute))
		f.equal("due", f.state(room)["due"]["peer/"+room+"/ann"], strconv.FormatInt(m.ExpiresAt, 10))
		f.equal("stored lease", f.record(room, "ann").lease, "60000")
		f.join(room, "ann")
		f.equal("due", f.state(room)["due"]["peer/"+room+"/ann"], "")
		f.equal("stored lease", f.record(room, "ann").lease, "")
	})

	f.run("the lease that takes over a socket's peer begins now", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		m := f.join(room, "ann", leased(time.Minute))
		if m.ExpiresAt < m.StartedAt+60_000 {
			f.Errorf("expires at %d, in a session of %d", m.ExpiresAt, m.StartedAt)
		}
		f.equal("due", f.state(room)["due"]["peer/"+room+"/ann"], strconv.FormatInt(m.ExpiresAt, 10))
		f.equal("stored lease", f.record(room, "ann").lease, "60000")
	})

	f.run("a connection that was taken over twice is told each time", func(f *fixture) {
		room := f.newRoom()
		first := f.join(room, "ann")
		w := f.watch(room)
		second := f.join(room, "ann")
		third := f.join(room, "ann")
		events := w.tells("conn ann to nobody", "conn ann to nobody")
		f.equal("replaced", []string{events[0].Conn, events[1].Conn}, []string{first.Conn, second.Conn})
		f.leave(third)
	})
}

func testSnapshot(f *fixture) {
	room := f.newRoom()
	first := f.join(room, "p00", bearing("data of p00"))
	for _, p := range []string{"p01", "p02", "p03", "p04", "p05", "p06", "p07", "p08"} {
		f.join(room, p)
	}
	for k, v := range map[string]string{"a": "1", "b/1": "2", "b/2": "3", "c": "4"} {
		f.set(first, k, v)
	}

	for _, tt := range []struct {
		name        string
		want        int
		least, most int
	}{
		{"a snapshot without peers has not even oneself", 0, 0, 0},
		{"a snapshot of one is oneself", 1, 1, 1},
		{"a small snapshot keeps its bound", 4, 1, 4},
		{"a large snapshot has everyone", 200, 10, 10},
	} {
		f.run(tt.name, func(f *fixture) {
			m := f.join(room, "self", shown(tt.want))
			got := ids(m.Peers)
			if len(got) < tt.least || len(got) > tt.most {
				f.Errorf("shows %v", got)
			}
			if tt.want > 0 && got[len(got)-1] != "self" { // the last by name
				f.Errorf("without oneself: %v", got)
			}
			if m.PeerCount != 10 {
				f.Errorf("counts %d", m.PeerCount)
			}
			for _, p := range m.Peers {
				if p.ID == "p00" {
					f.equal("another's data", p.Data, "data of p00")
				}
			}
		})
	}

	for _, tt := range []struct {
		name  string
		watch []string
		want  []string
	}{
		{"who watches nothing is shown no entries", nil, nil},
		{"who watches all is shown all, by key", []string{"*"}, []string{"a=1", "b/1=2", "b/2=3", "c=4"}},
		{"a prefix shows what begins with it", []string{"b/*"}, []string{"b/1=2", "b/2=3"}},
		{"a prefix of nothing shows nothing", []string{"x*"}, nil},
		{"an exact key shows its entry", []string{"c"}, []string{"c=4"}},
		{"an exact key that is absent shows as absent", []string{"z", "c"}, []string{"c=4", "z absent"}},
		{"an absent key beside a prefix shows as absent", []string{"b/*", "b/3", "b/1"}, []string{"b/1=2", "b/2=3", "b/3 absent"}},
		{"a key that is watched twice is shown once", []string{"a", "a", "q", "q"}, []string{"a=1", "q absent"}},
	} {
		f.run(tt.name, func(f *fixture) {
			m := f.join(room, "self", watching(tt.watch...))
			f.equal("entries at the join", briefly(m.Entries), tt.want)
			ses, entries, err := f.s.Watch(f.ctx(), room, m.ID, request(room, "", watching(tt.watch...)).Watch)
			f.ok(err)
			f.equal("entries when listening", briefly(entries), tt.want)
			f.equal("state that they hold at", ses, m.Joined.Session)
		})
	}
}

// testFirstSight is what one who is no member is shown when it begins to watch.
func testFirstSight(f *fixture) {
	room := f.newRoom()
	ann := f.join(room, "ann", bearing("data"))
	f.join(room, "bob")
	f.join(room, "hid", hidden)
	f.set(ann, "k", "1")
	log, err := f.s.Log(f.ctx(), room, "", 0, 10)
	f.ok(err)
	for i, text := range log.Events { // the first join, and no other, tells the session that begins
		c, prev, rest, err := hearth.ParseCursorLine(text)
		f.ok(err)
		e, err := hearth.ParseEvent(c, prev, rest)
		f.ok(err)
		want := ""
		if i == 0 {
			want = ann.ID
		}
		f.equal("session that begins", e.Session, want)
	}
	for _, tt := range []struct {
		own    string
		limit  int
		hidden bool
		peers  string
		seq    uint64
	}{
		{"", 10, false, "[ann bob]", 0},
		{"bob", 10, true, "[ann bob hid]", 2},
		{"hid", 10, false, "[ann bob]", 3},
		{"none", 0, false, "[]", 0},
	} {
		snap, err := f.s.Snapshot(f.ctx(), room, tt.own, tt.limit, tt.hidden, hearth.Patterns{"k", "x"})
		f.ok(err)
		got := ids(snap.Peers)
		slices.Sort(got)
		f.equal("peers", fmt.Sprint(got), tt.peers)
		f.equal("entries", briefly(snap.Entries), []string{"k=1", "x absent"})
		f.equal("hidden", snap.HiddenCount, 1)
		f.equal("seq of the own join", snap.OwnSeq, tt.seq)
		if (snap.Own != nil) != (tt.seq > 0) || snap.Own != nil && (snap.Own.ID != tt.own || snap.Own.User != "u-"+tt.own) {
			f.Errorf("own peer of %q: %+v", tt.own, snap.Own)
		}
	}
	snap, err := f.s.Snapshot(f.ctx(), room, "", 1, true, nil)
	f.ok(err)
	f.equal("at most", len(snap.Peers), 1)
	snap, err = f.s.Snapshot(f.ctx(), room, "", 10, false, nil)
	f.ok(err)
	for _, p := range snap.Peers {
		f.equal("data", p.Data, map[string]string{"ann": "data"}[p.ID])
	}
	_, err = f.s.Snapshot(f.ctx(), f.newRoom(), "", 10, true, nil)
	f.equal("without a session", hearth.ReasonOf(err), hearth.ReasonNoSession)
}

// together calls do with 0 … n-1 at the same time and returns when all have returned.
func (f *fixture) together(n int, do func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			do(i)
		})
	}
	done.Wait()
}
