package storetest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func testPeer(f *fixture) {
	text := func(s string) *string { return &s }
	for _, tt := range []struct {
		name       string
		newName    *string
		newData    *string
		want       hearth.Peer
		told       bool
		wantStored string // data
	}{
		{"a new name", text(`B "ob"`), nil, hearth.Peer{Name: `B "ob"`, Data: "d"}, true, `"d"`},
		{"new data", nil, text("e\n"), hearth.Peer{Name: "Bob", Data: "e\n"}, true, `"e\n"`},
		{"both", text("B"), text("e"), hearth.Peer{Name: "B", Data: "e"}, true, `"e"`},
		{"an empty name", text(""), nil, hearth.Peer{Name: "", Data: "d"}, true, `"d"`},
		{"empty data is removed", nil, text(""), hearth.Peer{Name: "Bob", Data: ""}, true, ""},
		{"nothing is no change", nil, nil, hearth.Peer{Name: "Bob", Data: "d"}, false, `"d"`},
		{"the same is no change", text("Bob"), text("d"), hearth.Peer{Name: "Bob", Data: "d"}, false, `"d"`},
		{"one same, one new", text("Bob"), text("e"), hearth.Peer{Name: "Bob", Data: "e"}, true, `"e"`},
	} {
		for by, writer := range map[string]func(ann, bob member) store.Writer{
			"itself":   func(_, bob member) store.Writer { return bob.Writer },
			"another":  func(ann, _ member) store.Writer { return ann.Writer },
			"a server": func(_, _ member) store.Writer { return store.Writer{} },
		} {
			f.run(tt.name+", by "+by, func(f *fixture) {
				room := f.newRoom()
				ann := f.join(room, "ann")
				bob := f.join(room, "bob", named("Bob"), bearing("d"), inGroups("red"), ofRole("host"))
				before := f.record(room, "bob")
				w := f.watch(room)
				got, err := f.s.UpdatePeer(f.ctx(), room, writer(ann, bob), "bob", tt.newName, tt.newData)
				f.ok(err)
				want := bob.Own
				want.Name, want.Data = tt.want.Name, tt.want.Data
				f.equal("returned", got, want)
				_, read, err := f.s.Peer(f.ctx(), room, "", "bob")
				f.ok(err)
				f.equal("read", read, want)
				before.name = hearth.QuoteString(want.Name)
				f.equal("stored peer", f.record(room, "bob"), before)
				s := f.state(room)
				f.equal("stored data", s["p"]["bob"], tt.wantStored)
				f.equal("counted data", s["s"]["db"], strconv.Itoa(len(tt.wantStored)))
				if !tt.told {
					w.tells()
					return
				}
				e := w.tells("update bob to all")[0]
				f.equal("what all are told", e.Body, string(want.AppendBody(nil)))
				if e.Role != "host" || strings.Join(e.Groups, " ") != "red" || e.Conn != bob.Conn {
					f.Errorf("the event says %+v", e)
				}
			})
		}
	}

	f.run("a hidden peer's change is told to nobody", func(f *fixture) {
		room := f.newRoom()
		ghost := f.join(room, "ghost", hidden)
		w := f.watch(room)
		_, err := f.s.UpdatePeer(f.ctx(), room, ghost.Writer, "ghost", text("Boo"), nil)
		f.ok(err)
		_, err = f.s.AddToGroup(f.ctx(), room, ghost.Writer, "ghost", "red")
		f.ok(err)
		w.tells("update ghost to nobody", "update ghost to nobody")
	})

	f.run("who isn't there can't be changed or read", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for name, call := range map[string]func() error{
			"update": func() error {
				_, err := f.s.UpdatePeer(f.ctx(), room, ann.Writer, "bob", text("B"), nil)
				return err
			},
			"add":    func() error { _, err := f.s.AddToGroup(f.ctx(), room, ann.Writer, "bob", "red"); return err },
			"remove": func() error { _, err := f.s.RemoveFromGroup(f.ctx(), room, ann.Writer, "bob", "red"); return err },
			"read":   func() error { _, _, err := f.s.Peer(f.ctx(), room, "", "bob"); return err },
		} {
			f.run(name, func(f *fixture) { f.refused(room, hearth.ReasonNotFound, call) })
		}
	})

	f.run("a hidden peer can be read", func(f *fixture) {
		room := f.newRoom()
		ghost := f.join(room, "ghost", hidden, bearing("d"))
		_, p, err := f.s.Peer(f.ctx(), room, ghost.ID, "ghost")
		f.ok(err)
		f.equal("read", p, ghost.Own)
		if !p.Hidden {
			f.Error("it isn't hidden")
		}
	})

	f.run("data of all peers has a limit", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann", bearing("1234"))
		full := hearth.MaxSessionData - 2
		f.ok(f.env.Client.HSet(f.ctx(), f.key("s", room), "db", full).Err())
		update := func(data string) func() error {
			return func() error {
				_, err := f.s.UpdatePeer(f.ctx(), room, ann.Writer, "ann", text("new name"), &data)
				return err
			}
		}
		f.refused(room, hearth.ReasonTooLarge, update("1234567"))
		f.ok(update("123456")())
		f.equal("counted", f.state(room)["s"]["db"], strconv.Itoa(hearth.MaxSessionData))
		f.ok(update("654321")())
		f.ok(f.env.Client.HSet(f.ctx(), f.key("s", room), "db", hearth.MaxSessionData+100).Err())
		f.refused(room, hearth.ReasonTooLarge, update("1234567"))
		f.ok(update("1")()) // less than before
	})
}

func testGroups(f *fixture) {
	f.run("a peer is put into groups and taken out of them", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		bob := f.join(room, "bob", bearing("d"))
		w := f.watch(room)
		for _, step := range []struct {
			add   bool
			by    store.Writer
			group string
			want  []string
			told  bool
		}{
			{true, bob.Writer, "red", []string{"red"}, true},
			{true, ann.Writer, "blue", []string{"red", "blue"}, true},
			{true, bob.Writer, "red", []string{"red", "blue"}, false},
			{true, store.Writer{}, "a.b-c", []string{"red", "blue", "a.b-c"}, true},
			{false, ann.Writer, "blue", []string{"red", "a.b-c"}, true},
			{false, ann.Writer, "blue", []string{"red", "a.b-c"}, false},
			{false, ann.Writer, "re", []string{"red", "a.b-c"}, false},
			{false, bob.Writer, "red", []string{"a.b-c"}, true},
			{false, bob.Writer, "axb-c", []string{"a.b-c"}, false},
			{false, store.Writer{}, "a.b-c", nil, true},
			{true, store.Writer{}, "red", []string{"red"}, true},
		} {
			regroup := f.s.RemoveFromGroup
			if step.add {
				regroup = f.s.AddToGroup
			}
			got, err := regroup(f.ctx(), room, step.by, "bob", step.group)
			f.ok(err)
			f.equal("returned", got, step.want)
			f.equal("stored", f.record(room, "bob").groups, strings.Join(step.want, ","))
			_, p, err := f.s.Peer(f.ctx(), room, "", "bob")
			f.ok(err)
			f.equal("read", p.Groups, step.want)
			if !step.told {
				w.tells()
				continue
			}
			e := w.tells("update bob to all")[0]
			f.equal("told groups", e.Groups, step.want)
			f.equal("what all are told", e.Body, string(p.AppendBody(nil)))
		}
	})

	f.run("the number of a peer's groups has a limit", func(f *fixture) {
		room := f.newRoom()
		groups := make([]string, hearth.MaxGroups)
		for i := range groups {
			groups[i] = fmt.Sprintf("g%d", i)
		}
		ann := f.join(room, "ann", inGroups(groups[1:]...))
		_, err := f.s.AddToGroup(f.ctx(), room, ann.Writer, "ann", groups[0])
		f.ok(err)
		f.refused(room, hearth.ReasonTooMany, func() error {
			_, err := f.s.AddToGroup(f.ctx(), room, ann.Writer, "ann", "more")
			return err
		})
		f.unchanged(room, func() error {
			_, err := f.s.AddToGroup(f.ctx(), room, ann.Writer, "ann", groups[5])
			return err
		})
	})
}
