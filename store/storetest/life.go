package storetest

import (
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// write sets an entry with a life and returns it.
func (f *fixture) write(m member, key, value string, life hearth.Life) hearth.Entry {
	f.Helper()
	c, err := f.s.Set(f.ctx(), m.Room, m.Writer, key, []byte(value), nil, life)
	f.ok(err)
	return c.Entries[0]
}

func ttl(d time.Duration) hearth.Life { return hearth.Life{TTL: d} }

var owned = hearth.Life{Owned: true}

// expiry is what the change that lets an entry expire tells of it.
func expiry(e *hearth.Event, key string) hearth.Entry {
	return hearth.Entry{Key: key, Deleted: true, Reason: hearth.Expired, ChangeVersion: e.Seq, UpdatedAt: e.At}
}

func testTTL(f *fixture) {
	f.run("an entry expires by a change of its own", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		w := f.watch(room)
		e := f.write(ann, "k", "1", ttl(time.Minute))
		f.equal("expires_at", e.ExpiresAt, e.UpdatedAt+60_000)
		f.tellsEntries(w, "meta ann k to all", e)
		f.equal("read", f.get(room, "k"), e)
		s := f.state(room)
		at := strconv.FormatInt(e.ExpiresAt, 10)
		f.equal("deadline", s["x"], map[string]string{"k/k": at})
		f.equal("due", s["due"]["time/"+room], at)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueTimes, Room: room}) })

		f.grow(room, 2*time.Minute)
		if e := f.get(room, "k"); e.Data == nil {
			f.Error("a read shows the state at its seq: the entry is there until its event")
		}
		w = f.watch(room)
		f.settle(room)
		told := w.tells("meta k to all")
		f.equal("entry", told[0].Entries[0].JSON, string(new(expiry(told[0], "k")).AppendJSON(nil)))
		s = f.state(room)
		f.equal("entries", s["m"], nil)
		f.equal("deadlines", s["x"], nil)
		f.equal("due", sortedFields(s["due"]), []string{"log/" + room})
		f.equal("counted bytes", s["s"]["mb"], "0")
	})

	f.run("those that are due together go by one change, the others stay", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.write(ann, "a", "1", ttl(time.Minute))
		f.write(ann, "b", "1", ttl(30*time.Second))
		last := f.write(ann, "c", "1", ttl(time.Hour))
		f.set(ann, "d", "1")
		f.grow(room, 2*time.Minute)
		w := f.watch(room)
		f.settle(room)
		f.equal("told", summary(w.take()[0]), "meta b a to all")
		_, left, _, err := f.s.List(f.ctx(), room, "", "", "", 10)
		f.ok(err)
		f.equal("left", briefly(left), []string{"c=1", "d=1"})
		if got := f.state(room)["due"]["time/"+room]; f.env.Advance != nil && got != strconv.FormatInt(last.ExpiresAt, 10) {
			f.Errorf("due at %s, not at %d", got, last.ExpiresAt)
		}
	})

	f.run("many are settled in batches, one after the other", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for i := range 250 {
			f.write(ann, "k"+strconv.Itoa(i), "1", ttl(time.Minute))
		}
		f.grow(room, 2*time.Minute)
		f.settle(room)
		f.equal("entries", f.state(room)["m"], nil)
		f.equal("due", f.dueOf(room), nil)
	})

	f.run("a later write decides how long it stays", func(f *fixture) {
		for name, write := range map[string]func(ann member){
			"set for ever":    func(ann member) { f.set(ann, "k", "2") },
			"update for ever": func(ann member) { f.update(ann, op(hearth.OpSet, "k", "2")) },
			"delete": func(ann member) {
				_, err := f.s.Delete(f.ctx(), ann.Room, ann.Writer, "k", nil)
				f.ok(err)
			},
			"delete by update": func(ann member) { f.update(ann, op(hearth.OpDelete, "k", "")) },
		} {
			f.run(name, func(f *fixture) {
				room := f.newRoom()
				ann := f.join(room, "ann")
				f.write(ann, "k", "1", ttl(time.Minute))
				write(ann)
				f.equal("deadlines", f.state(room)["x"], nil)
				f.grow(room, 2*time.Minute)
				w := f.watch(room)
				f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueTimes, Room: room}))
				w.tells()
				f.equal("due", f.dueOf(room), nil)
			})
		}
	})

	f.run("an increment keeps the life that the entry has, unless it names one", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		e := f.write(ann, "n", "1", hearth.Life{TTL: time.Minute, Owned: true})
		c := f.update(ann, op(hearth.OpIncrement, "n", "1"))
		f.equal("life", []any{c.Entries[0].ExpiresAt, c.Entries[0].Owner}, []any{e.ExpiresAt, "ann"})
		f.equal("read", f.get(room, "n"), c.Entries[0])
		again := op(hearth.OpIncrement, "n", "1")
		again.Life = ttl(time.Hour)
		c = f.update(ann, again)
		f.equal("life", []any{c.Entries[0].ExpiresAt, c.Entries[0].Owner}, []any{c.At + 3_600_000, ""})
		f.equal("read", f.get(room, "n"), c.Entries[0])
		f.equal("goes with ann", f.state(room)["w"], nil)
	})

	f.run("what is due of a session is nothing to the next", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.write(ann, "k", "1", ttl(time.Minute))
		item := store.DueItem{Kind: store.DueTimes, Room: room}
		f.leave(ann)
		f.gone(room)
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), item) })
		ann = f.join(room, "ann")
		f.set(ann, "k", "2")
		f.unchanged(room, func() error { return f.s.Settle(f.ctx(), item) })
	})
}

// update does ops and returns what they led to.
func (f *fixture) update(m member, ops ...hearth.Op) store.Changed {
	f.Helper()
	c, err := f.s.Update(f.ctx(), m.Room, m.Writer, ops)
	f.ok(err)
	return c
}

func testMetExpired(f *fixture) {
	writes := map[string]func(f *fixture, m member, expect *uint64) error{
		"set": func(f *fixture, m member, expect *uint64) error {
			_, err := f.s.Set(f.ctx(), m.Room, m.Writer, "k", []byte("2"), expect, hearth.Life{})
			return err
		},
		"delete": func(f *fixture, m member, expect *uint64) error {
			_, err := f.s.Delete(f.ctx(), m.Room, m.Writer, "k", expect)
			return err
		},
		"update": func(f *fixture, m member, expect *uint64) error {
			_, err := f.s.Update(f.ctx(), m.Room, m.Writer, []hearth.Op{{Kind: hearth.OpSet, Key: "k", Data: []byte("2"), IfVersion: expect}})
			return err
		},
		"check": func(f *fixture, m member, expect *uint64) error {
			_, err := f.s.Update(f.ctx(), m.Room, m.Writer, []hearth.Op{{Kind: hearth.OpCheck, Key: "k", IfVersion: expect}})
			return err
		},
	}
	for name, write := range writes {
		f.run(name, func(f *fixture) {
			open := func() (member, uint64) {
				room := f.newRoom()
				ann := f.join(room, "ann")
				version := f.write(ann, "k", "1", ttl(time.Minute)).ChangeVersion
				f.grow(room, 2*time.Minute)
				return ann, version
			}
			f.run("a write that meets an expired entry lets it expire first", func(f *fixture) {
				ann, _ := open()
				w := f.watch(ann.Room)
				f.ok(write(f, ann, new(uint64(0))))
				told := w.take()
				f.equal("first", told[0].Entries[0].JSON, string(new(expiry(told[0], "k")).AppendJSON(nil)))
				want := 2
				if name == "delete" || name == "check" {
					want = 1
				}
				f.equal("changes", len(told), want)
				f.equal("deadlines", f.state(ann.Room)["x"], nil)
			})
			f.run("one that is refused has let it expire all the same", func(f *fixture) {
				ann, version := open()
				w := f.watch(ann.Room)
				err := write(f, ann, &version)
				f.equal("reason", hearth.ReasonOf(err), hearth.ReasonVersionConflict)
				f.equal("current", hearth.AsError(err).Current, &hearth.Entry{Key: "k"})
				w.tells("meta k to all")
				f.equal("counted bytes", f.state(ann.Room)["s"]["mb"], "0")
			})
		})
	}
}

func testOwned(f *fixture) {
	f.run("an owned entry goes with its peer, before the leave is told", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		e := f.write(ann, `a"\`, "1", owned)
		f.equal("owner", e.Owner, "ann")
		f.equal("read", f.get(room, `a"\`), e)
		f.write(ann, "b", "1", hearth.Life{Owned: true, TTL: time.Hour})
		f.set(ann, "c", "1")
		f.write(bob, "d", "1", owned)
		w := f.watch(room)
		f.leave(ann)
		told := w.tells(`meta a"\ b to all`, "leave ann left to all but ann")
		for i, key := range []string{`a"\`, "b"} {
			want := hearth.Entry{Key: key, Deleted: true, Reason: hearth.OwnerLeft, ChangeVersion: told[0].Seq, UpdatedAt: told[0].At}
			f.equal("entry", told[0].Entries[i].JSON, string(want.AppendJSON(nil)))
		}
		s := f.state(room)
		f.equal("left", sortedFields(s["m"]), []string{"c", "d"})
		f.equal("goes with peers", sortedFields(s["w"]), []string{"bob/k/d"})
		f.equal("deadlines", s["x"], nil)
		f.equal("counted bytes", s["s"]["mb"], "4")
	})

	f.run("it survives a takeover", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.join(room, "bob")
		f.write(ann, "k", "1", owned)
		ann = f.join(room, "ann")
		if f.get(room, "k").Data == nil {
			f.Error("it is gone")
		}
		f.leave(ann)
		f.equal("afterwards", f.get(room, "k"), hearth.Entry{Key: "k"})
	})

	f.run("whoever writes it next decides whose it is", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.join(room, "eve")
		f.write(ann, "j", "1", owned)
		f.write(ann, "k", "1", owned)
		f.write(ann, "l", "1", owned)
		f.write(bob, "j", "2", owned)
		f.set(bob, "k", "2")
		_, err := f.s.Delete(f.ctx(), room, bob.Writer, "l", nil)
		f.ok(err)
		f.equal("goes with peers", sortedFields(f.state(room)["w"]), []string{"bob/k/j"})
		f.leave(ann)
		f.equal("kept", string(f.get(room, "k").Data), "2")
		w := f.watch(room)
		f.leave(bob)
		w.tells("meta j to all", "leave bob left to all but bob")
	})

	f.run("a peer whose name another's begins with takes only its own along", func(f *fixture) {
		room := f.newRoom()
		for _, peer := range []string{"a", "a.", "a0", "a-b"} {
			f.write(f.join(room, peer), "of "+peer, "1", owned)
		}
		f.leave(f.join(room, "a"))
		f.equal("left", sortedFields(f.state(room)["m"]), []string{"of a-b", "of a.", "of a0"})
	})

	f.run("a removal and a lease that ends take them along, too", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Minute))
		bob := f.join(room, "bob")
		f.join(room, "eve")
		f.write(ann, "a", "1", owned)
		f.write(bob, "b", "1", owned)
		w := f.watch(room)
		_, err := f.s.Remove(f.ctx(), room, store.Writer{}, "bob", "")
		f.ok(err)
		w.tells("meta b to all", "leave bob removed to all but bob")
		f.grow(room, 2*time.Minute)
		w = f.watch(room)
		f.settle(room)
		w.tells("meta a to all", "leave ann timed_out to all but ann")
	})

	f.run("thousands go by one change", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.join(room, "bob")
		for from := range 30 {
			var ops []hearth.Op
			for i := range 100 {
				o := op(hearth.OpSet, strconv.Itoa(from*100+i), "1")
				o.Life = owned
				ops = append(ops, o)
			}
			f.update(ann, ops...)
		}
		w := f.watch(room)
		f.leave(ann)
		f.equal("changes", len(w.take()), 2)
		f.equal("entries", f.state(room)["m"], nil)
		f.equal("goes with peers", f.state(room)["w"], nil)
	})
}
