package storetest

import (
	"strings"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// giveRole gives a peer another role as a server.
func (f *fixture) giveRole(room, peer, role string) {
	f.Helper()
	_, err := f.s.SetRole(f.ctx(), room, store.Writer{}, peer, role)
	f.ok(err)
}

func testRole(f *fixture) {
	for _, tt := range []struct {
		name string
		by   func(ann member) store.Writer
	}{
		{"a peer", func(ann member) store.Writer { return ann.Writer }},
		{"a server", func(member) store.Writer { return store.Writer{} }},
	} {
		f.run(tt.name+" gives another a role", func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann")
			bob := f.join(room, "bob", bearing("his"), inGroups("red"))
			w := f.watch(room)
			p, err := f.s.SetRole(f.ctx(), room, tt.by(ann), "bob", "speaker")
			f.ok(err)
			want := bob.Own
			want.Role = "speaker"
			f.equal("peer", p, want)
			e := w.tells("update bob to all")[0]
			f.equal("what all are told", e.Body, string(want.AppendBody(nil)))
			if e.Role != "speaker" || strings.Join(e.Groups, " ") != "red" || e.Conn != bob.Conn {
				f.Errorf("the event says %+v", e)
			}
			f.equal("stored", f.record(room, "bob").role, "speaker")
			f.set(bob, "k", "1") // the connection is the same
			f.unchanged(room, func() error {
				_, err := f.s.SetRole(f.ctx(), room, tt.by(ann), "bob", "speaker")
				return err
			})
		})
	}

	f.run("it wins when the user takes over and when it joins again, for the session", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.join(room, "bob", ofUser("bo\"b"), ofRole("guest"))
		f.giveRole(room, "bob", "speaker")
		bob := f.join(room, "bob", ofUser("bo\"b"), ofRole("guest"))
		f.equal("role after a takeover", bob.Own.Role, "speaker")
		f.leave(bob)
		w := f.watch(room)
		bob = f.join(room, "bob2", ofUser("bo\"b"), ofRole("guest"))
		f.equal("role of the next join", bob.Own.Role, "speaker")
		f.equal("what others are told", w.tells("join bob2 to all but bob2")[0].Role, "speaker")
		f.equal("role of another user", f.join(room, "eve", ofRole("guest")).Own.Role, "guest")
		f.giveRole(room, "bob2", "mute")
		f.leave(bob)
		f.equal("role of the newest", f.join(room, "bob", ofUser("bo\"b")).Own.Role, "mute")
		_, err := f.s.End(f.ctx(), room, ann.Writer, "")
		f.ok(err)
		f.gone(room)
		f.equal("role in the next session", f.join(room, "bob", ofUser("bo\"b"), ofRole("guest")).Own.Role, "guest")
	})

	f.run("a hidden peer's role is told to nobody", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ghost", hidden)
		w := f.watch(room)
		f.giveRole(room, "ghost", "speaker")
		f.equal("role", w.tells("update ghost to nobody")[0].Role, "speaker")
	})

	f.run("a role that the user has is kept all the same", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		bob := f.join(room, "bob", ofRole("speaker"))
		w := f.watch(room)
		f.giveRole(room, "bob", "speaker")
		w.tells()
		f.leave(bob)
		f.equal("role", f.join(room, "bob", ofRole("guest")).Own.Role, "speaker")
	})

	f.run("who isn't there gets none", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.refused(room, hearth.ReasonNotFound, func() error {
			_, err := f.s.SetRole(f.ctx(), room, ann.Writer, "bob", "speaker")
			return err
		})
	})

	f.run("a session keeps as many as it may have peers, twice", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxPeers: 2})
		room := f.newRoom()
		ann := f.join(room, "ann")
		for _, user := range []string{"u1", "u2", "u3", "u4"} {
			m := f.join(room, "bob", ofUser(user))
			f.giveRole(room, "bob", "speaker")
			f.leave(m)
		}
		f.join(room, "bob", ofUser("u5"))
		f.refused(room, hearth.ReasonTooMany, func() error {
			_, err := f.s.SetRole(f.ctx(), room, ann.Writer, "bob", "speaker")
			return err
		})
		f.leave(f.join(room, "bob", ofUser("u5")))
		f.join(room, "bob", ofUser("u4"))
		f.giveRole(room, "bob", "mute")
	})
}

// ask asks bob to take a role and returns the token that he is told.
func (f *fixture) ask(w *watcher, by member, role string) string {
	f.Helper()
	f.ok(f.s.AskRole(f.ctx(), by.Room, by.Writer, "bob", role))
	e := w.tells("ask bob to bob")[0]
	before, token, ok := strings.Cut(e.Body, `,"token":"`)
	f.equal("what the peer is told", before, `"requested_by":"`+by.Peer+`","role":"`+role+`"`)
	if token = strings.TrimSuffix(token, `"`); !ok || len(token) != 22 {
		f.Errorf("the event says %s", e.Body)
	}
	f.equal("user", e.Audience.User, `"u-bob"`)
	return token
}

func testRoleRequest(f *fixture) {
	open := func(f *fixture) (ann, bob member, w *watcher) {
		room := f.newRoom()
		return f.join(room, "ann"), f.join(room, "bob", bearing("his")), f.watch(room)
	}
	accept := func(f *fixture, m member, by, role, token string) error {
		_, err := f.s.AcceptRole(f.ctx(), m.Room, m.Writer, by, role, token)
		return err
	}

	for _, by := range []string{"ann", ""} {
		f.run("the peer accepts, once, what was asked by "+by, func(f *fixture) {
			ann, bob, w := open(f)
			token := f.ask(w, ann, "speaker")
			p, err := f.s.AcceptRole(f.ctx(), bob.Room, bob.Writer, by, "speaker", token)
			f.ok(err)
			want := bob.Own
			want.Role = "speaker"
			f.equal("peer", p, want)
			f.equal("what all are told", w.tells("update bob to all")[0].Body, string(want.AppendBody(nil)))
			f.equal("kept of it", f.state(bob.Room)["v"], nil)
			f.refused(bob.Room, hearth.ReasonNotFound, func() error { return accept(f, bob, "ann", "speaker", token) })
			f.leave(bob)
			f.equal("role of the next join", f.join(bob.Room, "bob").Own.Role, "guest")
		})
	}

	f.run("nothing else accepts", func(f *fixture) {
		ann, bob, w := open(f)
		token := f.ask(w, ann, "speaker")
		for name, call := range map[string]func() error{
			"another token":     func() error { return accept(f, bob, "ann", "speaker", hearth.NewRoleToken()) },
			"no token":          func() error { return accept(f, bob, "ann", "speaker", "") },
			"another role":      func() error { return accept(f, bob, "ann", "host", token) },
			"another requester": func() error { return accept(f, bob, "bob", "speaker", token) },
			"another peer":      func() error { return accept(f, ann, "ann", "speaker", token) },
		} {
			f.run(name, func(f *fixture) { f.refused(bob.Room, hearth.ReasonNotFound, call) })
		}
		stale := bob
		stale.Conn = hearth.NewConnSecret()
		f.refused(bob.Room, hearth.ReasonNotMember, func() error { return accept(f, stale, "ann", "speaker", token) })
		f.ok(accept(f, bob, "ann", "speaker", token))
	})

	f.run("a newer request replaces the one before", func(f *fixture) {
		ann, bob, w := open(f)
		old := f.ask(w, ann, "speaker")
		token := f.ask(w, ann, "speaker")
		f.refused(bob.Room, hearth.ReasonNotFound, func() error { return accept(f, bob, "ann", "speaker", old) })
		f.ok(accept(f, bob, "ann", "speaker", token))
	})

	f.run("it stands for a minute", func(f *fixture) {
		ann, bob, w := open(f)
		for _, tt := range []struct {
			age    time.Duration
			reason hearth.Reason
		}{{hearth.RoleRequestTime - 10*time.Second, ""}, {hearth.RoleRequestTime, hearth.ReasonNotFound}} {
			token := f.ask(w, ann, "speaker")
			f.askedAgo(bob.Room, "bob", tt.age)
			f.equal("refusal", hearth.ReasonOf(accept(f, bob, "ann", "speaker", token)), tt.reason)
			w.take()
		}
	})

	f.run("it goes with the peer, and survives a takeover", func(f *fixture) {
		ann, bob, w := open(f)
		token := f.ask(w, ann, "speaker")
		bob = f.join(bob.Room, "bob")
		f.ok(accept(f, bob, "ann", "speaker", token))
		w.take()
		token = f.ask(w, ann, "mute")
		f.leave(bob)
		f.equal("kept of it", f.state(bob.Room)["v"], nil)
		bob = f.join(bob.Room, "bob")
		f.equal("refusal", hearth.ReasonOf(accept(f, bob, "ann", "mute", token)), hearth.ReasonNotFound)
	})

	f.run("a role that is given calls it off; one that is accepted replaces what was given", func(f *fixture) {
		ann, bob, w := open(f)
		token := f.ask(w, ann, "speaker")
		f.giveRole(bob.Room, "bob", "mute")
		f.refused(bob.Room, hearth.ReasonNotFound, func() error { return accept(f, bob, "ann", "speaker", token) })
		w.take()
		f.ok(accept(f, bob, "ann", "speaker", f.ask(w, ann, "speaker")))
		f.leave(bob)
		f.equal("role of the next join", f.join(bob.Room, "bob").Own.Role, "speaker")
	})

	f.run("a server asks without a name", func(f *fixture) {
		_, bob, w := open(f)
		f.ok(f.s.AskRole(f.ctx(), bob.Room, store.Writer{}, "bob", "speaker"))
		body := w.tells("ask bob to bob")[0].Body
		role, token, _ := strings.Cut(body, `,"token":"`)
		f.equal("what the peer is told", role, `"role":"speaker"`)
		f.ok(accept(f, bob, "", "speaker", strings.TrimSuffix(token, `"`)))
	})

	f.run("a repeat with an op_id is done once", func(f *fixture) {
		ann, bob, w := open(f)
		token := f.ask(w, ann, "speaker")
		again := bob
		again.Writer = with(bob.Writer, "op")
		f.ok(accept(f, again, "ann", "speaker", token))
		f.unchanged(bob.Room, func() error { return accept(f, again, "ann", "speaker", token) })
		w.take()
		token = f.ask(w, ann, "mute")
		few := f.limited(hearth.Limits{MaxOps: 1})
		again.Writer = with(bob.Writer, "another")
		few.refused(bob.Room, hearth.ReasonTooMany, func() error { return accept(few, again, "ann", "mute", token) })
	})

	f.run("who isn't there can't be asked", func(f *fixture) {
		ann, _, _ := open(f)
		f.refused(ann.Room, hearth.ReasonNotFound, func() error {
			return f.s.AskRole(f.ctx(), ann.Room, ann.Writer, "eve", "speaker")
		})
	})
}

// askedAgo makes the request to a peer older by d.
func (f *fixture) askedAgo(room, peer string, d time.Duration) {
	f.Helper()
	key := f.key("v", room)
	rec, err := f.env.Client.HGet(f.ctx(), key, "a/"+peer).Result()
	f.ok(err)
	i := strings.LastIndexByte(rec, ' ') + 1
	at := parseMillis(f, rec[i:])
	f.ok(f.env.Client.HSet(f.ctx(), key, "a/"+peer, rec[:i]+formatMillis(at-d.Milliseconds())).Err())
}
