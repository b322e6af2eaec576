package jwks

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/testlog"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

func logger(b *testlog.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func open(t *testing.T, where string, log *testlog.Buffer) *Source {
	t.Helper()
	s, err := Open(t.Context(), where, logger(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Source) knows(kid string) bool {
	_, ok := s.Find(kid)
	return ok
}

// soon fails the test if ok does not come true. Asking for a key has the set read anew, as verifying a token does.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path, log := filepath.Join(t.TempDir(), "keys.json"), &testlog.Buffer{}
	if _, err := Open(t.Context(), path, logger(log)); err == nil {
		t.Fatal("opened a file that isn't there")
	}
	write(t, path, setOf(rsaJWK))
	s := open(t, path, log)
	if !s.knows("rsa") || s.knows("ec") {
		t.Fatal("not the keys of the file")
	}
	write(t, path, setOf(ecJWK))
	soon(t, "the new key is known", func() bool { return s.knows("ec") })
	if s.knows("rsa") {
		t.Error("a key that was taken out is known")
	}
	write(t, path, "{")
	soon(t, "the bad set is met", func() bool { return log.Has("can't read the key set") })
	if !s.knows("ec") {
		t.Error("a set that is no good has ended the keys that were known")
	}
}

// served is a server of a set, whose answer can be changed.
type served struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	s.says(setOf(rsaJWK))
	return s
}

func (s *served) do(f http.HandlerFunc) { s.answer.Store(&f) }

func (s *served) says(text string) {
	s.do(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

func TestURL(t *testing.T) {
	web, log := serve(t), &testlog.Buffer{}
	s := open(t, web.URL+"/keys?secret=hush", log)
	web.says(setOf(rsaJWK, edJWK))
	soon(t, "the new key is known", func() bool { return s.knows("ed") })
	// Strangers may name any kid: that costs the provider nothing.
	for range 1000 {
		s.knows("none")
	}
	s.Close()
	if n := web.asked.Load(); n != 2 {
		t.Errorf("read %d times", n)
	}
	if log.Has("hush") {
		t.Errorf("the query of the URL is in the log: %s", log)
	}
}

func TestBadAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"not there":  {http.NotFound, "404"},
		"no set":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "not JSON"},
		"redirected": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, "302"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		}, "over"},
		"cut": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			web := serve(t)
			web.do(tt.answer)
			if _, err := Open(t.Context(), web.URL, logger(&testlog.Buffer{})); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestBadURLs(t *testing.T) {
	for _, where := range []string{"http://id.example/keys", "http://10.0.0.1/keys", "ftp://id.example/keys", "https://", "https:///keys", "://", "https://a b"} {
		if _, err := Open(t.Context(), where, logger(&testlog.Buffer{})); err == nil {
			t.Errorf("%s was opened", where)
		}
	}
	for _, where := range []string{"https://id.example/keys", "http://127.0.0.1:1/keys", "http://[::1]/keys", "http://localhost/keys"} {
		if err := checkURL(where); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// Keys that can't be read anew are good for a day.
func TestStale(t *testing.T) {
	s := open(t, serve(t).URL, &testlog.Buffer{})
	d := s.set.Load()
	s.set.Store(&dated{d.Set, time.Now().Add(time.Minute - staleAfter)})
	if !s.knows("rsa") {
		t.Error("not known within the day")
	}
	s.set.Store(&dated{d.Set, time.Now().Add(-staleAfter)})
	if s.knows("rsa") {
		t.Error("known after it")
	}
}

// Close ends a reading that is under way.
func TestClose(t *testing.T) {
	web := serve(t)
	s := open(t, web.URL, &testlog.Buffer{})
	begun := make(chan struct{})
	web.do(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})
	s.knows("none")
	<-begun
	ended := make(chan struct{})
	go func() { s.Close(); close(ended) }()
	ctx, cancel := context.WithTimeout(t.Context(), fetchWithin/2)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("Close waits for the server")
	}
}
