package storetest

import (
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func testOrder(f *fixture) {
	// busy makes a change of each kind. What watch and its take check is that they follow each other.
	busy := func(f *fixture, room string) (ann, bob member) {
		ann, bob = f.join(room, "ann"), f.join(room, "bob")
		f.set(ann, "k", "1")
		f.say(bob, "hi")
		ann = f.join(room, "ann", named("new")) // two changes of one script
		name := "newer"
		_, err := f.s.UpdatePeer(f.ctx(), room, bob.Writer, "ann", &name, nil)
		f.ok(err)
		_, err = f.s.AddToGroup(f.ctx(), room, bob.Writer, "ann", "red")
		f.ok(err)
		_, err = f.s.Update(f.ctx(), room, bob.Writer, []hearth.Op{op(hearth.OpIncrement, "n", "1"), op(hearth.OpSet, "l", "2")})
		f.ok(err)
		_, err = f.s.Delete(f.ctx(), room, ann.Writer, "k", nil)
		f.ok(err)
		f.join(room, "eve")
		_, err = f.s.Remove(f.ctx(), room, ann.Writer, "eve", "")
		f.ok(err)
		return ann, bob
	}
	kinds := "join ann|join bob|meta ann k|msg bob|conn ann|update ann|update ann|update ann|meta bob n l|meta ann k|join eve|leave eve removed by ann"
	check := func(f *fixture, events []*hearth.Event, ends ...string) {
		f.Helper()
		want := append(strings.Split(kinds, "|"), ends...)
		for i, e := range events {
			if i >= len(want) || !strings.HasPrefix(summary(e)+" ", want[i]+" ") || e.Seq != uint64(i+1) {
				f.Errorf("change %d: %s", i+1, header(e))
			}
		}
		if len(events) != len(want) {
			f.Errorf("%d changes, not %d", len(events), len(want))
		}
		if events[0].Prev != "" {
			f.Errorf("the first change follows %q", events[0].Prev)
		}
	}

	f.run("changes take one seq after the other, each naming the nonce before it, to the end", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		ann, bob := busy(f, room)
		ses, err := f.s.Room(f.ctx(), room)
		f.ok(err)
		log, err := f.s.Log(f.ctx(), room, "", 0, 100)
		f.ok(err)
		events := w.take()
		check(f, events)
		f.equal("the state's cursor is that of the newest change", ses.Cursor(), events[len(events)-1].Cursor)
		for i, text := range log.Events {
			f.equal("logged", parse(f, text), events[i])
		}
		f.equal("all is logged", len(log.Events), len(events))
		f.leave(ann)
		f.leave(bob)
		w.tells("leave ann left to all but ann", "leave bob left to all but bob", "end empty to all")
	})

	f.run("a session that is ended by force ends its stream", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		busy(f, room)
		_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
		f.ok(err)
		check(f, w.take(), "end ended to all")
	})

	f.run("the next session begins anew and sees nothing of the last", func(f *fixture) {
		room := f.newRoom()
		w := f.watch(room)
		ann, bob := busy(f, room)
		f.set(bob, "secret", `"of the last session"`)
		first := w.take()
		f.leave(ann)
		f.leave(bob)
		w.take()

		next := f.join(room, "ann", watching("*", "secret"), shown(200))
		if next.ID == ann.ID || next.Epoch == ann.Epoch || next.Seq != 1 || next.Nonce == first[0].Nonce || next.TakenOver {
			f.Errorf("after %+v came %+v", ann.Joined.Session, next.Joined.Session)
		}
		f.equal("peers", ids(next.Peers), []string{"ann"})
		f.equal("own groups", next.Own.Groups, nil)
		f.equal("entries", briefly(next.Entries), []string{"secret absent"})
		f.equal("entry", f.get(room, "secret"), hearth.Entry{Key: "secret"})
		_, entries, _, err := f.s.List(f.ctx(), room, "", "", "", 100)
		f.ok(err)
		f.equal("list", entries, nil)
		log, err := f.s.Log(f.ctx(), room, "", 0, 100)
		f.ok(err)
		f.equal("log", len(log.Events), 1)
		s := f.state(room)
		f.equal("all that is there", sortedKinds(s), []string{"c", "due", "l", "rooms", "s", "sums", "users"})
		f.equal("session", sortedFields(s["s"]), []string{"at", "ep", "id", "lb", "n", "pc", "pk", "seq"})
		w.tells("join ann to all but ann")
	})

	f.run("changes at the same time follow each other as well", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		w := f.watch(room)
		f.together(20, func(i int) {
			if _, err := f.s.Set(f.ctx(), room, ann.Writer, "k", []byte(strconv.Itoa(i)), nil, hearth.Life{}); err != nil {
				f.Error(err)
			}
		})
		if n := len(w.take()); n != 20 {
			f.Errorf("%d changes", n)
		}
	})
}

func sortedKinds(s state) (out []string) {
	all := map[string]string{}
	for kind := range s {
		all[kind] = ""
	}
	return sortedFields(all)
}

// testNumbers lets seqs grow as far as they can: every number that a script writes has to be whole, with all its digits.
func testNumbers(f *fixture) {
	for _, start := range []uint64{1<<31 - 2, 1<<32 - 2, 99_999_999_999_998, 9_007_199_254_740_000} {
		f.run("beyond "+strconv.FormatUint(start, 10), func(f *fixture) {
			room := f.newRoom()
			ann, bob := f.join(room, "ann", leased(1e9*3600)), f.join(room, "bob")
			f.ok(f.env.Client.HSet(f.ctx(), f.key("s", room), "seq", start).Err())
			w := f.watch(room)

			v := f.set(ann, "k", "1")
			f.equal("version", v, start+1)
			f.equal("read", f.get(room, "k").ChangeVersion, start+1)
			c, err := f.s.Update(f.ctx(), room, bob.Writer, []hearth.Op{op(hearth.OpSet, "k", "2", v), op(hearth.OpIncrement, "n", "1")})
			f.ok(err)
			f.equal("version", c.Seq, start+2)
			again := f.join(room, "bob", named("new"))
			f.equal("seq of a takeover", again.Seq, start+4)
			eve := f.join(room, "eve")
			f.equal("seq of a join", f.record(room, "eve").seq, start+5)
			f.equal("seq of a message", f.say(eve, "hi").Seq, start+6)
			del, err := f.s.Delete(f.ctx(), room, eve.Writer, "k", &c.Seq)
			f.ok(err)
			f.equal("version", del.Seq, start+7)

			events := w.take()
			for i, e := range events {
				if e.Seq != start+1+uint64(i) || e.At/1e9 < 1_000 || e.At/1e9 > 9_999 { // thirteen digits
					f.Errorf("change %d: %s at %d", i+1, header(e), e.At)
				}
			}
			f.equal("changes", len(events), 7)
			log, err := f.s.Log(f.ctx(), room, "", start+3, 2)
			f.ok(err)
			f.equal("oldest", log.Oldest, start+8-9) // two changes came before seq was moved
			f.equal("log", []uint64{parse(f, log.Events[0]).Seq, parse(f, log.Events[1]).Seq}, []uint64{start + 4, start + 5})

			s := f.state(room)
			for kind, fields := range s {
				for field, value := range fields {
					if kind != "l" && kind != "p" && strings.ContainsAny(strings.SplitN(value, "\n", 2)[0], "eE.+") && !isID(kind, field) {
						f.Errorf("%s %s is not whole: %q", kind, field, value)
					}
				}
			}
			if _, err := f.s.Renew(f.ctx(), room, ann.Writer); err != nil {
				f.Error(err)
			}
		})
	}
}

// isID reports whether a stored field begins with an identifier, in which any character can be.
func isID(kind, field string) bool {
	return kind == "c" || kind == "sums" || kind == "v" || kind == "users" || kind == "s" && (field == "id" || field == "ep" || field == "n")
}
