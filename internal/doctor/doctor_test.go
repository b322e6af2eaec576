package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/rest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// server is a stand-in that is well, but for what a test replaces: the routes by method and last part of the path.
type server struct {
	routes map[string]http.HandlerFunc
	wrote  chan string // each value that was written
}

func newServer() *server {
	s := &server{wrote: make(chan string, 10)}
	value, version := "", 0
	problem := func(w http.ResponseWriter, status int, reason string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"reason":%q,"detail":"said %s"}`, reason, reason)
	}
	entry := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"key":"k","data":%s,"change_version":%d}`, value, version)
	}
	s.routes = map[string]http.HandlerFunc{
		"GET healthz": says(`{"status":"ok","version":"v1","node":"n1"}`),
		"GET readyz":  says(`{"status":"ready"}`),
		"GET rooms":   says(`{"room_id":"r","session":{"session_id":"s"}}`),
		"PUT peers":   says(`{"session_id":"s","conn_id":"c","seq":1,"expires_at":1}`),
		"DELETE peers": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Hearth-Conn") != "c" {
				problem(w, 409, "not_member")
				return
			}
			says(`{"session_ended":true}`)(w, r)
		},
		"PUT entry": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			value = string(b)
			version++
			s.wrote <- value
			entry(w, r)
		},
		"GET entry": entry,
		"DELETE entry": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-Match") != fmt.Sprintf(`"s.%d"`, version) {
				problem(w, 412, "version_conflict")
				return
			}
			value = "null"
			entry(w, r)
		},
		"GET events": func(w http.ResponseWriter, r *http.Request) {
			for len(s.wrote) > 0 {
				<-s.wrote
			}
			snapshot(w, r)
			select {
			case v := <-s.wrote:
				_, _ = fmt.Fprintf(w, "event: on-metadata-change\nid: 1\ndata: {\"values\":[{\"key\":%q,\"data\":%s}]}\n\n", r.URL.Query().Get("keys"), v)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
			}
			<-r.Context().Done()
		},
		"GET ws": func(w http.ResponseWriter, r *http.Request) {
			up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "hearth.v1" }}
			nc, _, _, err := up.Upgrade(r, w)
			if err != nil {
				return
			}
			defer nc.Close()
			if _, err := wsutil.ReadClientText(nc); err == nil {
				_ = wsutil.WriteServerText(nc, []byte(`{"jsonrpc":"2.0","id":1,"result":{"timestamp":1}}`))
			}
			_, _ = io.Copy(io.Discard, nc)
		},
	}
	return s
}

// snapshot begins an event stream: the key is not there.
func snapshot(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "event: on-metadata-change\ndata: {\"snapshot\":true,\"values\":[{\"key\":%q,\"data\":null}]}\n\n", r.URL.Query().Get("keys"))
	_ = http.NewResponseController(w).Flush()
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func refuses(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangs answers nothing until the client has gone.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for route, h := range s.routes {
		method, part, _ := strings.Cut(route, " ")
		path := "/" + r.URL.Path + "/"
		if part == "rooms" && strings.Count(r.URL.Path, "/") != 3 {
			continue
		}
		if r.Method == method && strings.Contains(path, "/"+part+"/") {
			h(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// look runs the doctor on a server and returns its checks by name.
func look(t *testing.T, h http.Handler, o Options) map[string]Check {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	var err error
	if o.Client, err = rest.New(srv.URL, rest.Fixed("token"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	defer o.Client.Close()
	var order []string
	o.Each = func(c Check) { order = append(order, c.Name) }
	got := map[string]Check{}
	for i, c := range Run(t.Context(), o) {
		got[c.Name] = c
		if i >= len(order) || order[i] != c.Name {
			t.Errorf("%s was not told in its order: %v", c.Name, order)
		}
	}
	return got
}

// result is all checks in their order, by what came out.
func result(checks map[string]Check) string {
	var b strings.Builder
	for _, name := range []string{"server", "ready", "clock", "token", "session", "events", "websocket", "end"} {
		c := checks[name]
		_, _ = fmt.Fprintf(&b, "%.1s", c.Status)
	}
	return b.String()
}

func TestAllWell(t *testing.T) {
	got := look(t, newServer(), Options{})
	// The token is none that says how long it is good.
	if r := result(got); r != "ooowoooo" {
		t.Errorf("%s: %+v", r, got)
	}
	if got["server"].Detail == "" || !strings.Contains(got["server"].Detail, "version v1, node n1") {
		t.Errorf("%+v", got["server"])
	}
	b, err := json.Marshal(Check{Name: "x", Status: OK, Detail: "d", Took: 1500 * time.Microsecond})
	if err != nil || string(b) != `{"name":"x","status":"ok","detail":"d","took_ms":1}` {
		t.Errorf("%s %v", b, err)
	}
}

// TestWhatIsWrong: each fault is found by the check that is for it, and told with what to do; what depends on it is skipped.
func TestWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		route  string
		h      http.HandlerFunc
		want   string // of all checks, by first letter
		check  string
		says   string // in detail or advice
		finish bool   // whoever began a session has to end it
	}{
		"another server":      {"GET healthz", says("hello"), "fsssssss", "server", "is --server right?", false},
		"not ready":           {"GET readyz", refuses(503, `{"reason":"unavailable","detail":"no store"}`), "ofowoooo", "ready", "no store", false},
		"no token":            {"GET rooms", refuses(401, `{"reason":"unauthenticated","detail":"expired"}`), "ooofssss", "token", "HEARTH_APP_SECRET", false},
		"a narrow token":      {"GET rooms", refuses(403, `{"reason":"forbidden","detail":"room a only"}`), "ooofssss", "token", "--room", false},
		"no store":            {"PUT peers", refuses(503, `{"reason":"unavailable","detail":"away"}`), "ooowfsos", "session", "away", false},
		"no writing":          {"PUT entry", refuses(403, `{"reason":"forbidden","detail":"narrowed"}`), "ooowfsos", "session", "narrowed", true},
		"a cache":             {"GET entry", says(`{"key":"k","data":{"z":1.5,"a":"ü→☃"},"change_version":1}`), "ooowfsos", "session", "cache", true},
		"an old version":      {"GET entry", says(`{"key":"k","data":` + value + `,"change_version":9}`), "ooowfsos", "session", "version 9", true},
		"no deleting":         {"DELETE entry", refuses(500, `{"reason":"internal","detail":"broken"}`), "ooowfsos", "session", "broken", true},
		"no streams":          {"GET events", refuses(404, `{"reason":"not_found","detail":"no such path"}`), "ooowowoo", "events", "newer server", false},
		"a stream of nothing": {"GET events", says(""), "ooowofoo", "events", "instead of an event stream", false},
		"a stream that ends": {"GET events", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
		}, "ooowofoo", "events", "broke", false},
		"a stream that is kept back": {"GET events", hangs, "ooowofoo", "events", "proxy_buffering", false},
		"a stream that is buffered": {"GET events", func(w http.ResponseWriter, r *http.Request) {
			snapshot(w, r)
			<-r.Context().Done()
		}, "ooowofoo", "events", "proxy_buffering", false},
		"no upgrade":            {"GET ws", refuses(400, `{"reason":"bad_request"}`), "ooowoofo", "websocket", "answered with 400", false},
		"another upgrade":       {"GET ws", upgrades(func(nc io.ReadWriter) { _ = wsutil.WriteServerText(nc, []byte("hello")) }), "ooowoofo", "websocket", "no Hearth server", false},
		"an upgrade to nothing": {"GET ws", upgrades(func(io.ReadWriter) {}), "ooowoofo", "websocket", "no reply came", false},
		"a refused socket": {"GET ws", upgrades(func(nc io.ReadWriter) {
			_ = wsutil.WriteServerMessage(nc, ws.OpClose, ws.NewCloseFrameBody(4401, "expired"))
		}), "ooowoofo", "websocket", "closed with 4401 expired", false},
		"a session that stays": {"DELETE peers", says(`{"session_ended":false}`), "ooowooof", "end", "has not ended", false},
		"a peer that stays":    {"DELETE peers", refuses(503, `{"reason":"unavailable","detail":"away"}`), "ooowooof", "end", "away", false},
		"another clock": {"GET healthz", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(-2*time.Minute).UTC().Format(http.TimeFormat))
			says(`{"status":"ok","version":"v1","node":"n1"}`)(w, r)
		}, "oofwoooo", "clock", "ahead of", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			s.routes[tt.route] = tt.h
			removed := 0
			if remove := s.routes["DELETE peers"]; tt.finish {
				s.routes["DELETE peers"] = func(w http.ResponseWriter, r *http.Request) {
					removed++
					remove(w, r)
				}
			}
			got := look(t, s, Options{Patience: 300 * time.Millisecond})
			if r := result(got); r != tt.want {
				t.Errorf("%s, not %s: %+v", r, tt.want, got)
			}
			if c := got[tt.check]; !strings.Contains(c.Detail+" "+c.Advice, tt.says) {
				t.Errorf("it says: %+v", c)
			}
			if tt.finish && removed != 1 {
				t.Errorf("the peer was removed %d times", removed)
			}
			if want := strings.Contains(tt.want, "f"); Failed(values(got)) != want {
				t.Errorf("failed: %v", !want)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		c, err := rest.New("127.0.0.1:1", rest.Fixed("t"), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		checks := Run(t.Context(), Options{Client: c})
		if checks[0].Status != Fail || !strings.Contains(checks[0].Detail, "no server answers") {
			t.Errorf("%+v", checks[0])
		}
	})
}

// upgrades speaks after it has heard the ping, and ends.
func upgrades(speak func(io.ReadWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		up := ws.HTTPUpgrader{}
		nc, _, _, err := up.Upgrade(r, w)
		if err != nil {
			return
		}
		defer nc.Close()
		if _, err := wsutil.ReadClientText(nc); err == nil {
			speak(nc)
		}
	}
}

func values(m map[string]Check) (all []Check) {
	for _, c := range m {
		all = append(all, c)
	}
	return all
}

// TestNamedRoom: others may be in it.
func TestNamedRoom(t *testing.T) {
	s := newServer()
	s.routes["DELETE peers"] = says(`{"session_ended":false}`)
	asked := ""
	room := s.routes["GET rooms"]
	s.routes["GET rooms"] = func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		room(w, r)
	}
	if got := look(t, s, Options{Room: "mine"}); result(got) != "ooowoooo" || asked != "/v1/rooms/mine" {
		t.Errorf("%s: %+v", asked, got)
	}
}

// TestInterrupted: a session that was begun is ended.
func TestInterrupted(t *testing.T) {
	s := newServer()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.routes["GET events"] = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := rest.New(srv.URL, rest.Fixed("t"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	checks := Run(ctx, Options{Client: c})
	if last := checks[len(checks)-1]; last.Name != "end" || last.Status != OK {
		t.Errorf("%+v", checks)
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 700e6, time.UTC)
	for ahead, want := range map[time.Duration]Status{
		0: OK, 2 * time.Second: OK, -2 * time.Second: OK, 5 * time.Second: Warn, -5 * time.Second: Warn, 90 * time.Second: Fail, -90 * time.Second: Fail,
	} {
		c := clock(now.Add(-ahead).Format(http.TimeFormat), now)
		word := "ahead"
		if ahead < 0 {
			word = "behind"
		}
		if c.Status != want || want != OK && (!strings.Contains(c.Detail, word) || c.Advice == "") {
			t.Errorf("%s: %+v", ahead, c)
		}
	}
	if c := clock("", now); c.Status != Warn {
		t.Errorf("%+v", c)
	}
}
