package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/hearthstore/hearth/internal/redistest"
)

// The scenarios here run the built binary: two processes that share one real Redis, and clients that know the wire alone.

// TestMainJob is the product in one test: two peers on two nodes share a session, and nothing of it is left.
func TestMainJob(t *testing.T) {
	r := redistest.Shared(t)
	a, b := startNode(t, r), startNode(t, r)

	ann := a.join(t, "lesson", "ann", "host", `{"name":"Ann","listen":["*"]}`)
	bob := b.join(t, "lesson", "bob", "guest", `{"name":"Bob","listen":["slide*"]}`)
	if ann.joined.SessionID != bob.joined.SessionID {
		t.Fatalf("two sessions: %s and %s", ann.joined.SessionID, bob.joined.SessionID)
	}
	ann.expect("on-peer-join", `"peer_id":"bob"`)

	ann.call("set-metadata", `{"key":"slide","data":{"n":1.50}}`)
	bob.expect("on-metadata-change", `"values":[{"key":"slide","data":{"n":1.50},"change_version":3,"updated_by":"ann"`)
	ann.call("set-metadata", `{"key":"other","data":1}`) // which bob doesn't watch
	ann.call("broadcast", `{"info":{"message":{"text":"hello"},"type":"chat"}}`)
	if got := bob.next(); got.Method != "on-broadcast" || !strings.Contains(string(got.Params), `"message":{"text":"hello"}`) {
		t.Errorf("bob heard %s %s", got.Method, got.Params)
	}

	// A server writes over HTTP to either node.
	status, body := b.http(t, http.MethodPut, "/v1/rooms/lesson/metadata/slide", `{"n":2}`, map[string]string{
		"If-Match": `"` + ann.joined.SessionID + `.3"`,
	})
	if status != http.StatusOK {
		t.Errorf("PUT: %d %s", status, body)
	}
	bob.expect("on-metadata-change", `"data":{"n":2}`)
	status, body = a.http(t, http.MethodPut, "/v1/rooms/lesson/metadata/slide", `{"n":3}`, map[string]string{
		"If-Match": `"` + ann.joined.SessionID + `.3"`,
	})
	if status != http.StatusPreconditionFailed || !strings.Contains(body, `"current":{"key":"slide","data":{"n":2}`) {
		t.Errorf("PUT with an old ETag: %d %s", status, body)
	}

	bob.call("leave", `{}`)
	bob.closed(1000)
	ann.expect("on-peer-leave", `"reason":"left"`)
	if got := string(ann.call("leave", `{}`)); got != `{"session_ended":true}` {
		t.Errorf("the last leave returned %s", got)
	}
	noRoomKeys(t, r)

	again := a.join(t, "lesson", "ann", "host", `{"listen":["*"]}`)
	if again.joined.SessionID == ann.joined.SessionID || again.joined.Seq != 1 {
		t.Errorf("the next session is %+v", again.joined)
	}
	if got := string(again.call("get-metadata", `{"key":"slide"}`)); got != `{"key":"slide","data":null,"change_version":0}` {
		t.Errorf("the next session sees %s", got)
	}
}

// TestTakeover moves a peer to another node: nobody sees it leave.
func TestTakeover(t *testing.T) {
	r := redistest.Shared(t)
	a, b := startNode(t, r), startNode(t, r)
	ann := a.join(t, "room", "ann", "host", `{}`)
	bob := a.join(t, "room", "bob", "guest", `{"name":"Bob"}`)
	ann.expect("on-peer-join", `"peer_id":"bob"`)

	if code := b.tryJoin(t, "room", "bob", "mallory", `{}`); code != 409 {
		t.Errorf("another user's join as bob: code %d", code)
	}
	newer := b.join(t, "room", "bob", "guest", `{}`)
	bob.closed(4409)
	if !newer.joined.Resumed {
		t.Error("a takeover doesn't say that membership was kept")
	}
	newer.call("broadcast", `{"info":{"message":"still here"}}`)
	if got := ann.next(); got.Method != "on-broadcast" || !strings.Contains(string(got.Params), `"name":"Bob"`) {
		t.Errorf("ann heard %s %s, not the message alone", got.Method, got.Params)
	}
}

// TestBrokenSocketAndStop ends sockets in the two ways that a peer doesn't choose.
func TestBrokenSocketAndStop(t *testing.T) {
	r := redistest.Shared(t)
	a, b := startNode(t, r), startNode(t, r)
	ann := a.join(t, "room", "ann", "host", `{}`)
	bob := b.join(t, "room", "bob", "guest", `{}`)
	ann.expect("on-peer-join", `"peer_id":"bob"`)
	cid := b.join(t, "room", "cid", "guest", `{}`)
	ann.expect("on-peer-join", `"peer_id":"cid"`)

	if err := bob.nc.Close(); err != nil {
		t.Fatal(err)
	}
	ann.expect("on-peer-leave", `"reason":"timed_out"`)

	b.stop(t, syscall.SIGTERM)
	cid.closed(1001)
	ann.expect("on-peer-leave", `"reason":"timed_out"`)
	if status, _ := a.http(t, http.MethodPost, "/v1/rooms/room/end", `{"reason":"over"}`, nil); status != http.StatusOK {
		t.Errorf("end: %d", status)
	}
	ann.expect("on-peer-leave-request", `"reason":"over","room_end":true`)
	ann.closed(4410)
	noRoomKeys(t, r)
}

// TestLease joins a peer over HTTP: it stays for as long as it renews, and when it doesn't any more leaves once, on
// whichever node it is noticed.
func TestLease(t *testing.T) {
	r := redistest.Shared(t)
	a, b := startNode(t, r), startNode(t, r)
	ann := a.join(t, "room", "ann", "host", `{}`)
	status, body := b.http(t, http.MethodPut, "/v1/rooms/room/peers/bot", `{"name":"Bot","lease_ms":5000}`, nil)
	if status != http.StatusCreated {
		t.Fatalf("PUT: %d %s", status, body)
	}
	ann.expect("on-peer-join", `"user_id":"bot"`)
	var bot struct {
		ConnID    string `json:"conn_id"`
		ExpiresAt int64  `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(body), &bot); err != nil {
		t.Fatal(err)
	}
	status, body = a.http(t, http.MethodPost, "/v1/rooms/room/peers/bot/renew", `{"conn_id":"`+bot.ConnID+`"}`, nil)
	var renewed struct {
		ExpiresAt int64 `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(body), &renewed); err != nil || status != http.StatusOK || renewed.ExpiresAt < bot.ExpiresAt {
		t.Errorf("renew: %d %s", status, body)
	}
	ann.expect("on-peer-leave", `"reason":"timed_out"`)
	if status, body = b.http(t, http.MethodPost, "/v1/rooms/room/peers/bot/renew", `{"conn_id":"`+bot.ConnID+`"}`, nil); status != http.StatusConflict {
		t.Errorf("renew after the end: %d %s", status, body)
	}
	ann.call("broadcast", `{"info":{"message":"alone"}}`)
	if got := string(ann.call("find-peer", `{}`)); !strings.Contains(got, `"total":1,`) {
		t.Errorf("who is there: %s", got)
	}
	if len(ann.heard) > 0 {
		t.Errorf("after the leave ann heard %s", ann.heard[0].Params)
	}
}

// TestStoreAwayAndBack stops Redis, which keeps nothing, under a live session: the node says so, and once Redis is back its
// clients are told that their session is lost and can begin another.
func TestStoreAwayAndBack(t *testing.T) {
	r := redistest.Real(t)
	n := startNode(t, r)
	ann := n.join(t, "room", "ann", "host", `{}`)
	r.Kill(t)
	await(t, "the node to be unready", func() bool {
		status, _ := n.http(t, http.MethodGet, "/readyz", "", nil)
		return status == http.StatusServiceUnavailable
	})
	if status, body := n.http(t, http.MethodGet, "/healthz", "", nil); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, body)
	}
	if code := ann.fail("set-metadata", `{"data":1}`); code != 503 {
		t.Errorf("a write without a store: code %d", code)
	}
	r.Restart(t)
	ann.closed(4412)
	n.await(t)
	again := n.join(t, "room", "ann", "host", `{}`)
	if again.joined.Seq != 1 || again.joined.SessionID == ann.joined.SessionID {
		t.Errorf("the next session is %+v", again.joined)
	}
}

// TestToken: a token of the command opens the server, narrowed as it says.
func TestToken(t *testing.T) {
	n := startNode(t, redistest.Shared(t))
	keys := []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}
	out, err := command(t, keys, "token", "--room-id", "room", "--user-id", "ann").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := n.dial(t, strings.TrimSpace(string(out)), "")
	c.welcome(`{}`)
	if code := c.fail("end-room", `{}`); code != 403 {
		t.Errorf("a guest ends the room: code %d", code)
	}
	out, err = command(t, keys[:1], "token", "--room-id", "room", "--user-id", "ann").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET") {
		t.Errorf("without a secret: %v %s", err, out)
	}
}

// TestDevelopmentServer runs the one command of the README, and what it says to paste.
func TestDevelopmentServer(t *testing.T) {
	n := start(t, nil)
	if !strings.Contains(n.said(), "Development mode") {
		t.Fatalf("it doesn't say that it is a development server: %s", n.said())
	}
	var pasted []string
	for line := range strings.SplitSeq(n.said(), "\n") {
		if line, ok := strings.CutPrefix(line, "  "); ok {
			pasted = append(pasted, line)
		}
	}
	if len(pasted) != 3 {
		t.Fatalf("%d lines to paste: %q", len(pasted), pasted)
	}
	if got := shell(t, strings.Join(pasted, "\n")); !strings.Contains(got, `{"key":"deck","data":{"slide":3},"change_version":2,"updated_by":"ann"`) {
		t.Errorf("pasted, it says %s", got)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+"/dev/token?role=management", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusForbidden {
		t.Errorf("another Host gets %d %s", res.StatusCode, body)
	}
}

// TestStartErrors are mistakes that a node must not start with, each told in one line that says what to do.
func TestStartErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		env        []string
	}{
		{"development off loopback", "development mode listens on loopback only", []string{"HEARTH_ADDR=0.0.0.0:0"}},
		{"a key without a secret", "HEARTH_APP_ACCESS_KEY goes with HEARTH_APP_SECRET or HEARTH_JWKS", []string{"HEARTH_APP_ACCESS_KEY=k"}},
		{"keys without a key", "HEARTH_APP_ACCESS_KEY goes with", []string{"HEARTH_JWKS=" + t.TempDir() + "/none.json"}},
		{"no file of keys", "HEARTH_JWKS: open", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_JWKS=" + t.TempDir() + "/none.json"}},
		{"a file of no keys", "HEARTH_JWKS: the key set has no key", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_JWKS=" + file(t, "{}")}},
		{"keys from anybody", "must begin with https://", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_JWKS=http://id.example/keys"}},
		{"secrets without a secret", "set HEARTH_APP_SECRET too", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_JWKS=" + file(t, "{}"), "HEARTH_APP_SECRETS=a=hushhush"}},
		{"a short further secret", "the app secret a is shorter", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_APP_SECRET=" + appSecret, "HEARTH_APP_SECRETS=a=hushhush"}},
		{"a secret without a kid", "must be like kid=secret", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_APP_SECRET=" + appSecret, "HEARTH_APP_SECRETS=hushhush"}},
		{"Redis without keys", "set HEARTH_APP_ACCESS_KEY", []string{"HEARTH_REDIS=redis://127.0.0.1:1"}},
		{"no Redis there", "does not answer", []string{"HEARTH_REDIS=redis://u:hushhush@127.0.0.1:1", "HEARTH_APP_ACCESS_KEY=k", "HEARTH_APP_SECRET=" + appSecret}},
		{"a scheme that is none", "HEARTH_REDIS: must be", []string{"HEARTH_REDIS=memcached://h", "HEARTH_APP_ACCESS_KEY=k", "HEARTH_APP_SECRET=" + appSecret}},
		{"a password that breaks the URL", "has to be escaped", []string{"HEARTH_REDIS=redis://:hushhush#2@127.0.0.1:1", "HEARTH_APP_ACCESS_KEY=k", "HEARTH_APP_SECRET=" + appSecret}},
		{"a prefix out of its grammar", "HEARTH_PREFIX must match", []string{"HEARTH_PREFIX=a:b"}},
		{"a WebSocket that is none", "HEARTH_PUBLIC_WS_URL must be", []string{"HEARTH_PUBLIC_WS_URL=https://h.example/v1/ws"}},
		{"a rate below nothing", "HEARTH_ACCEPT_RATE must not be negative", []string{"HEARTH_ACCEPT_RATE=-1"}},
		{"a rate of a room below nothing", "HEARTH_ROOM_RATE must be", []string{"HEARTH_ROOM_RATE=-1"}},
		{"a rate of peers that is none", "HEARTH_PEER_RATE must be 0.001–100000 a second, or 0", []string{"HEARTH_PEER_RATE=NaN"}},
		{"a rate of joins beyond all", "HEARTH_JOIN_RATE must be", []string{"HEARTH_JOIN_RATE=Inf"}},
		{"less than no peers of a user", "HEARTH_MAX_USER_PEERS must be 0", []string{"HEARTH_MAX_USER_PEERS=-1"}},
		{"a large room of none", "limits must be 1 at least", []string{"HEARTH_LARGE_ROOM=0"}},
		{"a size that is none", "is no size", []string{"HEARTH_MAX_VALUE=big"}},
		{"an unknown setting in the file", "unknown setting", []string{"HEARTH_CONFIG=" + file(t, "nonsense: 1\n")}},
		{"no file of roles", "HEARTH_ROLES_FILE: open", []string{"HEARTH_ROLES_FILE=" + t.TempDir() + "/none.yaml"}},
		{
			"a role with a permission that is none", `role a: line 3: no permission is named "wirte"`,
			[]string{"HEARTH_ROLES_FILE=" + file(t, "roles:\n  a:\n    permissions: [wirte]\n")},
		},
		{"a certificate without its key", "HEARTH_TLS_CERT and HEARTH_TLS_KEY go together", []string{"HEARTH_TLS_CERT=cert.pem"}},
		{"no certificate there", "HEARTH_TLS_CERT and HEARTH_TLS_KEY: stat", []string{"HEARTH_TLS_CERT=" + t.TempDir() + "/none", "HEARTH_TLS_KEY=none"}},
		{"a certificate that is none", "HEARTH_TLS_CERT and HEARTH_TLS_KEY: ", []string{"HEARTH_TLS_CERT=" + file(t, "x"), "HEARTH_TLS_KEY=" + file(t, "x")}},
		{"a short secret", "secret", []string{"HEARTH_APP_ACCESS_KEY=k", "HEARTH_APP_SECRET=short"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := command(t, c.env, "serve").CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte(c.want)) {
				t.Errorf("%v: %s", err, out)
			}
			if strings.Contains(string(out), "hushhush") {
				t.Errorf("a password is shown: %s", out)
			}
			if n := bytes.Count(bytes.TrimSpace(out), []byte("\n")); n > 0 {
				t.Errorf("more than one line: %s", out)
			}
		})
	}
}

// TestRolesFile: what the file says is what holds, to the keys of a role.
func TestRolesFile(t *testing.T) {
	roles := file(t, "roles:\n  host: {permissions: [read, write: [hand]]}\n")
	n := start(t, []string{"HEARTH_CONFIG=" + file(t, "roles_file: "+roles+"\n")})
	c := n.dev(t, "room", "ann")
	c.call("set-metadata", `{"key":"hand","data":true}`)
	for method, params := range map[string]string{"set-metadata": `{"key":"deck","data":1}`, "broadcast": `{"info":{"message":1}}`} {
		if code := c.fail(method, params); code != 403 {
			t.Errorf("%s %s: code %d", method, params, code)
		}
	}
}

// TestConfigurationOrder: a flag goes before a variable, a variable before the file.
func TestConfigurationOrder(t *testing.T) {
	path := file(t, "node_id: of-file\nmax-keys: 1\nmax-peers: 7\n")
	n := start(t, []string{"HEARTH_CONFIG=" + path, "HEARTH_NODE_ID=of-env", "HEARTH_MAX_KEYS=2"}, "--node-id", "of-flag")
	status, body := n.http(t, http.MethodGet, "/healthz", "", nil)
	var health struct{ Node string }
	if err := json.Unmarshal([]byte(body), &health); err != nil || status != http.StatusOK || health.Node != "of-flag" {
		t.Errorf("%d %s", status, body)
	}
	c := n.dev(t, "room", "ann")
	c.call("set-metadata", `{"key":"a","data":1}`)
	c.call("set-metadata", `{"key":"b","data":1}`)
	if code := c.fail("set-metadata", `{"key":"c","data":1}`); code != 413 { // the variable's limit, not the file's
		t.Errorf("a third key: code %d", code)
	}
}

func TestPublicWSURL(t *testing.T) {
	for s, good := range map[string]bool{
		"wss://h.example/v1/ws": true, "ws://127.0.0.1:8080/v1/ws": true, "wss://[::1]:1/x": true,
		"https://h.example/v1/ws": false, "h.example/v1/ws": false, "wss://h.example": false, "wss://h.example/": false,
		"wss:///v1/ws": false, "wss://u:p@h.example/v1/ws": false, "wss://h.example/v1/ws?a=b": false, "wss://h.example/v1/ws#": false,
		"wss://h .example/v1/ws": false, "wss://:8080/v1/ws": false,
	} {
		if validWSURL(s) != good {
			t.Errorf("%s: %v", s, !good)
		}
	}
	n := start(t, []string{"HEARTH_PUBLIC_WS_URL=wss://rt.example/v1/ws"})
	_, tok := n.http(t, http.MethodPost, "/dev/token?room_id=r&user_id=u", "", nil)
	var got struct{ Token, Endpoint string }
	if err := json.Unmarshal([]byte(tok), &got); err != nil {
		t.Fatal(err)
	}
	status, body := n.http(t, http.MethodGet, "/init?peer_id=p", "", map[string]string{"Authorization": "Bearer " + got.Token})
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || got.Endpoint != "wss://rt.example/v1/ws" {
		t.Errorf("%d %s", status, body)
	}
}
