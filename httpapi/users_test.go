package httpapi

import (
	"net/url"
	"testing"

	"github.com/hearthstore/hearth/auth"
)

func TestUsers(t *testing.T) {
	each(t, func(c *cluster) {
		const user = "ü/é \"x\"?#%"
		path := "/v1/users/" + url.PathEscape(user)
		s := c.server()
		join := func(at int, room, peer string, hide bool) *client {
			k := c.dial(at, []string{"token", c.mint(auth.Principal{Room: room, User: user, Role: "host"}), "peer", peer})
			k.ok("join", object{"hidden": hide})
			return k
		}
		c.do("GET", path+"/peers", s, "").is(200).has("peers.#", "0")
		c.do("POST", path+"/disconnect", s, "").is(200).has("disconnected", "0")
		bob := c.join(1, "r1", "bob", "guest", nil)
		a, b, d := join(0, "r1", "p1", false), join(1, "r1", "p2", false), join(1, "r2", "p1", true)
		c.do("GET", path+"/peers", s, "").is(200).has("peers.#", "3",
			"peers.0.room_id", "r1", "peers.0.peer.peer_id", "p1", "peers.0.session_id", bob.sess, "peers.0.peer.info.user_id", user,
			"peers.1.peer.peer_id", "p2", "peers.2.room_id", "r2", "peers.2.peer.role", "host")
		narrow := c.mint(auth.Principal{Management: true, Room: "r2"})
		c.doAt(1, "GET", path+"/peers", narrow, "").is(200).has("peers.#", "1", "peers.0.room_id", "r2")
		c.do("GET", "/v1/users/u-bob/peers", s, "").is(200).has("peers.#", "1")
		// A server sees hidden peers in lists as well, a peer doesn't.
		c.do("GET", "/v1/rooms/r2/peers", s, "").is(200).has("peers.#", "1", "total", "1")
		c.do("GET", "/v1/rooms/r2/peers/p1", s, "").is(200)
		c.do("GET", "/v1/rooms/r2/peers", c.token("r2", "eve", "guest"), "").is(200).has("peers.#", "0", "total", "0")

		c.do("POST", path+"/disconnect", narrow, `{"reason":"there"}`).is(200).has("disconnected", "1")
		d.hears("on-peer-leave-request", "reason", "there", "room_end", "false", "requested_by", absent)
		d.closed(4403)
		for range 2 {
			c.do("POST", path+"/disconnect", s, `{"reason":"every\"where"}`, "Idempotency-Key", "k").is(200)
		}
		for _, k := range []*client{a, b} {
			k.hears("on-peer-leave-request", "reason", `every"where`)
			k.closed(4403)
			bob.hears("on-peer-leave", "reason", "removed")
		}
		c.do("GET", path+"/peers", s, "").is(200).has("peers.#", "0")
		again := join(0, "r1", "p1", false) // nothing keeps it out
		again.ok("end-room", nil)
		c.do("GET", path+"/peers", s, "").is(200).has("peers.#", "0")
		c.nothingLeft()

		own := c.token("r1", "bob", "host")
		c.do("GET", path+"/peers", own, "").problem(403, "forbidden")
		c.do("POST", path+"/disconnect", own, "").problem(403, "forbidden")
		c.do("POST", path+"/disconnect", c.mint(auth.Principal{Management: true, Permissions: []auth.Permission{auth.Read}}), "").problem(403, "forbidden")
		c.do("GET", "/v1/users/a%0Ab/peers", s, "").problem(400, "bad_params")
		c.do("GET", "/v1/users/%ff/peers", s, "").problem(400, "bad_params")
		c.do("POST", path+"/disconnect", s, `{"reason":"a\nb"}`).problem(400, "bad_params")
		c.do("POST", path+"/disconnect", s, `{"reason":1}`).problem(400, "bad_params")
	})
}
