package httpapi

import (
	"net/http"
	"testing"

	"github.com/hearthstore/hearth/auth"
)

func TestInit(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	tok, own := c.token("r", "ann", "guest"), c.nodes[0].addr
	const path = "/init?peer_id=1b4e28ba-2fa1-11d2-883f-0016d3cca427&user_agent_v2=x&region=in"
	a := c.do("GET", path, tok, "").is(200)
	if want := `{"endpoint":"ws://` + own + `/v1/ws","log_level":"info","policy":"","rtcConfiguration":{"ice_servers":[]},` +
		`"config":{"enabledFlags":["nonWebRTCDisableOffer"],"networkHealth":{}}}`; a.body != want {
		t.Errorf("%s, not %s", a.body, want)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a cache could give it to another: %q", got)
	}
	for name, tt := range map[string]struct {
		headers  []string
		endpoint string
	}{
		"host":                {[]string{"Host", "hearth.example:9"}, "ws://hearth.example:9/v1/ws"},
		"TLS at the proxy":    {[]string{"Host", "hearth.example", "X-Forwarded-Proto", "https"}, "wss://hearth.example/v1/ws"},
		"at the first of two": {[]string{"X-Forwarded-Proto", "HTTPS , http"}, "wss://" + own + "/v1/ws"},
		"plain at the first":  {[]string{"X-Forwarded-Proto", "http, https"}, "ws://" + own + "/v1/ws"},
		"nonsense":            {[]string{"X-Forwarded-Proto", "javascript"}, "ws://" + own + "/v1/ws"},
		"host of a proxy":     {[]string{"X-Forwarded-Host", "evil.example"}, "ws://" + own + "/v1/ws"},
	} {
		t.Run(name, func(t *testing.T) {
			c.on(t).do("GET", path, tok, "", tt.headers...).is(200).has("endpoint", tt.endpoint)
		})
	}
	c.do("GET", "/init", tok, "").is(200)
	c.do("GET", "/init?peer_id=a%20b", tok, "").problem(400, "bad_params")
	c.do("GET", path, "", "").problem(401, "unauthenticated")
	c.do("GET", path, tok[:len(tok)-4]+"AAAA", "").problem(401, "unauthenticated")
	c.do("GET", path, c.server(), "").problem(403, "forbidden")
	c.do("GET", path, c.mint(auth.Principal{Management: true, Room: "r"}), "").problem(403, "forbidden")
	if c.do("POST", path, tok, "").status < 400 {
		t.Error("a POST is answered")
	}
}

func TestInitOfAConfiguredURL(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, publicWS: "wss://rt.example/hearth/v1/ws"})
	c.do("GET", "/init", c.token("r", "ann", "guest"), "", "Host", "x.example", "X-Forwarded-Proto", "http").is(200).
		has("endpoint", "wss://rt.example/hearth/v1/ws")
}

// A browser asks first whether a page of another origin may send the header with the token.
func TestInitPreflight(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, origins: []string{"https://page.example"}})
	ask := func(origin string) *answer {
		return c.do(http.MethodOptions, "/init?peer_id=p", "", "", "Origin", origin,
			"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
	}
	h := ask("https://page.example").is(204).header
	if h.Get("Access-Control-Allow-Origin") != "https://page.example" || h.Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("%v", h)
	}
	a := c.do("GET", "/init", c.token("r", "ann", "guest"), "", "Origin", "https://page.example").is(200)
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "https://page.example" {
		t.Errorf("the answer is not for the page: %q", got)
	}
	if got := ask("https://evil.example").header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("any page may ask: %q", got)
	}
}
