package storetest

import (
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func testBroadcast(f *fixture) {
	const sender = `,"peer":{"peer_id":"ann","role":"host","groups":["red","blue"],"info":{"name":"Ann \"A\"","user_id":"u-ann"}}`
	server := store.Writer{Key: "access"}
	for _, tt := range []struct {
		name                   string
		m                      hearth.Message
		server                 bool
		told                   string
		private, roles, sender string
		hears                  []string // of ann (host), bob (guest), and eve (guest, of another user than bob), by peer and user
	}{
		{
			name: "to all but the sender",
			told: "msg ann to all but ann", private: "false", sender: sender, hears: []string{"bob", "eve"},
		},
		{
			name: "from a server to all", server: true,
			told: "msg to all", private: "false", hears: []string{"ann", "bob", "eve"},
		},
		{
			name: "to roles", m: hearth.Message{Roles: []string{"guest", "host"}},
			told: "msg ann to guest,host but ann", private: "false", roles: `,"roles":["guest","host"]`, sender: sender, hears: []string{"bob", "eve"},
		},
		{
			name: "to a role that the sender alone has", m: hearth.Message{Roles: []string{"host"}},
			told: "msg ann to host but ann", private: "false", roles: `,"roles":["host"]`, sender: sender,
		},
		{
			name: "from a server to a role", m: hearth.Message{Roles: []string{"host"}}, server: true,
			told: "msg to host", private: "false", roles: `,"roles":["host"]`, hears: []string{"ann"},
		},
		{
			name: "to one peer", m: hearth.Message{Peer: "bob"},
			told: "msg ann to bob", private: "true", sender: sender, hears: []string{"bob"},
		},
		{
			name: "from a server to one peer", m: hearth.Message{Peer: "bob"}, server: true,
			told: "msg to bob", private: "true", hears: []string{"bob"},
		},
		{
			name: "to oneself", m: hearth.Message{Peer: "ann"},
			told: "msg ann to ann", private: "true", sender: sender, hears: []string{"ann"},
		},
	} {
		f.run(tt.name, func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann", ofRole("host"), named(`Ann "A"`), inGroups("red", "blue"), bearing("never told here"))
			members := []member{ann, f.join(room, "bob"), f.join(room, "eve")}
			w := f.watch(room)
			by := ann.Writer
			if tt.server {
				by = server
			}
			m := tt.m
			m.ID, m.Type, m.Message = `id "1"`, "c\\d", []byte(`{"text":"%1 \u00e9"}`)
			sent, err := f.s.Broadcast(f.ctx(), room, by, &m)
			f.ok(err)
			e := w.tells(tt.told)[0]
			if sent.Session != ann.ID || sent.Seq != e.Seq || sent.At != e.At {
				f.Errorf("sent as %+v, told as %s", sent, header(e))
			}
			f.equal("what they are told", e.Body, `"message_id":"id \"1\"","private":`+tt.private+tt.roles+
				`,"info":{"message":{"text":"%1 \u00e9"},"type":"c\\d"},"timestamp":`+strconv.FormatInt(sent.At, 10)+tt.sender)
			var hears []string
			for _, m := range members {
				if e.Audience.Includes(m.Own.ID, hearth.QuoteString(m.Own.User), m.Own.Role, false) {
					hears = append(hears, m.Own.ID)
				}
				if e.Audience.Peer != "" && e.Audience.Includes(m.Own.ID, `"another user"`, m.Own.Role, true) {
					f.Error("a private message is for another user of the peer_id")
				}
			}
			f.equal("who hears it", hears, tt.hears)
		})
	}

	f.run("a private message to who isn't there is refused", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		bob := f.join(room, "bob")
		f.leave(bob)
		m := message("psst")
		m.Peer = "bob"
		for _, w := range []store.Writer{ann.Writer, server} {
			f.refused(room, hearth.ReasonNotFound, func() error { _, err := f.s.Broadcast(f.ctx(), room, w, m); return err })
		}
		w := ann.Writer
		w.Op = m.ID // what was refused is not remembered
		f.refused(room, hearth.ReasonNotFound, func() error { _, err := f.s.Broadcast(f.ctx(), room, w, m); return err })
		f.join(room, "bob")
		if _, err := f.s.Broadcast(f.ctx(), room, w, m); err != nil {
			f.Error(err)
		}
	})

	f.run("a hidden peer can be written to and can write", func(f *fixture) {
		room := f.newRoom()
		ann, ghost := f.join(room, "ann"), f.join(room, "ghost", hidden)
		w := f.watch(room)
		m := message("psst")
		m.Peer = "ghost"
		_, err := f.s.Broadcast(f.ctx(), room, ann.Writer, m)
		f.ok(err)
		f.say(ghost, "boo")
		w.tells("msg ann to ghost", "msg ghost to all but ghost")
	})

	f.run("a message of every size arrives whole", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		w := f.watch(room)
		for _, n := range []int{0, 1, 1000, 64<<10 - 2} {
			text := strings.Repeat("x", n)
			f.say(ann, text)
			if e := w.tells("msg ann to all but ann")[0]; !strings.Contains(e.Body, `{"message":"`+text+`","type":"chat"}`) {
				f.Errorf("of %d bytes: %.100s", n, e.Body)
			}
		}
	})
}

func testLog(f *fixture) {
	// read returns the seqs of the changes and the oldest.
	read := func(f *fixture, room string, after uint64, limit int) (seqs []uint64, oldest uint64) {
		f.Helper()
		log, err := f.s.Log(f.ctx(), room, "", after, limit)
		f.ok(err)
		for _, text := range log.Events {
			seqs = append(seqs, parse(f, text).Seq)
		}
		return seqs, log.Oldest
	}
	seqs := func(from, to uint64) (out []uint64) {
		for ; from <= to; from++ {
			out = append(out, from)
		}
		return out
	}

	f.run("a log that keeps all", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for range 9 {
			f.say(ann, "hi")
		}
		for _, tt := range []struct {
			after uint64
			limit int
			want  []uint64
		}{
			{0, 100, seqs(1, 10)},
			{0, 10, seqs(1, 10)},
			{0, 3, seqs(1, 3)},
			{4, 3, seqs(5, 7)},
			{8, 3, seqs(9, 10)},
			{9, 1, seqs(10, 10)},
			{10, 3, nil},
			{11, 3, nil},
			{1 << 40, 3, nil},
			{0, 0, nil},
			{5, 0, nil},
		} {
			got, oldest := read(f, room, tt.after, tt.limit)
			f.equal("after "+strconv.FormatUint(tt.after, 10), got, tt.want)
			f.equal("oldest", oldest, uint64(1))
		}
	})

	f.run("a log that was trimmed by count", func(f *fixture) {
		f = f.limited(hearth.Limits{LogEvents: 32}) // and two more before it is trimmed
		room := f.newRoom()
		ann := f.join(room, "ann")
		for seq := uint64(2); seq <= 100; seq++ {
			f.say(ann, "hi")
			_, oldest := read(f, room, seq, 1)
			if kept := seq - oldest + 1; seq >= 32 && (kept < 32 || kept > 33) || seq < 32 && oldest != 1 {
				f.Errorf("at %d the log begins with %d", seq, oldest)
			}
		}
		_, oldest := read(f, room, 0, 1)
		for _, after := range []uint64{0, oldest - 2, oldest - 1} {
			got, _ := read(f, room, after, 1000)
			f.equal("from the oldest", got, seqs(oldest, 100))
		}
		got, _ := read(f, room, oldest, 2)
		f.equal("after the oldest", got, seqs(oldest+1, oldest+2))
		f.countsLog(room)
	})

	f.run("a log that was trimmed by bytes", func(f *fixture) {
		f = f.limited(hearth.Limits{LogBytes: 4000})
		room := f.newRoom()
		ann := f.join(room, "ann")
		for _, size := range []int{10, 500, 1500, 1500, 10, 3990, 10, 10, 9000, 9000, 10} {
			f.say(ann, strings.Repeat("x", size))
			f.countsLog(room)
			s := f.state(room)
			if n, _ := strconv.Atoi(s["s"]["lb"]); n > 4000 && len(s["l"]) > 1 {
				f.Errorf("%d changes of %d bytes", len(s["l"]), n)
			}
			got, oldest := read(f, room, 0, 1000)
			f.equal("log", got, seqs(oldest, oldest+uint64(len(s["l"]))-1))
			f.equal("newest", strconv.FormatUint(got[len(got)-1], 10), s["s"]["seq"])
		}
	})

	f.run("a takeover that changes the name logs both", func(f *fixture) {
		f = f.limited(hearth.Limits{LogEvents: 2})
		room := f.newRoom()
		f.join(room, "ann")
		w := f.watch(room)
		for i := range 10 {
			f.join(room, "ann", named(strconv.Itoa(i)))
		}
		if n := len(w.take()); n != 20 {
			f.Errorf("%d changes", n)
		}
		f.countsLog(room)
		if n := len(f.state(room)["l"]); n < 2 || n > 3 {
			f.Errorf("%d are kept", n)
		}
	})

	f.run("a log of which nothing is left", func(f *fixture) {
		f = f.limited(hearth.Limits{LogAge: time.Minute})
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.say(ann, "hi")
		f.grow(room, 2*time.Minute)
		f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueLog, Room: room}))
		for after := range uint64(5) {
			got, oldest := read(f, room, after, 10)
			f.equal("changes", got, nil)
			f.equal("oldest", oldest, uint64(3))
		}
	})
}

// countsLog expects that the session knows how many bytes its log has.
func (f *fixture) countsLog(room string) {
	f.Helper()
	bytes := 0
	s := f.state(room)
	for _, text := range s["l"] {
		bytes += len(text)
	}
	f.equal("counted bytes of the log", s["s"]["lb"], strconv.Itoa(bytes))
}
