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
