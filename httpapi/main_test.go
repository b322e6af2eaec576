package httpapi

import (
	"strings"
	"testing"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/node"
)

// each runs a flow on every kind of Redis, over two nodes.
func each(t *testing.T, flow func(c *cluster)) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) { flow(newClusterOn(t, s, setup{})) })
}

func TestJoinOrderOnTheSocket(t *testing.T) {
	each(t, func(c *cluster) {
		a := c.join(0, "r", "ann", "host", object{"name": "Ann", "data": "d", "groups": []string{"g"}})
		a.ok("set-metadata", object{"key": "k", "data": 1})
		b := c.connect(1, "r", "bob", "guest")
		b.send(`{"id":7,"method":"join","params":{"name":"Bob","listen":["k","gone","x*"]}}`)
		reply := b.first()
		has(b, "join", reply, "id", "7", "result.peer_id", "bob", "result.room_id", "r", "result.session_id", a.sess,
			"result.seq", "3", "result.resumed", "false", "result.recovered", "false")
		list := b.first()
		has(b, "peer-list", list, "method", "peer-list", "params.snapshot", "true", "params.total", "2",
			"params.truncated", "false", "params.room.name", "r", "params.room.session_id", a.sess, "params.seq", "3",
			"params.peers.#", "2", "params.peers.ann.info.name", "Ann", "params.peers.ann.info.data", "d",
			"params.peers.ann.groups.0", "g", "params.peers.bob.info.user_id", "u-bob", "params.peers.bob.realtime", "true",
			"params.room.started_at", at(b, reply, "result.started_at"))
		watched := b.first()
		has(b, "watched", watched, "method", "on-metadata-change", "params.snapshot", "true", "params.seq", "3",
			"params.values.#", "2", "params.values.0.key", "gone", "params.values.0.data", "null",
			"params.values.0.change_version", "0", "params.values.1.key", "k", "params.values.1.data", "1",
			"params.values.1.updated_by", "ann", "params.more", absent)
		a.ok("set-metadata", object{"key": "x1", "data": "new"})
		has(b, "live", b.first(), "method", "on-metadata-change", "params.seq", "4", "params.values.0.data", "new",
			"params.snapshot", absent)
		a.hears("on-peer-join", "seq", "3", "peer_id", "bob", "role", "guest", "info.name", "Bob", "realtime", "true")
		mark := c.mark("r")
		if got := a.before(mark); got != "" {
			t.Errorf("ann, who doesn't listen and is told of no join of her own, heard %s", got)
		}
		b.before(mark)
		cursor := at(a, a.ok("ping", object{"timestamp": 5}), "cursor")
		if got := at(b, b.ok("ping", nil), "cursor"); cursor != got || !strings.Contains(got, ".5.") {
			t.Errorf("cursors: %s and %s", cursor, got)
		}
	})
}

func TestMessages(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		cat := c.join(1, "r", "cat", "guest", nil)
		all := []*client{ann, bob, cat}
		c.settle("r", all...)
		for _, tt := range []struct {
			name   string
			from   *client
			params object
			hear   string // the initials of those who hear it
			want   []string
		}{
			{"to all", ann, object{}, "bc", []string{"private", "false", "roles", absent, "info.type", "chat"}},
			{"typed", bob, object{"type": "t"}, "ac", []string{"info.type", "t", "peer.peer_id", "bob", "peer.role", "guest"}},
			{"private", ann, object{"peer_id": "cat"}, "c", []string{"private", "true", "peer.info.user_id", "u-ann"}},
			{"to a role", ann, object{"roles": []string{"guest"}}, "bc", []string{"private", "false", "roles.0", "guest"}},
			{"to one's own role", bob, object{"roles": []string{"guest", "x"}}, "c", []string{"roles.1", "x"}},
			{"to nobody's role", ann, object{"roles": []string{"x"}}, "", nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				info := object{"message": object{"text": tt.name}}
				if ty, ok := tt.params["type"]; ok {
					info["type"] = ty
					delete(tt.params, "type")
				}
				tt.params["info"] = info
				sent := tt.from.ok("broadcast", tt.params)
				mark := c.mark("r")
				for i, k := range all {
					want := ""
					for _, h := range tt.hear {
						if "abc"[i] == byte(h) {
							want = "on-broadcast"
							k.hears("on-broadcast", append(tt.want, "info.message.text", tt.name, "seq", at(k, sent, "seq"),
								"message_id", at(k, sent, "message_id"), "timestamp", at(k, sent, "timestamp"))...)
						}
					}
					if got := k.before(mark); got != "" {
						t.Errorf("%s heard %q beside %q", k.name, got, want)
					}
				}
			})
		}
		ann.fails("broadcast", object{"info": object{"message": 1}, "peer_id": "nobody"}, 404, "not_found")
	})
}

func TestListening(t *testing.T) {
	each(t, func(c *cluster) {
		w := c.join(0, "r", "writer", "host", nil)
		for _, tt := range []struct {
			name string
			keys []string
			hear []string // of an update of a, ab and b
		}{
			{"exact", []string{"a"}, []string{"a"}},
			{"prefix", []string{"a*"}, []string{"a", "ab"}},
			{"all", []string{"*"}, []string{"a", "ab", "b"}},
			{"two", []string{"b", "a"}, []string{"a", "b"}},
			{"another", []string{"c"}, nil},
			{"none", []string{}, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				k := c.join(1, "r", "l-"+tt.name, "guest", nil)
				k.ok("listen-metadata-change", object{"keys": []string{"zz"}}) // is replaced
				k.hears("on-metadata-change", "snapshot", "true", "values.0.key", "zz")
				k.ok("listen-metadata-change", object{"keys": tt.keys})
				if len(tt.keys) > 0 {
					k.hears("on-metadata-change", "snapshot", "true")
				}
				ops := []object{
					{"op": "set", "key": "a", "data": tt.name},
					{"op": "set", "key": "ab", "data": 2},
					{"op": "increment", "key": "b", "by": 2},
					{"op": "set", "key": "zz", "data": 4},
				}
				w.ok("update-metadata", object{"ops": ops})
				mark := c.mark("r")
				want := tt.hear
				if len(want) > 0 && tt.name == "all" {
					want = append(want, "zz")
				}
				if len(want) > 0 {
					got := k.next("on-metadata-change")
					has(k, "values", got, "values.#", string(rune('0'+len(want))))
					for i, key := range want {
						has(k, "values", got, "values."+string(rune('0'+i))+".key", key)
					}
				}
				if got := k.before(mark); got != "" {
					t.Errorf("heard %s as well", got)
				}
				k.ok("leave", nil)
				w.before(mark)
			})
		}
		w.ok("listen-metadata-change", object{"keys": []string{"a"}})
		w.hears("on-metadata-change", "snapshot", "true")
		w.ok("set-metadata", object{"key": "a"})
		w.hears("on-metadata-change", "values.0.deleted", "true", "values.0.data", "null", "values.0.updated_by", "writer")
	})
}

func TestPeersChange(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		has(t, "update", bob.ok("peer-update", object{"name": "B", "data": "x"}), "info.name", "B", "info.data", "x")
		ann.hears("on-peer-update", "peer_id", "bob", "info.name", "B", "info.data", "x", "realtime", "true")
		bob.hears("on-peer-update", "peer_id", "bob")
		has(t, "data alone", bob.ok("peer-update", object{"data": ""}), "info.name", "B", "info.data", "")
		bob.fails("peer-update", object{"name": "A", "peer_id": "ann"}, 403, "forbidden")
		has(t, "another's", ann.ok("peer-update", object{"name": "C", "peer_id": "bob"}), "info.name", "C")
		bob.hears("on-peer-update", "info.data", "")
		bob.hears("on-peer-update", "info.name", "C")

		has(t, "group-join", bob.ok("group-join", object{"name": "g1"}), "groups", `["g1"]`)
		has(t, "group-add", ann.ok("group-add", object{"name": "g2", "peer_id": "bob"}), "groups", `["g1","g2"]`)
		has(t, "group-remove", ann.ok("group-remove", object{"name": "g1", "peer_id": "bob"}), "groups", `["g2"]`)
		has(t, "group-leave", bob.ok("group-leave", object{"name": "g2"}), "groups", `[]`)
		bob.fails("group-add", object{"name": "g", "peer_id": "ann"}, 403, "forbidden")
		bob.fails("group-join", object{"name": "not a name"}, -32602, "bad_params")
		for _, groups := range []string{`["g1"]`, `["g1","g2"]`, `["g2"]`, `[]`} {
			bob.hears("on-peer-update", "groups", groups)
		}
		ann.ok("group-join", object{"name": "g3"})
		has(t, "get-peer", bob.ok("get-peer", object{"peer_id": "ann"}), "groups", `["g3"]`, "role", "host")
		bob.fails("get-peer", object{"peer_id": "nobody"}, 404, "not_found")
		ann.fails("peer-update", object{"name": "A", "peer_id": "nobody"}, 404, "not_found")

		ann.ok("group-join", object{"name": "g4"})
		hid := c.join(1, "r", "hid", "host", object{"hidden": true, "name": "h"})
		has(t, "hidden", hid.ok("get-peer", object{"peer_id": "hid"}), "peer_id", "hid")
		bob.fails("get-peer", object{"peer_id": "hid"}, 404, "not_found")
		bob.before(c.mark("r"))
		hid.ok("leave", nil)
		if got := bob.before(c.mark("r")); got != "" {
			t.Errorf("a hidden peer's leave was told: %s", got)
		}
		guest := c.connect(0, "r", "sneak", "guest")
		guest.fails("join", object{"hidden": true}, 403, "forbidden")
	})
}

func TestPeersArePaged(t *testing.T) {
	c := newCluster(t, setup{})
	a := c.join(0, "r", "p1", "host", object{"name": "Ann"})
	for _, p := range []string{"p2", "p3", "p4", "p5"} {
		c.join(1, "r", p, "guest", object{"name": "Bob " + p, "groups": []string{"g"}})
	}
	page := a.ok("find-peer", object{"limit": 2})
	has(t, "find-peer", page, "total", "5", "eof", "false", "peers.#", "2", "peers.0.peer_id", "p1", "peers.1.peer_id", "p2")
	page = a.ok("peer-iter-next", object{"iterator": at(t, page, "iterator"), "limit": 2})
	has(t, "second", page, "total", "5", "eof", "false", "peers.0.peer_id", "p3", "peers.1.peer_id", "p4")
	page = a.ok("peer-iter-next", object{"iterator": at(t, page, "iterator"), "limit": 2})
	has(t, "third", page, "eof", "true", "peers.#", "1", "peers.0.peer_id", "p5")
	has(t, "after it", a.ok("peer-iter-next", object{"iterator": at(t, page, "iterator")}), "eof", "true", "peers.#", "0")
	has(t, "role", a.ok("find-peer", object{"role": "guest"}), "total", "4", "eof", "true")
	has(t, "group", a.ok("find-peer", object{"group": "g", "limit": 1}), "total", "4", "eof", "false")
	has(t, "ids", a.ok("find-peer", object{"peers": []string{"p3", "p9"}}), "total", "1", "peers.0.peer_id", "p3")
	a.fails("peer-iter-next", object{"iterator": "!"}, -32602, "bad_params")
	a.fails("find-peer", object{"limit": 1001}, -32602, "bad_params")
	a.fails("find-peer", object{"limit": -1}, -32602, "bad_params")

	found := a.ok("peer-name-search", object{"query": "bOB", "limit": 3})
	has(t, "search", found, "count", "3", "limit", "3", "offset", "0", "eof", "false",
		"peers.0.peer_id", "p2", "peers.0.name", "Bob p2", "peers.0.role", "guest", "peers.0.type", "regular",
		"peers.0.info.name", "Bob p2")
	has(t, "rest", a.ok("peer-name-search", object{"query": "bob", "limit": 3, "offset": 3}), "count", "1", "offset", "3", "eof", "true")
	a.fails("peer-name-search", object{"query": "b", "offset": -1}, -32602, "bad_params")
}

func TestRemoval(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		cat := c.join(1, "r", "cat", "guest", nil)
		cat.fails("peer-leave-request", object{"requested_for": "bob"}, 403, "forbidden")
		ann.fails("peer-leave-request", object{"requested_for": "nobody"}, 404, "not_found")
		ann.ok("peer-leave-request", object{"requested_for": "bob", "reason": `be "nice"`})
		bob.hears("on-peer-leave-request", "requested_by", "ann", "reason", `be "nice"`, "room_end", "false")
		bob.closed(node.CloseRemoved)
		mark := c.mark("r")
		for _, k := range []*client{ann, cat} {
			k.hears("on-peer-leave", "peer_id", "bob", "reason", "removed")
			if got := k.before(mark); got != "" && got != "on-peer-join on-peer-join" {
				t.Errorf("%s heard %q as well", k.name, got)
			}
		}
	})
}

func TestEndRoom(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		cat := c.join(0, "r", "cat", "guest", nil)
		cat.fails("end-room", nil, 403, "forbidden")
		ann.ok("end-room", object{"reason": "over"})
		for _, k := range []*client{ann, bob, cat} {
			k.hears("on-peer-leave-request", "requested_by", "ann", "reason", "over", "room_end", "true")
			k.closed(node.CloseEnded)
		}
		c.nothingLeft()
		if next := c.join(1, "r", "bob", "guest", nil); next.sess == ann.sess {
			t.Error("a session_id was used again")
		}
	})
}

func TestTakeover(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "guest", nil)
		old := c.join(0, "r", "bob", "guest", object{"name": "B", "data": "kept"})
		ann.before(c.mark("r"))
		for _, at := range []int{1, 1, 0} {
			k := c.connect(at, "r", "bob", "guest")
			k.sess = old.sess
			has(t, "takeover", k.ok("join", nil), "resumed", "true", "recovered", "false", "session_id", old.sess)
			k.hears("peer-list", "peers.bob.info.name", "B", "peers.bob.info.data", "kept", "total", "2")
			old.closed(node.CloseReplaced)
			old = k
		}
		if got := ann.before(c.mark("r")); got != "" {
			t.Errorf("a takeover was told: %s", got)
		}
		thief := c.dial(1, []string{"token", c.token("r", "thief", "host"), "peer", "bob"})
		thief.fails("join", nil, 409, "peer_exists")
		thief.open()
		old.ok("set-metadata", object{"data": 1})
		old.open()
		// The role that the store has wins over the token's.
		k := c.connect(1, "r", "bob", "host")
		k.ok("join", nil)
		k.hears("peer-list", "peers.bob.role", "guest")
		k.fails("end-room", nil, 403, "forbidden")
	})
}

func TestLeaves(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "guest", nil)
		bob := c.join(1, "r", "bob", "guest", object{"data": "d", "listen": []string{"*"}})
		has(t, "leave", bob.ok("leave", object{"client_reason": "x"}), "session_ended", "false")
		bob.closed(node.CloseNormal)
		ann.hears("on-peer-leave", "peer_id", "bob", "reason", "left", "info.data", "d")

		c.join(1, "r", "bob", "guest", nil).drop()
		ann.hears("on-peer-leave", "peer_id", "bob", "reason", "timed_out")

		// A close frame is no leave.
		bob = c.join(1, "r", "bob", "guest", nil)
		if err := bob.frame(closeFrame(1000)); err != nil {
			t.Fatal(err)
		}
		bob.closed(1000)
		ann.hears("on-peer-leave", "peer_id", "bob", "reason", "timed_out")
		if got := ann.before(c.mark("r")); got != "on-peer-join on-peer-join on-peer-join" {
			t.Errorf("one leave a join, but ann heard %q as well", got)
		}
		ann.ok("set-metadata", object{"data": 1, "op_id": "o"})
		if len(c.keys()) == 0 {
			t.Fatal("a live session has no keys: nothing is shown by their absence")
		}
		has(t, "last leave", ann.ok("leave", nil), "session_ended", "true")
		ann.closed(node.CloseNormal)
		c.nothingLeft()
	})
}

func TestServerClose(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "guest", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		late := c.connect(1, "r", "late", "guest")
		late.open()
		c.do("GET", "/readyz", "", "").is(200)
		if err := c.nodes[1].Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		bob.closed(node.CloseGoingAway)
		late.closed(node.CloseGoingAway)
		if err := c.nodes[1].node.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		ann.hears("on-peer-leave", "peer_id", "bob", "reason", "timed_out")
		if n := c.nodes[1].Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		if n := c.nodes[1].node.Members(); n != 0 {
			t.Errorf("%d members are left", n)
		}
		c.doAt(1, "GET", "/readyz", "", "").problem(503, "unavailable")
		ws := c.doAt(1, "GET", "/v1/ws?token="+c.token("r", "x", "guest"), "", "", "Upgrade", "websocket", "Connection", "Upgrade",
			"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").problem(503, "unavailable")
		if ws.header.Get("Retry-After") == "" || ws.at("retry_after_ms") == absent {
			t.Errorf("when to try again is not said: %v %s", ws.header, ws.body)
		}
	})
}

func TestManagementMessageHasNoPeer(t *testing.T) {
	c := newCluster(t, setup{})
	a := c.join(0, "r", "ann", "guest", nil)
	c.do("POST", "/v1/rooms/r/messages", c.mint(auth.Principal{Management: true, Room: "r"}), `{"message":{"a":1},"type":"t"}`).is(202)
	a.hears("on-broadcast", "peer", absent, "info.message.a", "1", "info.type", "t")
}
