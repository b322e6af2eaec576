package storetest

import (
	"errors"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func testLeave(f *fixture) {
	for _, reason := range []hearth.LeaveReason{hearth.Left, hearth.TimedOut} {
		f.run("a leave tells its reason: "+string(reason), func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann", bearing("d"), inGroups("red"))
			f.join(room, "bob")
			w := f.watch(room)
			ended, err := f.s.Leave(f.ctx(), room, ann.Writer, reason)
			f.ok(err)
			if ended {
				f.Error("ended the session that bob is in")
			}
			e := w.tells("leave ann " + string(reason) + " to all but ann")[0]
			f.equal("what others are told", e.Body, string(ann.Own.AppendBody(nil))+`,"reason":"`+string(reason)+`"`)
			f.equal("connection that left", e.Conn, ann.Conn)
		})
	}

	f.run("a leave that is not the last takes only its peer along", func(f *fixture) {
		room := f.newRoom()
		bob := f.join(room, "bob", bearing("his"))
		before := f.state(room)
		ann := f.join(room, "ann", bearing("hers"), leased(time.Hour))
		f.leave(ann)
		after := f.state(room)
		f.equal("stored peers", after["c"], before["c"])
		f.equal("stored data", after["p"], before["p"])
		f.equal("due", after["due"], before["due"])
		f.equal("counted data", after["s"]["db"], before["s"]["db"])
		f.equal("seq", after["s"]["seq"], "3")
		f.set(bob, "k", "1")
	})

	f.run("the last leave ends the session and takes everything along", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", bearing("hers"), leased(time.Hour))
		bob := f.join(room, "bob", hidden)
		f.set(ann, "k", "1")
		f.say(ann, "hello")
		op := with(bob.Writer, "op")
		if _, err := f.s.Set(f.ctx(), room, op, "k", []byte("2"), nil, hearth.Life{}); err != nil {
			f.Fatal(err)
		}
		w := f.watch(room)
		if f.leave(ann) {
			f.Error("ended the session that a hidden peer is in")
		}
		if !f.leave(bob) {
			f.Error("the last leave ended nothing")
		}
		end := w.tells("leave ann left to all but ann", "leave bob left to nobody", "end empty to all")[2]
		f.equal("what all are told", end.Body, `"session_id":"`+ann.ID+`","reason":"empty"`)
		f.equal("text", end.Text, `""`)
		f.gone(room)
		f.equal("left in the server", f.leftOverOf(room), []string{})
	})

	f.run("a repeated leave is refused", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		again := func(m member) func() error {
			return func() error {
				_, err := f.s.Leave(f.ctx(), room, m.Writer, hearth.Left)
				return err
			}
		}
		f.leave(ann)
		f.refused(room, hearth.ReasonNotMember, again(ann))
		f.leave(bob)
		f.refused(room, hearth.ReasonSessionEnded, again(bob))
		f.join(room, "bob")
		f.refused(room, hearth.ReasonSessionEnded, again(bob))
	})
}

func testRemove(f *fixture) {
	for _, tt := range []struct {
		name string
		by   func(ann member) store.Writer
		told string
		who  string
	}{
		{
			"a peer removes another", func(ann member) store.Writer { return ann.Writer },
			"leave bob removed by ann to all but bob", "ann",
		},
		{
			"a server removes a peer", func(member) store.Writer { return store.Writer{} },
			"leave bob removed to all but bob", "",
		},
	} {
		f.run(tt.name, func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann")
			bob := f.join(room, "bob", bearing("his"), leased(time.Hour))
			w := f.watch(room)
			ended, err := f.s.Remove(f.ctx(), room, tt.by(ann), "bob", "be \"kind\"\nnext time")
			f.ok(err)
			if ended {
				f.Error("ended the session that ann is in")
			}
			e := w.tells(tt.told)[0]
			f.equal("who did it", e.By, tt.who)
			f.equal("text", e.Text, `"be \"kind\"\nnext time"`)
			f.equal("connection that ended", e.Conn, bob.Conn)
			f.equal("what others are told", e.Body, string(bob.Own.AppendBody(nil))+`,"reason":"removed"`)
			s := f.state(room)
			f.equal("stored peers", sortedFields(s["c"]), []string{"ann"})
			f.equal("stored data", s["p"], map[string]string{})
			f.equal("due", sortedFields(s["due"]), []string{"log/" + room})
			f.refused(room, hearth.ReasonNotMember, func() error {
				_, err := f.s.Set(f.ctx(), room, bob.Writer, "k", []byte("1"), nil, hearth.Life{})
				return err
			})
		})
	}

	f.run("who isn't there can't be removed", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.refused(room, hearth.ReasonNotFound, func() error {
			_, err := f.s.Remove(f.ctx(), room, ann.Writer, "bob", "")
			return err
		})
	})

	f.run("removing the last peer ends the session", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		w := f.watch(room)
		ended, err := f.s.Remove(f.ctx(), room, with(ann.Writer, "op"), "ann", "")
		if err != nil || !ended {
			f.Errorf("ended: %v, %v", ended, err)
		}
		w.tells("leave ann removed by ann to all but ann", "end empty to all")
		f.gone(room)
	})
}

func testEnd(f *fixture) {
	for _, tt := range []struct {
		name string
		by   func(ann member) store.Writer
		told string
	}{
		{"a peer ends the session for all", func(ann member) store.Writer { return ann.Writer }, "end ended by ann to all"},
		{"a server ends the session for all", func(member) store.Writer { return store.Writer{} }, "end ended to all"},
	} {
		f.run(tt.name, func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann", bearing("hers"))
			bob := f.join(room, "bob")
			f.join(room, "ghost", hidden)
			f.set(bob, "k", "1")
			w := f.watch(room)
			id, err := f.s.End(f.ctx(), room, tt.by(ann), `that's "all"`)
			f.ok(err)
			f.equal("session that ended", id, ann.ID)
			e := w.tells(tt.told)[0]
			f.equal("text", e.Text, `"that's \"all\""`)
			f.equal("what all are told", e.Body, `"session_id":"`+ann.ID+`","reason":"ended"`)
			f.gone(room)
			for _, m := range []member{ann, bob} {
				f.refused(room, hearth.ReasonSessionEnded, func() error {
					_, err := f.s.End(f.ctx(), room, m.Writer, "")
					return err
				})
			}
		})
	}

	f.run("a lease that outlives its session is dropped when it is due", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Millisecond))
		_, err := f.s.End(f.ctx(), room, ann.Writer, "")
		f.ok(err)
		w := f.watch(room)
		f.settle(room)
		w.tells()
		f.gone(room)
	})

	f.run("a lease that outlives its session spares the next one", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Millisecond))
		_, err := f.s.End(f.ctx(), room, ann.Writer, "")
		f.ok(err)
		next := f.join(room, "ann")
		f.equal("due", sortedFields(f.state(room)["due"]), []string{"dead/" + room + "/" + ann.ID, "log/" + room, "peer/" + room + "/ann"})
		w := f.watch(room)
		f.settle(room)
		w.tells()
		f.equal("due", sortedFields(f.state(room)["due"]), []string{"log/" + room})
		f.set(next, "k", "1")
	})
}

// leftOverOf lists the keys of the server that name the room.
func (f *fixture) leftOverOf(room string) (found []string) {
	f.Helper()
	tag := len(f.tag(room)) - len(f.env.Prefix+":")
	for _, key := range f.leftOver() {
		for _, k := range kinds {
			if key[min(tag, len(key)):] == k.before+room+k.after {
				found = append(found, key)
			}
		}
	}
	return found
}

// testFence calls every write with every fence that is not the caller's.
func testFence(f *fixture) {
	name, data := "new name", "new data"
	writes := []struct {
		name   string
		server bool // a server may do it
		call   func(f *fixture, room string, w store.Writer) error
	}{
		{"leave", false, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Leave(f.ctx(), room, w, hearth.Left)
			return err
		}},
		{"renew", false, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Renew(f.ctx(), room, w)
			return err
		}},
		{"remove", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Remove(f.ctx(), room, w, "bob", "")
			return err
		}},
		{"end", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.End(f.ctx(), room, w, "")
			return err
		}},
		{"set", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Set(f.ctx(), room, w, "k", []byte("2"), nil, hearth.Life{})
			return err
		}},
		{"delete", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Delete(f.ctx(), room, w, "k", nil)
			return err
		}},
		{"update", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.Update(f.ctx(), room, w, []hearth.Op{{Kind: hearth.OpIncrement, Key: "k", By: "1"}})
			return err
		}},
		{"broadcast", true, func(f *fixture, room string, w store.Writer) error {
			w.Op = "m"
			_, err := f.s.Broadcast(f.ctx(), room, w, message("hi"))
			return err
		}},
		{"update peer", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.UpdatePeer(f.ctx(), room, w, "ann", &name, &data)
			return err
		}},
		{"set role", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.SetRole(f.ctx(), room, w, "ann", "other")
			return err
		}},
		{"ask role", true, func(f *fixture, room string, w store.Writer) error {
			return f.s.AskRole(f.ctx(), room, w, "bob", "other")
		}},
		{"add to group", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.AddToGroup(f.ctx(), room, w, "ann", "blue")
			return err
		}},
		{"remove from group", true, func(f *fixture, room string, w store.Writer) error {
			_, err := f.s.RemoveFromGroup(f.ctx(), room, w, "ann", "red")
			return err
		}},
	}
	fences := []struct {
		name   string
		reason hearth.Reason
		fence  func(own store.Writer) store.Writer
	}{
		{"of an ended session", hearth.ReasonSessionEnded, func(w store.Writer) store.Writer {
			w.Session = hearth.NewSessionID()
			return w
		}},
		{"of a replaced connection", hearth.ReasonNotMember, func(w store.Writer) store.Writer {
			w.Conn = hearth.NewConnSecret()
			return w
		}},
		{"of a replaced connection and any session", hearth.ReasonNotMember, func(w store.Writer) store.Writer {
			w.Conn, w.Session = hearth.NewConnSecret(), ""
			return w
		}},
		{"without a connection", hearth.ReasonNotMember, func(w store.Writer) store.Writer { w.Conn = ""; return w }},
		{"of a server with a replaced connection", hearth.ReasonNotMember, func(w store.Writer) store.Writer {
			w.Conn, w.User = hearth.NewConnSecret(), ""
			return w
		}},
		{"of another user", hearth.ReasonNotMember, func(w store.Writer) store.Writer { w.User = "mallory"; return w }},
		{"of another peer", hearth.ReasonNotMember, func(w store.Writer) store.Writer { w.Peer = "bob"; return w }},
		{"of a peer that isn't there", hearth.ReasonNotMember, func(w store.Writer) store.Writer { w.Peer = "eve"; return w }},
		{"of a server, for an ended session", hearth.ReasonSessionEnded, func(store.Writer) store.Writer {
			return store.Writer{Session: hearth.NewSessionID()}
		}},
	}
	// open makes a room in which each write would change something.
	open := func(f *fixture) (string, store.Writer) {
		room := f.newRoom()
		ann := f.join(room, "ann", leased(time.Hour), inGroups("red"))
		f.join(room, "bob", leased(time.Hour))
		f.set(ann, "k", "1")
		return room, ann.Writer
	}
	for _, write := range writes {
		f.run(write.name, func(f *fixture) {
			room, own := open(f)
			for _, tt := range fences {
				f.run("is refused with the fence "+tt.name, func(f *fixture) {
					f.refused(room, tt.reason, func() error { return write.call(f, room, tt.fence(own)) })
				})
			}
			f.run("is done with the right fence", func(f *fixture) {
				before := f.state(room)
				f.ok(write.call(f, room, own))
				if write.name != "renew" && cmp.Equal(before, f.state(room)) {
					f.Error("changed nothing")
				}
			})
			f.run("is done without naming the session", func(f *fixture) {
				room, own := open(f)
				own.Session = ""
				f.ok(write.call(f, room, own))
			})
			f.run("is done by a server that has the peer's connection", func(f *fixture) {
				room, own := open(f)
				own.User = ""
				f.ok(write.call(f, room, own))
			})
			f.run("is done by the role that the store has", func(f *fixture) {
				for _, tt := range []struct {
					by    string // the role by which it was allowed; ann is a guest
					says  error  // what is decided by another role
					asked int
				}{
					{"guest", errors.New("not to be asked"), 0},
					{"host", nil, 1},
					{"host", hearth.Errorf(hearth.ReasonForbidden, "no"), 1},
					{"", nil, 1},
					{"", hearth.Errorf(hearth.ReasonForbidden, "no"), 1},
				} {
					room, own := open(f)
					asked := 0
					own.Role, own.Allow = tt.by, func(role string) error {
						asked++
						f.equal("role asked about", role, "guest")
						return tt.says
					}
					call := func() error { return write.call(f, room, own) }
					if tt.asked > 0 && tt.says != nil {
						f.refused(room, hearth.ReasonForbidden, call)
					} else {
						f.ok(call())
					}
					f.equal("asked", asked, tt.asked)
				}
			})
			if write.server {
				f.run("is done by a server", func(f *fixture) {
					room, own := open(f)
					f.ok(write.call(f, room, store.Writer{Session: own.Session}))
					room, _ = open(f)
					f.ok(write.call(f, room, store.Writer{}))
				})
			}
			f.run("is refused in a room without a session", func(f *fixture) {
				room := f.newRoom()
				f.refused(room, hearth.ReasonSessionEnded, func() error { return write.call(f, room, own) })
				f.refused(room, hearth.ReasonNoSession, func() error {
					w := own
					w.Session = ""
					return write.call(f, room, w)
				})
				f.refused(room, hearth.ReasonNoSession, func() error { return write.call(f, room, store.Writer{}) })
			})
			f.run("is refused in the next session", func(f *fixture) {
				room, old := open(f)
				_, err := f.s.End(f.ctx(), room, store.Writer{}, "")
				f.ok(err)
				q := request(room, "ann")
				q.Conn = old.Conn // even if the connection were the same
				_, err = f.s.Join(f.ctx(), q)
				f.ok(err)
				f.refused(room, hearth.ReasonSessionEnded, func() error { return write.call(f, room, old) })
			})
		})
	}

	f.run("a role that changes again while it is decided is for the caller to try again", func(f *fixture) {
		room, own := open(f)
		own.Role, own.Allow = "host", func(string) error {
			f.setRole(room, "ann", "speaker")
			return nil
		}
		_, err := f.s.Set(f.ctx(), room, own, "k", []byte("2"), nil, hearth.Life{})
		f.equal("reason", hearth.ReasonOf(err), hearth.ReasonUnavailable)
		f.equal("value", string(f.get(room, "k").Data), "1")
	})
}

// setRole writes another role into a peer's record.
func (f *fixture) setRole(room, peer, role string) {
	f.Helper()
	record, err := f.env.Client.HGet(f.ctx(), f.key("c", room), peer).Result()
	f.ok(err)
	lines := strings.Split(record, "\n")
	lines[2] = role
	f.ok(f.env.Client.HSet(f.ctx(), f.key("c", room), peer, strings.Join(lines, "\n")).Err())
}
