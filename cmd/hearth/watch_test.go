package main

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/rest"
	"github.com/hearthstore/hearth/internal/testlog"
)

// watching is a `hearth watch` that runs.
type watching struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	errs  testlog.Buffer
}

func (w *watching) said() string { return w.errs.String() }

func watch(t *testing.T, env []string, args ...string) *watching {
	t.Helper()
	w := &watching{t: t, cmd: command(t, env, append([]string{"watch"}, args...)...), lines: make(chan string, 1000)}
	w.cmd.Stderr = &w.errs
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	go func() { // ends with the process
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	return w
}

// expect takes lines until one matches.
func (w *watching) expect(pattern string) {
	w.t.Helper()
	re, timeout := regexp.MustCompile(pattern), time.After(patience)
	for {
		select {
		case l, ok := <-w.lines:
			switch {
			case !ok:
				w.t.Fatalf("it ended before %s: %s", pattern, w.said())
			case re.MatchString(l):
				return
			}
		case <-timeout:
			w.t.Fatalf("in vain for %s: %s", pattern, w.said())
		}
	}
}

// end interrupts the watch, as Ctrl-C does.
func (w *watching) end() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		w.t.Fatal(err)
	}
	for range w.lines { // Wait closes the pipe, so what is in it is read first
	}
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("Ctrl-C: %v: %s", err, w.said())
	}
}

// TestWatchCut: a watch goes on where a cut stream was, says so, and ends with 0 by Ctrl-C.
func TestWatchCut(t *testing.T) {
	asked := make(chan string, 10)
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path + " " + strings.Join(r.URL.Query()["keys"], "|") + " " + r.Header.Get("Last-Event-ID") + " " + r.Header.Get("Authorization")
		if n++; n == 2 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "event: on-metadata-change\nid: eeeeee.%d.nnnnnn\ndata: {\"seq\":%d,\"values\":[{\"key\":\"k\",\"data\":1.50}]}\n\n", n, n)
		if n > 2 {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	w := watch(t, []string{"HEARTH_SERVER=" + srv.URL, "HEARTH_TOKEN=t"}, "demo", "--json", "--keys", "k,p/*", "--after", "eeeeee.0.nnnnnn")
	w.expect(`^{"event":"on-metadata-change","id":"eeeeee.1.nnnnnn","data":{"seq":1,"values":\[{"key":"k","data":1.50}\]}}$`)
	w.expect(`^{"event":"on-metadata-change","id":"eeeeee.3.nnnnnn"`)
	for i, want := range []string{"0", "1", "1"} {
		if got := <-asked; got != "/v1/rooms/demo/events k|p/* eeeeee."+want+".nnnnnn Bearer t" {
			t.Errorf("request %d: %s", i, got)
		}
	}
	w.end()
	said := regexp.MustCompile(`(?m)^hearth: the event stream broke: it was closed \(unavailable\); again in \d+ms
hearth: http://\S+ answered 502 .*; again in \d+ms
hearth: watching again$`)
	if !said.MatchString(w.said()) {
		t.Error(w.said())
	}
}

// TestWatchRoom watches a real room from before its session until after it.
func TestWatchRoom(t *testing.T) {
	n := startNode(t, redistest.Shared(t))
	env := []string{"HEARTH_SERVER=" + n.url, "HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}
	early := watch(t, env, "demo")
	ann := n.join(t, "demo", "ann", "host", `{}`)
	early.expect(`peer.* ann \(host\)`)
	ann.call("set-metadata", `{"key":"deck","data":{"slide":3}}`)
	early.expect(`^ +2  metadata-change  deck = \{"slide":3\} by ann$`)
	filtered := watch(t, env, "demo", "--keys", "other*", "--json")
	ann.call("set-metadata", `{"key":"deck","data":4}`)
	ann.call("set-metadata", `{"key":"other-x","data":5}`)
	filtered.expect(`^\{"event":"on-metadata-change","id":"[^"]+\.4\.[^"]+","data":\{.*"key":"other-x","data":5.*\}\}$`)
	bob := n.join(t, "demo", "bob", "host", `{}`)
	early.expect(`^ +5  peer-join        bob \(host\)$`)
	bob.call("broadcast", `{"info":{"message":{"text":"hi"}}}`)
	early.expect(`^ +6  broadcast        bob \(chat\) \{"text":"hi"\}$`)
	bob.call("leave", `{}`)
	early.expect(`^ +7  peer-leave       bob \(left\)$`)
	ann.call("leave", `{}`)
	early.expect(`session-end`)
	filtered.expect(`^\{"event":"on-session-end"`)
	again := n.join(t, "demo", "ann", "host", `{}`)
	again.call("set-metadata", `{"key":"deck","data":"next"}`)
	early.expect(`^ +2  metadata-change  deck = "next" by ann$`)
	early.end()
	filtered.end()
	if said := early.said() + filtered.said(); said != "" {
		t.Error(said)
	}
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"on-peer-join", `{"seq":3,"n":"x","peer_id":"bob","role":"guest","groups":["a","b"],"info":{"name":"Bob B","user_id":"u"}}`, `     3  peer-join        bob (guest) "Bob B" user=u groups=a,b`},
		{"on-peer-update", `{"seq":3,"peer_id":"bob","role":"guest","info":{"name":"","user_id":"bob"}}`, `     3  peer-update      bob (guest)`},
		{"on-peer-leave", `{"seq":4,"peer_id":"bob","reason":"timed_out"}`, `     4  peer-leave       bob (timed_out)`},
		{
			"peer-list",
			`{"snapshot":true,"peers":{"b":{"peer_id":"b","role":"x","info":{"user_id":"b"}},"a":{"peer_id":"a","role":"y","info":{"user_id":"a"}}},"total":5,"seq":9}`,
			"     9  peer             a (y)\n     9  peer             b (x)\n     9  peer             … and 3 more",
		},
		{
			"on-metadata-change",
			`{"seq":5,"values":[{"key":"a","data":{"n": 1.50},"updated_by":"ann"},{"key":"b","data":null,"deleted":true,"reason":"expired"},{"key":"c","data":1,"owner":"ann"}]}`,
			"     5  metadata-change  a = {\"n\":1.50} by ann\n     5  metadata-change  b deleted (expired)\n     5  metadata-change  c = 1 (goes with ann)",
		},
		{"on-metadata-change", `{"snapshot":true,"seq":5,"values":[{"key":"a","data":1,"change_version":2},{"key":"b","data":null,"change_version":0}]}`, `     5  metadata         a = 1`},
		{"on-broadcast", `{"seq":6,"peer":{"peer_id":"ann"},"info":{"message":"hi","type":"chat"}}`, `     6  broadcast        ann (chat) "hi"`},
		{"on-broadcast", `{"seq":6,"roles":["a","b"],"info":{"message":1,"type":"t"}}`, `     6  broadcast        server (t) to a,b 1`},
		{"on-broadcast", `{"seq":6,"private":true,"info":{"message":1,"type":"t"}}`, `     6  broadcast        server (t) in private 1`},
		{"on-lock-change", `{"seq":7,"name":"mic","state":"acquired","peer_id":"ann","token":7}`, `     7  lock-change      mic acquired by ann token=7`},
		{"on-lock-change", `{"seq":8,"name":"mic","state":"expired"}`, `     8  lock-change      mic expired`},
		{"on-session-start", `{"session_id":"s"}`, `        session-start    s`},
		{"on-session-end", `{"session_id":"s","reason":"ended","recovered":false,"seq":9}`, `     9  session-end      s (ended) (what happened in between is not known)`},
		{"on-news", `{"seq":1, "a":"b"}`, `     1  news             {"seq":1,"a":"b"}`},
		{"on-peer-join", `{"seq":"x"}`, `        peer-join        {"seq":"x"}`},
		{"on-peer-join", `{"peer_id":"a","role":"r","info":{"user_id":"a","name":"x\u001b[2J\u202ey"}}`, `        peer-join        a (r) "x\x1b[2J\u202ey"`},
		{"on-\u001b", `"` + strings.Repeat("ü", 130) + `"`, `        \x1b             "` + strings.Repeat("ü", 119) + `…`},
	} {
		if got := describe(rest.Event{Name: c.name, Data: []byte(c.data)}); got != strings.TrimSuffix(c.want, "\n")+"\n" {
			t.Errorf("%s %s\n%s%s", c.name, c.data, got, c.want)
		}
	}
	for name, data := range map[string]string{"on-metadata-change": `{"snapshot":true,"values":[]}`, "on-cursor": `{"cursor":"eeeeee.1.nnnnnn"}`} {
		if got := describe(rest.Event{Name: name, Data: []byte(data)}); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.UnixMilli(1e12)
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 2 * time.Hour: "2h", 47 * time.Hour: "47h", 72 * time.Hour: "3d",
	} {
		if got := age(now.Add(-d).UnixMilli(), now); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü☃ {}": "plain ü☃ {}", "a\tb\n": `a\tb\n`, "\x1b[31m": `\x1b[31m`, "\u202e": `\u202e`, "\u009b": `\u009b`, "\x7f": `\x7f`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
