package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthstore/hearth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take on a slow machine before a test gives up.
const patience = 20 * time.Second

// newClient returns a client of a server that answers as h does, with pauses that a test can wait for.
func newClient(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := New(srv.URL, Fixed("token"), patience)
	if err != nil {
		t.Fatal(err)
	}
	c.pause, c.maxPause, c.steady = time.Millisecond, 4*time.Millisecond, time.Hour
	// A connection of its own for each request: net/http repeats by itself what is cut on one that was idle.
	transport, ok := c.http.Transport.(*http.Transport)
	if !ok {
		t.Fatal("New made another transport")
	}
	transport.DisableKeepAlives = true
	t.Cleanup(c.Close)
	return c
}

// cut ends a request's connection without an answer.
func cut(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	nc.Close()
}

func TestServerNames(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8080":             "http://127.0.0.1:8080",
		"localhost:1":                "http://localhost:1",
		"https://rooms.example/":     "https://rooms.example",
		"https://example.com/h/v1":   "https://example.com/h",
		"https://example.com/h/v1/":  "https://example.com/h",
		"http://[::1]:8080":          "http://[::1]:8080",
		"ftp://example.com":          "",
		"http://":                    "",
		"":                           "",
		"http://u:p@example.com":     "",
		"http://example.com/?a=b":    "",
		"http://example.com/#a":      "",
		"http://exa mple.com:80":     "",
		"http://example.com:port":    "",
		"redis-sentinel://127.0.0.1": "",
	} {
		c, err := New(in, Fixed(""), time.Second)
		switch {
		case want == "" && hearth.ReasonOf(err) != hearth.ReasonBadParams:
			t.Errorf("%q: %v", in, err)
		case want != "" && (err != nil || c.URL() != want):
			t.Errorf("%q: %v, %v", in, c, err)
		}
	}
	for in, want := range map[string]bool{
		"localhost": true, "127.0.0.1:1": true, "http://[::1]": true, "127.8.8.8": true,
		"10.0.0.1": false, "example.com": false, "localhost.example.com": false,
	} {
		if c, err := New(in, Fixed(""), time.Second); err != nil || c.Loopback() != want {
			t.Errorf("%q: %v %v", in, c, err)
		}
	}
}

// TestRefusals: the server's own errors come back as they were; what something else says is told from them.
func TestRefusals(t *testing.T) {
	const problem = "application/problem+json"
	for name, tt := range map[string]struct {
		method string
		status int
		kind   string
		body   string
		reason hearth.Reason
		detail string
	}{
		"its own":                  {"GET", 404, problem, `{"reason":"no_session","detail":"none"}`, "no_session", "none"},
		"one that is not known":    {"GET", 409, problem + "; charset=utf-8", `{"reason":"lock_held","detail":"by ann"}`, "lock_held", "by ann"},
		"a proxy's":                {"GET", 502, "text/html", `<h1>Bad Gateway</h1>`, "unavailable", "answered 502 Bad Gateway"},
		"a proxy's, of a write":    {"PUT", 502, "text/html", `<h1>Bad Gateway</h1>`, "outcome_unknown", "not known"},
		"a proxy's timeout":        {"PUT", 504, "text/html", ``, "outcome_unknown", "not known"},
		"a proxy's, not executed":  {"PUT", 503, "text/html", ``, "unavailable", "answered 503"},
		"a proxy's limit":          {"GET", 429, "text/html", ``, "unavailable", "answered 429"},
		"a proxy's door":           {"GET", 401, "text/html", ``, "unauthenticated", "something in between"},
		"another proxy's door":     {"GET", 403, "text/html", ``, "forbidden", "something in between"},
		"another server":           {"GET", 404, "text/html", `no`, "unavailable", "is --server right?"},
		"a problem of others":      {"GET", 404, problem, `{"title":"no"}`, "unavailable", "is --server right?"},
		"a problem that is broken": {"GET", 400, problem, `{"reason":`, "internal", "answered 400"},
		"a redirect":               {"GET", 308, "text/html", ``, "unavailable", "points to https://other.example/h;"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.kind)
				if tt.status == 308 {
					w.Header().Set("Location", "https://other.example/h"+r.URL.Path)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := c.Do(t.Context(), Request{Method: tt.method, Path: "/v1/rooms"})
			if e := hearth.AsError(err); e.Reason != tt.reason || !strings.Contains(e.Detail, tt.detail) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestProblemsKeepWhatTheyCarry(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		if r.URL.Path == "/v1/rooms/away" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"reason":"unavailable","detail":"later","retry_after_ms":1500}`)
			return
		}
		if r.URL.Path == "/v1/rooms/locked/entry" {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"reason":"lock_held","lock":{"name":"mic","peer_id":"ann","token":7,"expires_at":9,"keys":["k"],"waiters":1}}`)
			return
		}
		w.WriteHeader(http.StatusPreconditionFailed)
		data := `{"n":1.50}`
		if r.URL.Path == "/v1/rooms/absent/entry" {
			data = `null`
		}
		_, _ = fmt.Fprintf(w, `{"reason":"version_conflict","current":{"key":"k","data":%s,"change_version":7,"updated_by":"ann","updated_at":5}}`, data)
	})
	_, err := c.Room(t.Context(), "away")
	if e := hearth.AsError(err); e.RetryAfter != 1500*time.Millisecond || e.Detail != "later" {
		t.Errorf("%+v", e)
	}
	_, err = c.Set(t.Context(), Write{Room: "r", Key: "k", Value: []byte("1"), IfVersion: new(uint64)})
	e := hearth.AsError(err)
	if e.Current == nil || e.Current.Key != "k" || string(e.Current.Data) != `{"n":1.50}` || e.Current.ChangeVersion != 7 ||
		e.Current.UpdatedBy != "ann" || e.Current.UpdatedAt != 5 {
		t.Errorf("%+v", e.Current)
	}
	_, err = c.Set(t.Context(), Write{Room: "locked", Key: "k"})
	if l := hearth.AsError(err).Lock; l == nil || l.Name != "mic" || l.Peer != "ann" || l.Token != 7 || l.ExpiresAt != 9 {
		t.Errorf("%+v", l)
	}
	if _, err = c.Set(t.Context(), Write{Room: "absent", Key: "k"}); hearth.AsError(err).Current.Data != nil {
		t.Errorf("an absent entry has data: %v", err)
	}
}

// TestNoAnswer: whether a write may have been done depends on how far it got.
func TestNoAnswer(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) { cut(t, w) })
	_, err := c.Room(t.Context(), "r")
	if hearth.ReasonOf(err) != hearth.ReasonUnavailable {
		t.Errorf("a read: %v", err)
	}
	if _, err = c.Set(t.Context(), Write{Room: "r", Key: "k", Value: []byte("1")}); hearth.ReasonOf(err) != hearth.ReasonOutcomeUnknown {
		t.Errorf("a write: %v", err)
	}
	nobody, err := New("127.0.0.1:1", Fixed("t"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_, err = nobody.Set(t.Context(), Write{Room: "r", Key: "k", Value: []byte("1")})
	if e := hearth.AsError(err); e.Reason != hearth.ReasonUnavailable || !strings.Contains(e.Detail, "--server") {
		t.Errorf("nobody there: %v", err)
	}
	slow := newClient(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	slow.timeout = 20 * time.Millisecond
	if _, err = slow.Room(t.Context(), "r"); hearth.ReasonOf(err) != hearth.ReasonUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too slow: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = slow.Room(over, "r"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestRepeatedWrite: a write that got no answer is repeated if it has an op_id, under that and no other.
func TestRepeatedWrite(t *testing.T) {
	seen := make(chan string, 10)
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Idempotency-Key")
		if len(seen) < 3 {
			cut(t, w)
			return
		}
		_, _ = io.WriteString(w, `{"key":"k","data":1,"change_version":4}`)
	})
	e, err := c.Set(t.Context(), Write{Room: "r", Key: "k", Value: []byte("1"), OpID: "op"})
	if err != nil || e.ChangeVersion != 4 || len(seen) != 3 {
		t.Errorf("%+v, %v after %d tries", e, err, len(seen))
	}
	for len(seen) > 0 {
		if op := <-seen; op != "op" {
			t.Errorf("a try under %q", op)
		}
	}
	if _, err = c.Set(t.Context(), Write{Room: "r", Key: "k", Value: []byte("1")}); err == nil || len(seen) != 1 {
		t.Errorf("without an op_id: %v after %d tries", err, len(seen))
	}
}

func TestSet(t *testing.T) {
	var got *http.Request
	var body string
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/rooms/r" {
			_, _ = io.WriteString(w, `{"room_id":"r","session":{"session_id":"s"}}`)
			return
		}
		if r.URL.Path == "/v1/rooms/empty" {
			_, _ = io.WriteString(w, `{"room_id":"empty","session":null}`)
			return
		}
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		_, _ = io.WriteString(w, `{"key":"k","data":1.50,"change_version":4,"new":true}`)
	})
	e, err := c.Set(t.Context(), Write{Room: "r", Key: "a/b ?#ü%2F", Value: []byte(`1.50`), TTL: 1500 * time.Millisecond, OpID: "o", Conn: "c"})
	if err != nil || string(e.Raw) != `{"key":"k","data":1.50,"change_version":4,"new":true}` {
		t.Fatalf("%s, %v", e.Raw, err)
	}
	if got.Method != http.MethodPut || got.URL.Path != "/v1/rooms/r/entry" || got.URL.Query().Get("key") != "a/b ?#ü%2F" || got.URL.Query().Get("ttl_ms") != "1500" ||
		body != "1.50" || got.Header.Get("Idempotency-Key") != "o" || got.Header.Get("Hearth-Conn") != "c" || got.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("%s %s %v %s", got.Method, got.URL, got.Header, body)
	}
	zero, seven := uint64(0), uint64(7)
	for name, tt := range map[string]struct {
		w             Write
		method        string
		match, absent string
	}{
		"delete":           {Write{}, "DELETE", "", ""},
		"if absent":        {Write{Value: []byte("1"), IfVersion: &zero}, "PUT", "", "*"},
		"if at a version":  {Write{Value: []byte("1"), IfVersion: &seven}, "PUT", `"s.7"`, ""},
		"delete a version": {Write{IfVersion: &seven}, "DELETE", `"s.7"`, ""},
	} {
		tt.w.Room, tt.w.Key = "r", "k"
		if _, err := c.Set(t.Context(), tt.w); err != nil || got.Method != tt.method || got.Header.Get("If-Match") != tt.match || got.Header.Get("If-None-Match") != tt.absent {
			t.Errorf("%s: %v, %s %v", name, err, got.Method, got.Header)
		}
	}
	if _, err := c.Set(t.Context(), Write{Room: "empty", Key: "k", Value: []byte("1"), IfVersion: &seven}); hearth.ReasonOf(err) != hearth.ReasonNoSession {
		t.Errorf("a version in a room without a session: %v", err)
	}
}

func TestPages(t *testing.T) {
	var asked []string
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery+" "+r.Header.Get("Hearth-Session"))
		kind, item := "rooms", `{"room_id":"a","session":{"session_id":"s","peer_count":2,"started_at":3,"seq":4},"new":1}`
		if strings.HasSuffix(r.URL.Path, "/metadata") {
			kind, item = "entries", `{"key":"k","data":1}`
		}
		switch r.URL.Query().Get("cursor") {
		case "":
			_, _ = fmt.Fprintf(w, `{"session_id":"s","seq":5,%q:[%s,%s],"cursor":"x y"}`, kind, item, item)
		case "x y":
			_, _ = fmt.Fprintf(w, `{"session_id":"s","seq":6,%q:[%s]}`, kind, item)
		}
	})
	rooms, err := c.Rooms(t.Context(), 0)
	if err != nil || len(rooms) != 3 || rooms[2].Session.PeerCount != 2 || !strings.Contains(string(rooms[2].Raw), `"new":1`) {
		t.Errorf("%v, %v", rooms, err)
	}
	if rooms, err = c.Rooms(t.Context(), 2); err != nil || len(rooms) != 2 {
		t.Errorf("limited: %v, %v", rooms, err)
	}
	entries, err := c.Entries(t.Context(), "r", "p/", 0)
	if err != nil || len(entries.Entries) != 3 || entries.Seq != 5 || entries.SessionID != "s" {
		t.Errorf("%+v, %v", entries, err)
	}
	want := []string{
		"limit=1000 ", "cursor=x+y&limit=1000 ", "limit=2 ", "limit=1000&prefix=p%2F ", "cursor=x+y&limit=1000&prefix=p%2F s",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}

// TestRenewedToken: a token that is refused is made anew once.
func TestRenewedToken(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer 2" {
			_, _ = io.WriteString(w, `{"rooms":[]}`)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"reason":"unauthenticated","detail":"expired"}`)
	})
	var made atomic.Int64
	c.source = func(context.Context) (string, error) { return strconv.FormatInt(made.Add(1), 10), nil }
	for range 2 {
		if _, err := c.Rooms(t.Context(), 0); err != nil {
			t.Error(err)
		}
	}
	if made.Load() != 2 {
		t.Errorf("%d tokens were made", made.Load())
	}
	c.token = "5" // the next is 3, refused as well
	if _, err := c.Rooms(t.Context(), 0); hearth.ReasonOf(err) != hearth.ReasonUnauthenticated || made.Load() != 3 {
		t.Errorf("%v after %d tokens", err, made.Load())
	}
}

func TestAnotherServersJSON(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `<html>`) })
	if _, err := c.Rooms(t.Context(), 0); hearth.ReasonOf(err) != hearth.ReasonUnavailable {
		t.Errorf("%v", err)
	}
}

func TestExpiry(t *testing.T) {
	claims := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return "x." + b64(b) + ".y"
	}
	if got := Expiry(claims(map[string]any{"exp": 12.5})); got.UnixMilli() != 12500 {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{"", "a.b", "a.b.c", claims(map[string]any{}), claims([]int{1})} {
		if got := Expiry(bad); !got.IsZero() {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
