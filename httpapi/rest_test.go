package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// tree is what every request about rooms begins with.
const tree = "/v1/rooms"

func TestRooms(t *testing.T) {
	each(t, func(c *cluster) {
		s := c.server()
		c.do("GET", tree, s, "").is(200).has("rooms.#", "0", "cursor", absent)
		c.do("GET", tree+"/r1", s, "").is(200).has("room_id", "r1", "enabled", "true", "session", "null")
		k := c.join(0, "r1", "ann", "guest", nil)
		for _, r := range []string{"r2", "r3", "r4", "r5"} {
			c.join(1, r, "ann", "guest", nil)
		}
		a := c.do("GET", tree+"/r1", c.token("r1", "ann", "guest"), "").is(200)
		a.has("session.session_id", k.sess, "session.seq", "1", "session.peer_count", "1")
		for _, m := range []string{"started_at", "epoch"} {
			if a.at("session."+m) == absent {
				t.Errorf("no %s: %s", m, a.body)
			}
		}
		var rooms []string
		for cursor, pages := "", 0; ; pages++ {
			p := c.do("GET", tree+"?limit=2&cursor="+url.QueryEscape(cursor), s, "").is(200)
			for _, i := range []string{"0", "1"} {
				if r := p.at("rooms." + i + ".room_id"); r != absent {
					rooms = append(rooms, r)
					p.has("rooms."+i+".session.peer_count", "1")
				}
			}
			if cursor = p.at("cursor"); cursor == absent || pages > 5 {
				break
			}
		}
		slices.Sort(rooms)
		if got := strings.Join(rooms, " "); got != "r1 r2 r3 r4 r5" {
			t.Errorf("rooms: %s", got)
		}
		c.do("GET", tree+"?limit=0", s, "").problem(400, "bad_params")
		c.do("GET", tree+"?limit=1001", s, "").problem(400, "bad_params")
		c.do("GET", tree+"?cursor=x", s, "").problem(400, "bad_params")
		c.do("POST", tree+"/r1/end", s, `{"reason":"over"}`).is(200).has("session_id", k.sess)
		k.hears("on-peer-leave-request", "reason", "over", "room_end", "true", "requested_by", absent)
		k.closed(4410)
		c.do("POST", tree+"/r1/end", s, "").problem(409, "no_session")
		c.do("POST", tree+"/r2/end", s, `{"lock":1}`).problem(400, "bad_params")
		c.do("POST", tree+"/r2/end", s, "", "Hearth-Session", k.sess).problem(410, "session_ended")
		c.do("POST", tree+"/r2/end", c.token("r2", "ann", "guest"), "", "Hearth-Conn", k.conn).problem(409, "not_member")
	})
}

func TestPeers(t *testing.T) {
	t.Parallel()
	each(t, func(c *cluster) {
		s, own := c.server(), c.token("r", "bot", "guest")
		const bot = tree + "/r/peers/bot"
		c.do("GET", tree+"/r/peers", s, "").problem(404, "no_session")
		c.do("GET", bot, s, "").problem(404, "no_session")
		a := c.do("PUT", bot, own, `{"name":"Bot","data":"d","groups":["g"],"role":"host","user_id":"x","lease_ms":5000}`).is(201)
		a.has("peer.peer_id", "bot", "peer.role", "guest", "peer.info.user_id", "u-bot", "peer.info.name", "Bot",
			"peer.info.data", "d", "peer.groups.0", "g", "seq", "1")
		conn := a.at("conn_id")
		ann := c.join(1, "r", "ann", "host", nil)
		b := c.do("PUT", bot, own, ``).is(200)
		b.has("peer.info.name", "Bot", "peer.joined_at", a.at("peer.joined_at"), "session_id", a.at("session_id"))
		c.do("POST", bot+"/renew", own, `{"conn_id":"`+conn+`"}`).problem(409, "not_member")
		conn = b.at("conn_id")
		c.do("POST", bot+"/renew", own, `{"conn_id":"`+conn+`"}`).is(200)
		c.do("POST", bot+"/renew", own, `{}`).problem(400, "bad_params")
		c.do("POST", tree+"/r/peers/other/renew", own, `{"conn_id":"`+conn+`"}`).problem(400, "bad_params")
		c.do("POST", tree+"/r/peers/ann/renew", c.token("r", "ann", "host"), `{"conn_id":"`+ann.conn+`"}`).problem(400, "bad_params")
		c.do("PUT", bot, c.token("r", "thief", "host"), ``).problem(409, "peer_exists")
		c.do("PUT", bot, s, ``).problem(409, "peer_exists")
		for _, lease := range []string{"4999", "3600001", "-1", "0", `"x"`, "1e99"} {
			c.do("PUT", bot, own, `{"lease_ms":`+lease+`}`).problem(400, "bad_params")
		}

		c.do("GET", bot, own, "").is(200).has("peer_id", "bot", "realtime", "true")
		c.do("GET", tree+"/r/peers/nobody", own, "").problem(404, "not_found")
		c.do("PATCH", bot, own, `{"name":"N"}`).problem(400, "bad_params") // no Hearth-Conn
		c.do("PATCH", bot, own, `{"name":"N"}`, "Hearth-Conn", "x").problem(400, "bad_params")
		c.do("PATCH", bot, own, `{"name":"N"}`, "Hearth-Conn", a.at("conn_id")).problem(409, "not_member")
		c.do("PATCH", bot, c.token("r", "thief", "guest"), `{"name":"N"}`, "Hearth-Conn", conn).problem(409, "not_member")
		c.do("PATCH", bot, own, `{"name":"N"}`, "Hearth-Conn", conn).is(200).has("info.name", "N", "info.data", "d")
		ann.hears("on-peer-update", "info.name", "N")
		c.do("PATCH", tree+"/r/peers/ann", own, `{"name":"N"}`, "Hearth-Conn", conn).problem(403, "forbidden")
		c.do("PATCH", tree+"/r/peers/ann", s, `{"data":"by a server"}`).is(200).has("info.data", "by a server")

		c.do("DELETE", tree+"/r/peers/ann", own, "", "Hearth-Conn", conn).problem(403, "forbidden")
		c.do("DELETE", tree+"/r/peers/nobody", s, "").problem(404, "not_found")
		c.do("DELETE", bot, own, "").problem(400, "bad_params")
		c.do("DELETE", bot, own, "", "Hearth-Conn", conn).is(200).has("session_ended", "false")
		ann.hears("on-peer-leave", "peer_id", "bot", "reason", "left")
		c.do("PUT", tree+"/r/peers/srv", s, `{"role":"host","user_id":"u","lease_ms":3600000}`).is(201).has("peer.role", "host", "peer.info.user_id", "u")
		plain := c.do("PUT", tree+"/r/peers/plain", s, ``).is(201).has("peer.role", "guest", "peer.info.user_id", "plain")
		c.do("POST", tree+"/r/peers/plain/renew", s, `{"conn_id":"`+plain.at("conn_id")+`"}`).is(200)
		c.do("DELETE", tree+"/r/peers/srv?reason=bye", s, "").is(200)
		ann.hears("on-peer-leave", "peer_id", "srv", "reason", "removed")
		c.do("DELETE", tree+"/r/peers/ann?reason=bye", s, "").is(200).has("session_ended", "false")
		ann.hears("on-peer-leave-request", "reason", "bye", "requested_by", absent)
		ann.closed(4403)
		c.do("DELETE", tree+"/r/peers/plain", s, "").is(200).has("session_ended", "true")
		c.nothingLeft()
		c.do("PUT", tree+"/r/peers/a%20b", s, ``).problem(400, "bad_params")
		c.do("PUT", tree+"/r/peers/x", s, `{"role":"a b"}`).problem(400, "bad_params")
	})
}

func TestPeersOverHTTPArePaged(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	s := c.server()
	for _, p := range []string{"a", "b", "c"} {
		c.do("PUT", tree+"/r/peers/"+p, s, `{"role":"`+p+`","user_id":"u"}`).is(201)
	}
	c.do("PUT", tree+"/r/peers/d", s, `{"user_id":"ü/ %"}`).is(201)
	p := c.do("GET", tree+"/r/peers?user_id=u&limit=2", s, "").is(200).has("total", "3", "peers.#", "2", "peers.1.peer_id", "b")
	c.do("GET", tree+"/r/peers?limit=2&cursor="+p.at("cursor"), s, "").is(200).has("peers.#", "1", "peers.0.peer_id", "c", "cursor", absent)
	c.do("GET", tree+"/r/peers?role=b", s, "").is(200).has("peers.#", "1", "peers.0.peer_id", "b")
	c.do("GET", tree+"/r/peers?user_id="+url.QueryEscape("ü/ %"), s, "").is(200).has("peers.0.peer_id", "d")
	c.do("GET", tree+"/r/peers?role=none", s, "").is(200).has("peers.#", "0")
	for _, q := range []string{"limit=x", "limit=-1", "limit=1001", "cursor=%25", "role=a%20b", "user_id=%00"} {
		c.do("GET", tree+"/r/peers?"+q, s, "").problem(400, "bad_params")
	}
}

func TestMessagesOverHTTP(t *testing.T) {
	each(t, func(c *cluster) {
		s := c.server()
		const path = tree + "/r/messages"
		c.do("POST", path, s, `{"message":1}`).problem(409, "no_session")
		ann := c.join(1, "r", "ann", "host", nil)
		bob := c.join(0, "r", "bob", "guest", nil)
		c.settle("r", ann, bob)
		a := c.do("POST", path, s, `{"message":{"x":[1]},"type":"t","message_id":"m"}`).is(202).has("message_id", "m")
		for _, k := range []*client{ann, bob} {
			k.hears("on-broadcast", "peer", absent, "message_id", "m", "seq", a.at("seq"), "timestamp", a.at("timestamp"), "info.message.x.0", "1")
		}
		if again := c.do("POST", path, s, `{"message":2,"message_id":"m"}`).is(202); again.body != a.body {
			t.Errorf("the repeat got %s, not %s", again.body, a.body)
		}
		c.do("POST", path, s, `{"message":1,"peer_id":"bob"}`).is(202)
		c.do("POST", path, s, `{"message":2,"roles":["host"]}`).is(202)
		c.do("POST", path, c.token("r", "bob", "guest"), `{"message":3}`, "Hearth-Conn", bob.conn).is(202)
		mark := c.mark("r")
		bob.hears("on-broadcast", "private", "true", "info.message", "1")
		ann.hears("on-broadcast", "roles.0", "host", "info.message", "2")
		ann.hears("on-broadcast", "peer.peer_id", "bob", "info.message", "3")
		if got := ann.before(mark) + bob.before(mark); got != "" {
			t.Errorf("heard as well: %s", got)
		}
		c.do("POST", path, s, `{"message":1,"peer_id":"x"}`).problem(404, "not_found")
		c.do("POST", path, s, `{}`).problem(400, "bad_params")
		c.do("POST", path, s, `{"message":1`).problem(400, "not_json")
		c.do("POST", path, s, `{"type":5}`).problem(400, "bad_params")
		c.do("POST", path, s, `[]`).problem(400, "bad_params")
		c.do("POST", path, s, `{"message":"`+strings.Repeat("x", 64<<10)+`"}`).problem(413, "too_large")
		c.do("POST", path, c.token("r", "bob", "guest"), `{"message":3}`).problem(400, "bad_params")
	})
}

func TestWhoMayCall(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	c.join(0, "r", "ann", "guest", nil)
	narrowed := func(room string, p ...auth.Permission) string {
		return c.mint(auth.Principal{Management: true, Room: room, Permissions: p})
	}
	peer := c.token("r", "ann", "guest")
	for name, tt := range map[string]struct {
		token, method, path, body string
		status                    int
		reason                    hearth.Reason
	}{
		"no token":                       {"", "GET", tree + "/r", "", 401, "unauthenticated"},
		"no token, unknown room":         {"", "GET", tree + "/-", "", 401, "unauthenticated"},
		"a peer elsewhere":               {peer, "GET", tree + "/r2", "", 403, "forbidden"},
		"a peer writes elsewhere":        {peer, "PUT", tree + "/r2/metadata/k", "1", 403, "forbidden"},
		"a peer lists rooms":             {peer, "GET", tree, "", 403, "forbidden"},
		"narrowed to a room":             {narrowed("r"), "GET", tree + "/r", "", 200, ""},
		"narrowed, elsewhere":            {narrowed("r"), "GET", tree + "/r2", "", 403, "forbidden"},
		"narrowed, lists rooms":          {narrowed("r"), "GET", tree, "", 403, "forbidden"},
		"narrowed to reading, reads":     {narrowed("", auth.Read), "GET", tree, "", 200, ""},
		"narrowed to reading, writes":    {narrowed("", auth.Read), "PUT", tree + "/r/metadata/k", "1", 403, "forbidden"},
		"narrowed to reading, ends":      {narrowed("", auth.Read), "POST", tree + "/r/end", "", 403, "forbidden"},
		"narrowed to reading, removes":   {narrowed("", auth.Read), "DELETE", tree + "/r/peers/ann", "", 403, "forbidden"},
		"narrowed to reading, updates":   {narrowed("", auth.Read), "PATCH", tree + "/r/peers/ann", "{}", 403, "forbidden"},
		"narrowed to reading, says":      {narrowed("", auth.Read), "POST", tree + "/r/messages", `{"message":1}`, 403, "forbidden"},
		"narrowed to writing, writes":    {narrowed("r", auth.Write), "PUT", tree + "/r/metadata/k", "1", 200, ""},
		"narrowed to writing, reads":     {narrowed("r", auth.Write), "GET", tree + "/r/metadata", "", 403, "forbidden"},
		"ill-formed room":                {c.server(), "GET", tree + "/a%20b", "", 400, "bad_params"},
		"room too long":                  {c.server(), "GET", tree + "/" + strings.Repeat("x", 129), "", 400, "bad_params"},
		"bad escape in a name":           {c.server(), "GET", tree + "/%2F", "", 400, "bad_params"},
		"no such route":                  {"", "GET", "/nope", "", 404, "not_found"},
		"no such route in the tree":      {c.server(), "GET", tree + "/r/nothing", "", 404, "not_found"},
		"no such method":                 {c.server(), "DELETE", tree + "/r", "", 404, "not_found"},
		"no such method, outside":        {"", "POST", "/healthz", "", 405, "no_such_method"},
		"the WebSocket without upgrade":  {c.server(), "GET", "/v1/ws", "", 400, "bad_request"},
		"no development token":           {"", "POST", "/dev/token?room_id=r&user_id=u", "", 404, "not_found"},
		"a foreign Hearth-Session, read": {c.server(), "GET", tree + "/r/metadata", "", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.on(t).do(tt.method, tt.path, tt.token, tt.body)
			if tt.reason == "" {
				a.is(tt.status)
				return
			}
			a.problem(tt.status, tt.reason)
			if got := a.header.Get("WWW-Authenticate"); (got != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate: %q", got)
			}
			for h, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Hearth-Node": "node0", "Referrer-Policy": "no-referrer",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Strict-Transport-Security": "",
			} {
				if got := a.header.Get(h); got != want {
					t.Errorf("%s: %q", h, got)
				}
			}
		})
	}
	c.do("GET", tree+"/r/metadata", c.server(), "", "Hearth-Session", "0").problem(410, "session_ended")
	c.do("GET", tree+"/r/metadata", c.server(), "", "Hearth-Session", "a b").problem(400, "bad_params")
}

func TestHealth(t *testing.T) {
	c := newClusterOn(t, redistest.Real(t), setup{nodes: 1})
	c.do("GET", "/healthz", "", "").is(200).has("status", "ok", "version", "test", "node", "node0")
	eventually(c, "the subscription is proven", func() bool { return c.do("GET", "/readyz", "", "").status == 200 })
	c.do("GET", "/readyz", "", "").is(200).has("status", "ready")
	c.join(0, "room-name", "ann", "guest", nil)
	c.do("GET", tree+"/room-name", c.server(), "").is(200)
	m := c.do("GET", "/metrics", "", "").is(200)
	for _, want := range []string{
		"hearth_connections 1", "hearth_members 1", "hearth_rooms_subscribed 1", `hearth_rpc_calls_total{method="join",reason="ok"} 1`,
		`hearth_http_requests_total{method="GET",route="/v1/rooms/:room",status="200"} 1`, `hearth_info{node="node0",version="test"} 1`,
	} {
		if !strings.Contains(m.body, want+"\n") {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if strings.Contains(m.body, "room-name") {
		t.Error("a room's name is in the metrics")
	}
	c.redis.Kill(t)
	a := c.do("GET", "/readyz", "", "").problem(503, "unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("when to try again is not said")
	}
	c.do("GET", "/healthz", "", "").is(200)
	c.do("GET", tree+"/r", c.server(), "").problem(503, "unavailable")
	c.do("PUT", tree+"/r/metadata/k", c.server(), "1").problem(503, "unavailable")
	c.redis.Restart(t)
	eventually(t, "ready again", func() bool { return c.do("GET", "/readyz", "", "").status == http.StatusOK })
}
