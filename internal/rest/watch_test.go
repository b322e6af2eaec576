package rest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func TestParser(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"an event":         {"event: on-x\nid: e.1.n\ndata: {\"a\":1}\n\n", []string{`on-x e.1.n {"a":1}`}},
		"CRLF":             {"event: on-x\r\nid: 1\r\ndata: 1\r\n\r\n", []string{"on-x 1 1"}},
		"no blank":         {"event:on-x\nid:1\ndata:1\n\n", []string{"on-x 1 1"}},
		"one blank only":   {"event:  x\ndata: 1\n\n", []string{" x  1"}},
		"comments":         {": hello\n\n:\n\nevent: x\n: in between\ndata: 1\n\n", []string{"x  1"}},
		"several lines":    {"event: x\ndata: {\ndata: \"a\":1}\n\n", []string{"x  {\n\"a\":1}"}},
		"sticky id":        {"event: x\nid: 1\ndata: 1\n\nevent: y\ndata: 2\n\n", []string{"x 1 1", "y 1 2"}},
		"id without data":  {"id: 7\n\nevent: y\ndata: 2\n\n", []string{"y 7 2"}},
		"no data":          {"event: x\n\ndata: 2\n\n", []string{"  2"}},
		"a cleared id":     {"id: 1\n\nid\ndata: 2\n\n", []string{"  2"}},
		"an id with NUL":   {"id: 1\n\nid: a\x00b\ndata: 2\n\n", []string{" 1 2"}},
		"unknown fields":   {"foo: 1\nevent: x\nbar\ndata: 1\n\n", []string{"x  1"}},
		"an end too early": {"event: x\ndata: 1\n\nevent: y\nid: 9\ndata: 2\n", []string{"x  1"}},
		"a long line":      {"event: x\ndata: \"" + strings.Repeat("a", 40<<10) + "\"\n\n", []string{"x  \"" + strings.Repeat("a", 40<<10) + `"`}},
		"not JSON":         {"event: x\ndata: 1\n\nevent: y\ndata: {\n\n", []string{"x  1"}},
		"retry":            {"retry: 1500\n\nretry: x\nevent: x\ndata: 1\n\n", []string{"x  1"}},
	} {
		t.Run(name, func(t *testing.T) {
			lines := 0
			p := newParser(strings.NewReader(tt.text), "", func() { lines++ })
			var got []string
			for {
				e, err := p.next()
				if err != nil {
					break
				}
				got = append(got, fmt.Sprintf("%s %s %s", e.Name, e.ID, e.Data))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q", got)
			}
			if want := strings.Count(tt.text, "\n"); lines != want && name != "not JSON" {
				t.Errorf("%d of %d lines were heard", lines, want)
			}
			if name == "retry" && p.retry != 1500*time.Millisecond {
				t.Errorf("retry is %s", p.retry)
			}
			if name == "an end too early" && p.id != "" {
				t.Errorf("it goes on from %q, of an event that was not whole", p.id)
			}
		})
	}
	p := newParser(io.MultiReader(strings.NewReader("data: "), endless{}), "", func() {})
	if _, err := p.next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("an endless line: %v", err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

// streams is a fake server: each connection is answered by the next of its scripts.
type streams struct {
	mu      sync.Mutex
	asked   []string // of each request: keys, Last-Event-ID
	scripts []http.HandlerFunc
}

func (s *streams) serve(w http.ResponseWriter, r *http.Request) {
	next := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	s.mu.Lock()
	s.asked = append(s.asked, strings.Join(r.URL.Query()["keys"], "|")+" "+r.Header.Get("Last-Event-ID"))
	if len(s.scripts) > 0 {
		next = s.scripts[0]
		s.scripts = s.scripts[1:]
	}
	s.mu.Unlock()
	next(w, r)
}

// says streams text and ends.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
	}
}

func refuses(status int, reason hearth.Reason, more string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"reason":%q,"detail":"no"%s}`, reason, more)
	}
}

// watch collects what is heard.
func (s *streams) watch(t *testing.T, w Watch) (heard []string, pauses []time.Duration, err error) {
	t.Helper()
	c := newClient(t, s.serve)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.Room = "r"
	w.Broken = func(err error, pause time.Duration) {
		if err == nil {
			t.Error("broken by nothing")
		}
		pauses = append(pauses, pause)
	}
	err = c.Watch(ctx, w, func(e Event) error {
		heard = append(heard, e.Name+" "+e.ID)
		return nil
	})
	if ctx.Err() != nil {
		t.Error("the watch did not end by itself")
	}
	return heard, pauses, err
}

// TestWatchResumes: each way in which a stream can end is followed by another, from the last whole event on.
func TestWatchResumes(t *testing.T) {
	s := &streams{scripts: []http.HandlerFunc{
		says("event: a\nid: e.1.n\ndata: 1\n\nevent: b\nid: e.2.n\ndata: 1\n\nevent: c\nid: e.3.n\ndata: 1\n"),
		func(w http.ResponseWriter, _ *http.Request) { cut(t, w) },
		refuses(503, "unavailable", ""),
		refuses(429, "rate_limited", `,"retry_after_ms":20`),
		says(": nothing yet\n\n"),
		says("event: c\nid: e.3.n\ndata: 1\n\n"),
	}}
	heard, pauses, err := s.watch(t, Watch{Keys: []string{"k", "p/*"}, After: "e.0.n"})
	if err != nil {
		t.Error(err)
	}
	if want := []string{"a e.1.n", "b e.2.n", "c e.3.n"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q", heard)
	}
	want := []string{"k|p/* e.0.n", "k|p/* e.2.n", "k|p/* e.2.n", "k|p/* e.2.n", "k|p/* e.2.n", "k|p/* e.2.n", "k|p/* e.3.n"}
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}
	// 1, 2, 4 and from then on 4 ms, each up to a quarter longer, but where the server says how long.
	least := []int{1, 2, 4, 20, 4, 4}
	if len(pauses) != len(least) {
		t.Fatalf("paused %v", pauses)
	}
	for i, p := range pauses {
		if d := time.Duration(least[i]) * time.Millisecond; p < d || p > d+d/4 {
			t.Errorf("pause %d is %s, not about %s", i, p, d)
		}
	}
}

// TestSteadyWatch: the end of a stream that lived for a while is no reason to wait longer than before.
func TestSteadyWatch(t *testing.T) {
	s := &streams{scripts: slices.Repeat([]http.HandlerFunc{says("event: a\nid: 1\ndata: 1\n\n")}, 4)}
	c := newClient(t, s.serve)
	c.steady = 0
	var pauses []time.Duration
	err := c.Watch(t.Context(), Watch{Room: "r", Broken: func(_ error, p time.Duration) { pauses = append(pauses, p) }}, func(Event) error { return nil })
	if err != nil || len(pauses) != 4 || slices.Max(pauses) > c.pause+c.pause/4 {
		t.Errorf("%v, %v", err, pauses)
	}
}

// TestWatchEnds: what will not pass ends it, at once or later.
func TestWatchEnds(t *testing.T) {
	begin := says("event: a\nid: 1\ndata: 1\n\n")
	for name, tt := range map[string]struct {
		scripts []http.HandlerFunc
		reason  hearth.Reason
	}{
		"not to be begun":    {[]http.HandlerFunc{refuses(503, "unavailable", "")}, "unavailable"},
		"forbidden":          {[]http.HandlerFunc{begin, refuses(403, "forbidden", "")}, "forbidden"},
		"not found":          {[]http.HandlerFunc{begin, refuses(404, "not_found", "")}, "not_found"},
		"told not to return": {[]http.HandlerFunc{begin}, ""},
		"not a stream": {[]http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
		}}, "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &streams{scripts: tt.scripts}
			if _, _, err := s.watch(t, Watch{}); hearth.ReasonOf(err) != tt.reason {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("once", func(t *testing.T) {
		s := &streams{scripts: []http.HandlerFunc{begin}}
		if _, _, err := s.watch(t, Watch{Once: true}); hearth.ReasonOf(err) != hearth.ReasonUnavailable || len(s.asked) != 1 {
			t.Errorf("%v after %q", err, s.asked)
		}
	})
	t.Run("by who hears", func(t *testing.T) {
		mine := errors.New("mine")
		c := newClient(t, (&streams{scripts: []http.HandlerFunc{begin}}).serve)
		if err := c.Watch(t.Context(), Watch{Room: "r"}, func(Event) error { return mine }); !errors.Is(err, mine) {
			t.Errorf("%v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			begin(w, r)
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := c.Watch(ctx, Watch{Room: "r"}, func(Event) error {
			cancel()
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("interrupted in a pause", func(t *testing.T) {
		c := newClient(t, begin)
		c.pause, c.maxPause = time.Hour, time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := c.Watch(ctx, Watch{Room: "r", Broken: func(error, time.Duration) { cancel() }}, func(Event) error { return nil })
		if err != nil {
			t.Error(err)
		}
	})
}

// TestSilence: a stream that says nothing, not even a comment, is broken; one that takes too long to begin never was.
func TestSilence(t *testing.T) {
	hangs := func(w http.ResponseWriter, r *http.Request) {
		says("event: a\nid: 1\ndata: 1\n\n")(w, r)
		<-r.Context().Done()
	}
	s := &streams{scripts: []http.HandlerFunc{hangs}}
	c := newClient(t, s.serve)
	c.silence = 30 * time.Millisecond
	var broken error
	err := c.Watch(t.Context(), Watch{Room: "r", Broken: func(err error, _ time.Duration) { broken = err }}, func(Event) error { return nil })
	if err != nil || !errors.Is(broken, errSilent) || !slices.Equal(s.asked, []string{" ", " 1"}) {
		t.Errorf("%v, broken by %v, asked %q", err, broken, s.asked)
	}
	c = newClient(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c.timeout = 30 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Watch(ctx, Watch{Room: "r"}, nil); hearth.ReasonOf(err) != hearth.ReasonUnavailable || !errors.Is(err, errSilent) {
		t.Errorf("%v", err)
	}
}
