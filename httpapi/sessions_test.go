package httpapi

import (
	"testing"

	"github.com/hearthstore/hearth/auth"
)

func TestSessions(t *testing.T) {
	each(t, func(c *cluster) {
		s := c.server()
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		c.join(1, "q", "cat", "guest", nil)
		const base = "/v1/sessions"
		c.do("GET", base+"/"+ann.sess, s, "").is(200).
			has("session_id", ann.sess, "room_id", "r", "active", "true", "peer_count", "2", "peers", "2", "peak", "2", "seq", "2", "ended_at", absent, "reason", absent)
		c.do("GET", base+"?active=false", s, "").is(200).has("sessions.#", "0", "cursor", absent)
		ann.ok("end-room", nil)
		bob.closed(4410)
		a := c.doAt(1, "GET", base+"/"+ann.sess, s, "").is(200).
			has("active", "false", "reason", "ended", "by", "ann", "peer_count", absent, "peers", "2", "peak", "2", "seq", "3")
		if a.at("started_at") > a.at("ended_at") || a.at("n") == absent || a.at("epoch") == absent {
			t.Errorf("not the summary: %s", a.body)
		}
		next := c.join(0, "r", "ann", "host", nil)
		c.do("GET", base, s, "").is(200).has("sessions.#", "3")
		c.do("GET", base+"?active=true", s, "").is(200).has("sessions.#", "2")
		c.do("GET", base+"?room_id=r", s, "").is(200).has("sessions.#", "2", "sessions.0.session_id", next.sess, "sessions.1.session_id", ann.sess)
		page := c.do("GET", base+"?room_id=r&limit=1", s, "").is(200).has("sessions.#", "1", "sessions.0.session_id", next.sess)
		c.do("GET", base+"?room_id=r&limit=1&cursor="+page.at("cursor"), s, "").is(200).
			has("sessions.#", "1", "sessions.0.session_id", ann.sess, "cursor", absent)

		// A peer is shown its room's, and so is a server that is narrowed to a room.
		for _, own := range []string{c.token("r", "eve", "guest"), c.mint(auth.Principal{Management: true, Room: "r"})} {
			c.do("GET", base, own, "").is(200).has("sessions.#", "2", "sessions.0.room_id", "r", "sessions.1.room_id", "r")
			c.do("GET", base+"?room_id=r", own, "").is(200).has("sessions.#", "2")
			c.do("GET", base+"?room_id=q", own, "").problem(403, "forbidden")
			c.do("GET", base+"/"+ann.sess, own, "").is(200)
		}
		c.do("GET", base+"/"+ann.sess, c.token("q", "eve", "guest"), "").problem(404, "not_found")
		writer := c.mint(auth.Principal{Management: true, Permissions: []auth.Permission{auth.Write}})
		c.do("GET", base, writer, "").problem(403, "forbidden")
		c.do("GET", base+"/"+ann.sess, writer, "").problem(403, "forbidden")
		c.do("GET", base+"/none", s, "").problem(404, "not_found")
		c.do("GET", base+"/a%20b", s, "").problem(400, "bad_params")
		c.do("GET", base+"?active=maybe", s, "").problem(400, "bad_params")
		c.do("GET", base+"?cursor=x", s, "").problem(400, "bad_params")
		c.do("GET", base+"?limit=1001", s, "").problem(400, "bad_params")
		c.do("GET", base+"?room_id=a%20b", s, "").problem(400, "bad_params")
	})
}

func TestRoomSettings(t *testing.T) {
	each(t, func(c *cluster) {
		s := c.server()
		const room = "/v1/rooms/r"
		c.do("GET", room, s, "").is(200).has("enabled", "true", "until", absent, "linger_ms", absent, "max_peers", absent, "session", "null")
		c.do("PUT", room, s, `{"linger_ms":1000,"max_peers":2}`).is(200).has("enabled", "true", "linger_ms", "1000", "max_peers", "2", "session", "null")
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		c.connect(0, "r", "cat", "guest").fails("join", nil, 413, "too_many")
		c.do("PUT", room, s, `{"enabled":false,"max_peers":null}`).is(200).has("enabled", "false", "max_peers", absent, "linger_ms", "1000", "session.peer_count", "2")
		c.connect(1, "r", "cat", "guest").fails("join", nil, 410, "room_closed")
		c.do("PUT", room+"/peers/bot", s, "").problem(410, "room_closed")
		back := c.connect(0, "r", "bob", "guest")
		joined := back.ok("join", nil)
		has(t, "return", joined, "resumed", "true", "session_id", ann.sess)
		bob.closed(4409)

		// A peer shuts by its role, as a member.
		c.do("PUT", room, c.token("r", "ann", "host"), `{"enabled":true}`).problem(400, "bad_params")
		c.do("PUT", room, c.token("r", "ann", "host"), `{"enabled":true}`, "Hearth-Conn", ann.conn).is(200).has("enabled", "true", "until", c.do("GET", room, s, "").at("until"))
		c.do("PUT", room, c.token("r", "bob", "guest"), `{"enabled":false}`, "Hearth-Conn", at(t, joined, "conn_id")).problem(403, "forbidden")
		c.do("PUT", room, c.mint(auth.Principal{Management: true, Room: "q"}), `{}`).problem(403, "forbidden")

		// The emptied session lingers, for a server to see and to write, and ends by itself.
		has(t, "leave", back.ok("leave", nil), "session_ended", "false")
		c.do("DELETE", room+"/peers/ann", s, "").is(200).has("session_ended", "false")
		ann.closed(4403)
		c.doAt(1, "PUT", room+"/metadata/k", s, `1`).is(200)
		c.do("GET", room, s, "").is(200).has("session.session_id", ann.sess, "session.peer_count", "0")
		eventually(t, "the session ends", func() bool { return c.do("GET", room, s, "").is(200).at("session") == "null" })
		c.do("GET", "/v1/sessions/"+ann.sess, s, "").is(200).has("reason", "empty", "peers", "2")
		c.do("PUT", room, s, `{"linger_ms":null}`).is(200).has("linger_ms", absent, "until", absent)

		ann = c.join(0, "r", "ann", "host", nil)
		ann.ok("end-room", object{"reason": "late", "lock": true})
		ann.hears("on-peer-leave-request", "reason", "late", "room_end", "true")
		ann.closed(4410)
		c.connect(1, "r", "ann", "host").fails("join", nil, 410, "room_closed")
		c.do("PUT", room, s, `{"enabled":null}`).is(200).has("enabled", "true")
		c.join(1, "r", "ann", "host", nil)
		c.do("POST", room+"/end", s, `{"lock":true}`).is(200)
		c.do("GET", room, c.token("r", "eve", "guest"), "").is(200).has("enabled", "false", "session", "null")
		c.do("PUT", room, s, `{"enabled":true}`).is(200)
		c.nothingLeft()

		for _, body := range []string{
			`{"enabled":1}`, `{"until":"x"}`, `{"until":1}`, `{"until":-1}`, `{"until":0}`, `{"until":99999999999999}`, `{"linger_ms":3600001}`,
			`{"linger_ms":-1}`, `{"max_peers":0}`, `{"max_peers":-1}`, `{"max_peers":10001}`, `{"max_peers":1.5}`, `[]`,
		} {
			c.do("PUT", room, s, body).problem(400, "bad_params")
		}
		c.do("GET", room, s, "").is(200).has("enabled", "true", "until", absent)
	})
}
