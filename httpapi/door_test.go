package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/auth"
)

func TestDevelopmentDoor(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, dev: true, origins: []string{"https://good.example"}})
	const path = "/dev/token?room_id=r&user_id=u"
	own := "http://" + c.nodes[0].addr
	for name, tt := range map[string]struct {
		headers []string
		open    bool
	}{
		"plain":               {nil, true},
		"localhost":           {[]string{"Host", "localhost:8080"}, true},
		"LOCALHOST":           {[]string{"Host", "LOCALHOST"}, true},
		"IPv6":                {[]string{"Host", "[::1]:8080"}, true},
		"127.9.9.9":           {[]string{"Host", "127.9.9.9"}, true},
		"another host":        {[]string{"Host", "evil.example"}, false},
		"a name with ours":    {[]string{"Host", "localhost.evil.example"}, false},
		"an address":          {[]string{"Host", "192.168.1.1:8080"}, false},
		"all addresses":       {[]string{"Host", "0.0.0.0:8080"}, false},
		"X-Forwarded-For":     {[]string{"X-Forwarded-For", "127.0.0.1"}, false},
		"X-Forwarded-Host":    {[]string{"X-Forwarded-Host", "localhost"}, false},
		"x-forwarded-proto":   {[]string{"x-forwarded-proto", "http"}, false},
		"X-Real-IP":           {[]string{"X-Real-IP", "127.0.0.1"}, false},
		"Forwarded":           {[]string{"Forwarded", "for=127.0.0.1"}, false},
		"Via":                 {[]string{"Via", "1.1 x"}, false},
		"own origin":          {[]string{"Origin", own}, true},
		"another origin":      {[]string{"Origin", "http://evil.example"}, false},
		"another port":        {[]string{"Origin", "http://127.0.0.1:1"}, false},
		"null origin":         {[]string{"Origin", "null"}, false},
		"allowed origin":      {[]string{"Origin", "https://good.example"}, true},
		"cross-site":          {[]string{"Sec-Fetch-Site", "cross-site"}, false},
		"same-origin":         {[]string{"Sec-Fetch-Site", "same-origin"}, true},
		"typed by the user":   {[]string{"Sec-Fetch-Site", "none"}, true},
		"good host, forwards": {[]string{"Host", "localhost", "X-Forwarded-For", "1.2.3.4"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := c.on(t)
			a := c.do("POST", path, "", "", tt.headers...)
			if !tt.open {
				a.problem(403, "forbidden")
				c.do("GET", "/healthz", "", "", tt.headers...).problem(403, "forbidden")
				c.do("GET", "/v1/rooms", c.server(), "", tt.headers...).problem(403, "forbidden")
				return
			}
			p, err := c.verifier.Verify(a.is(200).at("token"))
			if err != nil || p.Room != "r" || p.User != "u" || p.Role != "guest" || p.Management {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	p, err := c.verifier.Verify(c.do("POST", "/dev/token?role=management", "", "").is(200).at("token"))
	if err != nil || !p.Management || p.Room != "" {
		t.Errorf("%+v, %v", p, err)
	}
	c.do("POST", "/dev/token?room_id=r", "", "").problem(400, "bad_params")
	c.do("POST", "/dev/token?user_id=u", "", "").problem(400, "bad_params")
	c.do("POST", path+"&role=a%20b", "", "").problem(400, "bad_params")
	// Not by GET: a page could have it as an image.
	if a := c.do("GET", path, "", ""); a.status == http.StatusOK {
		t.Errorf("a token by GET: %s", a.body)
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		allowed []string
		origin  string
		ok      bool
	}{
		"no browser":         {nil, "", true},
		"same":               {nil, "http://%", true},
		"same, by TLS":       {nil, "https://%", true},
		"another":            {nil, "http://evil.example", false},
		"another port":       {nil, "http://127.0.0.1:1", false},
		"ours as a prefix":   {nil, "http://%.evil.example", false},
		"null":               {nil, "null", false},
		"configured":         {[]string{"https://a.example"}, "https://a.example", true},
		"configured, scheme": {[]string{"https://a.example"}, "http://a.example", false},
		"all":                {[]string{"*"}, "https://b.example", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, setup{nodes: 1, origins: tt.allowed})
			var h []string
			if tt.origin != "" {
				h = []string{"Origin", strings.ReplaceAll(tt.origin, "%", c.nodes[0].addr)}
			}
			if !tt.ok {
				c.do("GET", "/v1/ws?token="+c.token("r", "x", "guest"), "", "", append(h, "Upgrade", "websocket", "Connection", "Upgrade",
					"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")...).problem(403, "forbidden")
				return
			}
			c.dial(0, []string{"token", c.token("r", "x", "guest")}, h...).open()
		})
	}
}

// Where a token may travel, and that none of its text gets into the log.
func TestTokensTravel(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, debug: true})
	tok := c.token("r", "ann", "guest")
	c.dial(0, []string{"token", tok}).ok("join", nil)
	c.dial(0, nil, "Authorization", "bearer "+tok).ok("join", nil)
	for name, offered := range map[string][]string{
		"last": {"hearth.v1", "bearer." + tok}, "first": {"bearer." + tok, "hearth.v1"},
	} {
		d := ws.Dialer{Protocols: offered}
		nc, br, hs, err := d.Dial(t.Context(), "ws://"+c.nodes[0].addr+"/v1/ws")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if br != nil {
			ws.PutReader(br)
		}
		if hs.Protocol != "hearth.v1" {
			t.Errorf("%s: selected %q", name, hs.Protocol)
		}
		_ = nc.Close()
	}
	c.do("GET", "/v1/rooms/r?token="+url.QueryEscape(tok), "", "").is(200)
	c.do("GET", "/v1/rooms/r", "", "", "Authorization", "BEARER   "+tok).is(200)
	c.do("GET", "/v1/rooms/r", "", "", "Authorization", "Basic "+tok).problem(401, "unauthenticated")
	// The header wins.
	c.do("GET", "/v1/rooms/r?token="+url.QueryEscape(tok), "x", "").problem(401, "unauthenticated")

	k := c.join(0, "r", "bob", "guest", nil)
	k.ok("refresh-token", object{"token": c.mint(auth.Principal{Room: "r", User: "u-bob", Role: "guest"})})
	bad := tok[:len(tok)-4] + "AAAA"
	k.fails("refresh-token", object{"token": bad}, 401, "unauthenticated")
	c.dial(0, []string{"token", bad}).closed(4401)
	c.do("GET", "/v1/rooms/r?token="+bad, "", "").problem(401, "unauthenticated")
	if a := c.do("GET", "/v1/ws?token="+tok, "", "", "Upgrade", "websocket"); a.status < 400 { // it is logged as well
		t.Errorf("half an upgrade: %d", a.status)
	}
	k.ok("leave", nil)
	k.closed(1000)
	logs := c.logs.String()
	if !strings.Contains(logs, "request") || !strings.Contains(logs, "level=DEBUG") {
		t.Fatalf("the log has nothing: nothing is shown by what it lacks: %q", logs)
	}
	// All tokens begin with the same header; a signature or payload would follow it.
	header, _, _ := strings.Cut(tok, ".")
	for _, part := range append(strings.Split(tok, ".")[1:], header, k.conn, testSecret) {
		if strings.Contains(logs, part) {
			t.Errorf("the log has %q of a token or secret", part)
		}
	}
}

// What is no handshake is told so as any other error is.
func TestHalfAHandshake(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	whole := []string{
		"Upgrade", "websocket", "Connection", "keep-alive, Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
	}
	for i := 0; i < len(whole); i += 2 {
		without := slices.Concat(whole[:i], whole[i+2:])
		for _, headers := range [][]string{without, append(slices.Clone(without), whole[i], "12")} {
			a := c.do("GET", "/v1/ws?token="+c.token("r", "x", "guest"), "", "", headers...).problem(400, "bad_request")
			if a.header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("%s: which version to use is not said: %v", headers, a.header)
			}
		}
	}
	c.dial(0, []string{"token", c.token("r", "x", "guest")}).open()
}
