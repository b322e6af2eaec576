package httpapi

import (
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

func TestRoles(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", object{"data": "d"})
		eve := c.join(0, "r", "eve", "guest", nil)

		// By force: at once, told to all, and what the role permits holds from then on.
		bob.fails("end-room", nil, 403, "forbidden")
		has(t, "force", ann.ok("role-change-request", object{"requested_for": "bob", "role": "admin", "force": true}), "#", "0")
		for _, k := range []*client{ann, bob, eve} {
			k.hears("on-peer-update", "peer_id", "bob", "role", "admin", "info.data", "d", "realtime", "true")
		}
		bob.ok("peer-update", object{"peer_id": "eve", "name": "E"})
		c.do("PATCH", "/v1/rooms/r/peers/bob", c.server(), `{"role":"guest"}`).is(200).has("role", "guest", "peer_id", "bob")
		for _, k := range []*client{ann, bob, eve} {
			k.hears("on-peer-update", "peer_id", "eve", "info.name", "E")
			k.hears("on-peer-update", "peer_id", "bob", "role", "guest")
		}
		bob.fails("peer-update", object{"peer_id": "eve", "name": "X"}, 403, "forbidden")

		// By request: only the peer is told, and only it accepts.
		ann.ok("role-change-request", object{"requested_for": "bob", "role": "host", "force": false})
		q := bob.next("on-role-change-request")
		has(t, "request", q, "requested_by", "ann", "role", "host")
		token := at(t, q, "token")
		mark := c.mark("r")
		if got := eve.before(mark); got != "" {
			t.Errorf("eve heard %q", got)
		}
		eve.fails("role-change", object{"requested_by": "ann", "role": "host", "token": token}, 404, "not_found")
		bob.fails("role-change", object{"requested_by": "eve", "role": "host", "token": token}, 404, "not_found")
		bob.fails("role-change", object{"requested_by": "ann", "role": "admin", "token": token}, 404, "not_found")
		accept := object{"requested_by": "ann", "role": "host", "token": token, "op_id": "o"}
		has(t, "accept", bob.ok("role-change", accept), "peer_id", "bob", "role", "host")
		has(t, "a repeat", bob.ok("role-change", accept), "peer_id", "bob", "role", "host")
		delete(accept, "op_id")
		bob.fails("role-change", accept, 404, "not_found")
		for _, k := range []*client{ann, bob, eve} {
			k.hears("on-peer-update", "peer_id", "bob", "role", "host")
		}

		// Messages to roles go by the role that a peer has when they are sent.
		eve.ok("broadcast", object{"info": object{"message": "m"}, "roles": []string{"host"}, "message_id": "to-hosts"})
		bob.before(mark)
		bob.hears("on-broadcast", "message_id", "to-hosts")

		// The role that was given to the user wins over its token's when it comes again.
		bob.ok("leave", nil)
		back := c.connect(0, "r", "bob", "guest")
		back.ok("join", nil)
		back.hears("peer-list", "peers.bob.role", "host")
		back.ok("peer-update", object{"peer_id": "eve", "name": "F"})

		for name, tt := range map[string]struct {
			k      *client
			params object
			code   int
			reason hearth.Reason
		}{
			"force without leave":      {eve, object{"requested_for": "ann", "role": "guest", "force": true}, 403, "forbidden"},
			"request without leave":    {eve, object{"requested_for": "ann", "role": "guest"}, 403, "forbidden"},
			"one's own without leave":  {eve, object{"requested_for": "eve", "role": "host", "force": true}, 403, "forbidden"},
			"force on nobody":          {ann, object{"requested_for": "dan", "role": "host", "force": true}, 404, "not_found"},
			"request to nobody":        {ann, object{"requested_for": "dan", "role": "host"}, 404, "not_found"},
			"no role":                  {ann, object{"requested_for": "eve", "force": true}, -32602, "bad_params"},
			"no peer":                  {ann, object{"role": "host", "force": true}, -32602, "bad_params"},
			"a role that is no name":   {ann, object{"requested_for": "eve", "role": "a b"}, -32602, "bad_params"},
			"force that is no boolean": {ann, object{"requested_for": "eve", "role": "host", "force": "yes"}, -32602, "bad_params"},
		} {
			t.Log(name)
			tt.k.fails("role-change-request", tt.params, tt.code, tt.reason)
		}
		eve.fails("role-change", object{"role": "host"}, 404, "not_found")
		eve.fails("role-change", object{"token": token}, -32602, "bad_params")
		eve.fails("role-change", object{"role": "host", "token": token, "requested_by": "a b"}, -32602, "bad_params")

		const path = "/v1/rooms/r/peers/eve"
		s := c.server()
		c.do("PATCH", path, s, `{"role":"x y"}`).problem(400, "bad_params")
		c.do("PATCH", path, s, `{"role":"x","name":"n"}`).problem(400, "bad_params")
		c.do("PATCH", path, s, `{"role":1}`).problem(400, "bad_params")
		c.do("PATCH", "/v1/rooms/r/peers/dan", s, `{"role":"x"}`).problem(404, "not_found")
		c.do("PATCH", path, c.token("r", "eve", "guest"), `{"role":"host"}`, "Hearth-Conn", eve.conn).problem(403, "forbidden")
		c.do("PATCH", path, c.mint(auth.Principal{Management: true, Permissions: []auth.Permission{auth.UpdateOthers}}), `{"role":"host"}`).
			problem(403, "forbidden")
		c.do("PATCH", path, c.token("r", "ann", "host"), `{"role":"whatever"}`, "Hearth-Conn", ann.conn).is(200).has("role", "whatever")
		eve.ok("set-metadata", object{"data": 1}) // what a role may do that the configuration doesn't name
	})
}
