package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// hush is in all that clients write here, and must be nowhere else.
const hush = "hush-hush"

// TestNothingLeaks (50) has a node do everything with tokens, secrets and values, well and badly, with a store and without, and
// looks for them in all that it printed, counted and answered to others.
func TestNothingLeaks(t *testing.T) {
	r := redistest.Real(t)
	further := strings.Repeat("further.", 5)
	user, password := redistest.LeastUser(t, r, "../../docs/operations.md")
	n := start(t, []string{
		"HEARTH_REDIS=redis://" + user + ":" + password + "@" + r.Addr, "HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret,
		"HEARTH_APP_SECRETS=next=" + further, "HEARTH_LOG_LEVEL=debug", "HEARTH_MAX_VALUE=100", "HEARTH_MAX_MESSAGE=100",
	})
	peer := mint(t, auth.Principal{Room: "room", User: "ann", Role: "host"})
	server := mint(t, auth.Principal{Management: true})
	other, err := auth.NewVerifier(auth.Config{AccessKey: appKey, Secret: strings.Repeat("wrong.", 6)})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := other.Mint(auth.Principal{Management: true}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder // errors, by whatever way

	calls := func(c *client) {
		for _, q := range [][2]string{
			{"set-metadata", `{"key":"k","data":"` + hush + `"}`},
			{"set-metadata", `{"key":"k","data":"` + hush + strings.Repeat("x", 100) + `"}`},
			{"set-metadata", `{"key":"k","data":"` + hush + `","if_change_version":7}`},
			{"set-metadata", `{"key":7,"data":"` + hush + `"}`},
			{"set-metadata", `{"key":"k","data":"` + hush + `","ttl_ms":"` + hush + `"}`},
			{"update-metadata", `{"ops":[{"op":"increment","key":"k","by":1,"data":"` + hush + `"}]}`},
			{"update-metadata", `{"ops":"` + hush + `"}`},
			{"broadcast", `{"info":{"message":"` + hush + `"}}`},
			{"broadcast", `{"info":{"message":"` + hush + strings.Repeat("x", 100) + `"}}`},
			{"broadcast", `{"info":"` + hush + `"}`},
			{"peer-update", `{"data":"` + hush + `"}`},
			{"peer-update", `{"data":["` + hush + `"]}`},
			{"refresh-token", `{"token":"` + forged + `"}`},
			{"refresh-token", `{"token":"` + peer + `"}`},
			{"no-such-method", `{"x":"` + hush + `"}`},
		} {
			if m := c.request(q[0], q[1]); m.Error != nil {
				b, _ := json.Marshal(m.Error)
				if q[0] != "set-metadata" || !strings.Contains(q[1], "if_change_version") { // a conflict shows what is there
					told.Write(b)
				}
			}
		}
	}
	rest := func(token, query string) {
		for _, q := range [][3]string{
			{"PUT", "/v1/rooms/room/metadata/k", `"` + hush + `"`},
			{"PUT", "/v1/rooms/room/metadata/k", `"` + hush + strings.Repeat("x", 100) + `"`},
			{"PUT", "/v1/rooms/room/metadata/k", hush},
			{"POST", "/v1/rooms/room/messages", `{"message":"` + hush + `"}`},
			{"POST", "/v1/rooms/room/messages", `{"message":` + hush},
			{"POST", "/v1/rooms/room/messages", `{"message":1,"roles":"` + hush + `"}`},
			{"GET", "/v1/rooms/room/no-such-path", ""},
			{"GET", "/v1/rooms", ""},
		} {
			req, err := http.NewRequestWithContext(t.Context(), q[0], n.url+q[1]+query, strings.NewReader(q[2]))
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode >= 400 {
				told.Write(b)
			}
		}
	}
	c := n.dial(t, peer, "ann")
	c.welcome(`{"data":"` + hush + `","listen":["*"]}`)
	for _, token := range []string{forged, peer + "x"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if nc, _, _, err := (ws.Dialer{}).Dial(ctx, "ws"+strings.TrimPrefix(n.url, "http")+"/v1/ws?token="+token); err == nil {
			_ = nc.Close()
		}
		cancel()
	}
	calls(c)
	rest(server, "")
	rest("", "?token="+server)
	rest(forged, "")
	rest("", "?token="+forged)
	rest("", "?token="+server+"x")
	r.Freeze(t)
	// Not answered, and logged; not for so long that the node closes its sockets.
	if m := c.request("set-metadata", `{"key":"k","data":"`+hush+`"}`); m.Error != nil {
		told.WriteString(m.Error.Message)
	}
	r.Thaw(t)
	await(t, "the store to be back", func() bool {
		status, _ := n.http(t, http.MethodGet, "/readyz", "", nil)
		return status == http.StatusOK
	})
	_, metrics := n.http(t, http.MethodGet, "/metrics", "", nil)

	said := n.said()
	if !strings.Contains(said, "level=DEBUG") || !strings.Contains(said, "call failed") || !strings.Contains(told.String(), "unauthenticated") ||
		!strings.Contains(told.String(), "did not answer") || !strings.Contains(metrics, "hearth_") {
		t.Errorf("not all of it was tried: %s\n%s", said, told.String())
	}
	signature := func(token string) string { return token[strings.LastIndex(token, ".")+1:] }
	for what, secret := range map[string]string{
		"the password of Redis": password, "the secret": appSecret, "the further secret": further, "a peer's token": signature(peer), "a server's token": signature(server),
		"a forged token": signature(forged), "a value": hush,
	} {
		for where, text := range map[string]string{"log": said, "metrics": metrics, "errors": told.String()} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s is in the %s: …%s…", what, where, text[max(0, i-200):min(len(text), i+60)])
			}
		}
	}
}
