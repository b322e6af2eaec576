package storetest

import (
	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// gap is how far seqs are ahead, at least, after the store has lost some.
const gap = 1000

// past is what a replica has of a room that lags.
type past struct {
	state map[string]string
	log   []string
}

func (f *fixture) past(room string) (p past) {
	f.Helper()
	var err error
	p.state, err = f.env.Client.HGetAll(f.ctx(), f.key("s", room)).Result()
	f.ok(err)
	p.log, err = f.env.Client.LRange(f.ctx(), f.key("l", room), 0, -1).Result()
	f.ok(err)
	return p
}

// rewind makes the room what it was, as a failover to such a replica does.
func (f *fixture) rewind(room string, p past) {
	f.Helper()
	c, s, l := f.env.Client, f.key("s", room), f.key("l", room)
	f.ok(c.Del(f.ctx(), s, l).Err())
	f.ok(c.HSet(f.ctx(), s, p.state).Err())
	for _, text := range p.log {
		f.ok(c.RPush(f.ctx(), l, text).Err())
	}
}

func testRewound(f *fixture) {
	head := func(f *fixture, room string) hearth.Cursor {
		f.Helper()
		ses, err := f.s.Room(f.ctx(), room)
		f.ok(err)
		return ses.Cursor()
	}
	rewound := func(f *fixture, room string, at hearth.Cursor) bool {
		f.Helper()
		began, err := f.s.Rewound(f.ctx(), room, at)
		f.ok(err)
		return began
	}
	// lost has a room whose store has lost n of the changes up to at, and made others after that.
	lost := func(f *fixture, n, others int) (room string, ann member, at hearth.Cursor) {
		f.Helper()
		room = f.newRoom()
		ann = f.join(room, "ann")
		f.set(ann, "k", "1")
		before := f.past(room)
		for range n {
			f.say(ann, "lost")
		}
		at = head(f, room)
		f.rewind(room, before)
		for range others {
			f.say(ann, "other")
		}
		return room, ann, at
	}

	for _, tt := range []struct {
		name      string
		n, others int
	}{{"stands before it", 3, 0}, {"stands before it, with others", 3, 2}, {"has another one there", 2, 2}, {"has another one there and more", 2, 5}} {
		f.run("a store that lost a change and "+tt.name+" begins a new log", func(f *fixture) {
			room, ann, at := lost(f, tt.n, tt.others)
			was := head(f, room)
			w := f.watch(room)
			if !rewound(f, room, at) {
				f.Fatal("nothing was done")
			}
			e := w.tells("rewound to nobody")[0]
			if e.Epoch == at.Epoch || e.Prev != e.Epoch || e.Seq != max(at.Seq, was.Seq)+gap+1 {
				f.Errorf("after %v and %v came %s", at, was, header(e))
			}
			f.equal("the session's cursor", head(f, room), e.Cursor)
			log, err := f.s.Log(f.ctx(), room, ann.ID, 0, 100)
			f.ok(err)
			f.equal("changes in the log", len(log.Events), 1)
			f.equal("the oldest", log.Oldest, e.Seq)
			f.set(ann, "k", "2") // the membership, the session and what it holds go on
			w.tells("meta ann k to all")
			f.equal("entry", f.get(room, "k").ChangeVersion, e.Seq+1)
			f.unchanged(room, func() error { // another node, which has found it out as well
				if rewound(f, room, at) {
					f.Error("done twice")
				}
				return nil
			})
		})
	}

	f.run("a change that the store has after all is none that was lost", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for _, more := range []int{0, 1, 5} {
			at := head(f, room)
			for range more {
				f.say(ann, "hi")
			}
			f.unchanged(room, func() error {
				if rewound(f, room, at) {
					f.Errorf("a new log, %d changes after the one that was heard", more)
				}
				return nil
			})
		}
	})

	f.run("what the log no longer tells is not judged", func(f *fixture) {
		g := f.limited(hearth.Limits{LogEvents: 4})
		room := g.newRoom()
		ann := g.join(room, "ann")
		at := head(g, room)
		for range 20 {
			g.say(ann, "hi")
		}
		at.Nonce = "another"
		g.unchanged(room, func() error {
			if rewound(g, room, at) {
				g.Error("a new log")
			}
			return nil
		})
	})

	f.run("of another session, or none, nothing is known", func(f *fixture) {
		room, ann, at := lost(f, 3, 0)
		other := at
		other.Epoch = ann.ID
		f.unchanged(room, func() error {
			if rewound(f, room, other) {
				f.Error("a new log, by the epoch of another session")
			}
			return nil
		})
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		if rewound(f, room, at) {
			f.Error("a new log without a session")
		}
		f.gone(room)
	})

	f.run("cursors of the older logs lead to the session while it is on", func(f *fixture) {
		room, ann, at := lost(f, 3, 0)
		first := at.Epoch
		rewound(f, room, at)
		second := head(f, room)
		lagging := f.past(room)
		f.say(ann, "hi")
		at = head(f, room)
		f.rewind(room, lagging)
		if !rewound(f, room, at) {
			f.Fatal("nothing was done the second time")
		}
		for _, epoch := range []string{first, second.Epoch} {
			sum, err := f.s.SummaryByEpoch(f.ctx(), room, epoch)
			f.ok(err)
			if !sum.Live() || sum.ID != ann.ID {
				f.Errorf("the epoch of an older log leads to %+v", sum)
			}
		}
		now := head(f, room)
		f.leave(ann)
		sum, err := f.s.SummaryByEpoch(f.ctx(), room, now.Epoch)
		f.ok(err)
		f.equal("session of the newest log", sum.ID, ann.ID)
		for _, epoch := range []string{first, second.Epoch} {
			_, err := f.s.SummaryByEpoch(f.ctx(), room, epoch)
			f.equal("an older log's epoch, after the session", hearth.ReasonOf(err), hearth.ReasonNotFound)
		}
		f.gone(room)
	})
}

func testHeads(f *fixture) {
	none, err := f.s.Heads(f.ctx(), nil)
	f.ok(err)
	f.equal("of no rooms", len(none), 0)
	var rooms []string
	var want []hearth.Cursor
	for len(rooms) < 5 { // of one partition
		room := f.newRoom()
		if len(rooms) > 0 && f.s.Partition(room) != f.s.Partition(rooms[0]) {
			continue
		}
		rooms = append(rooms, room)
		if len(rooms)%2 == 0 { // without a session
			want = append(want, hearth.Cursor{})
			continue
		}
		ann := f.join(room, "ann")
		for range rooms { // as many as there are
			f.say(ann, "hi")
		}
		ses, err := f.s.Room(f.ctx(), room)
		f.ok(err)
		want = append(want, ses.Cursor())
	}
	got, err := f.s.Heads(f.ctx(), rooms)
	f.ok(err)
	f.equal("heads", got, want)
}
