package jwks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth/auth"
)

const (
	fetchWithin = 10 * time.Second
	// urlEvery and fileEvery are how often a set is read anew.
	urlEvery  = 5 * time.Minute
	fileEvery = 2 * time.Second
	// askEvery is the least time between two readings of a URL because of a kid that nobody knows: strangers can name any.
	askEvery = 10 * time.Second
	// staleAfter is for how long a set is good that can't be read anew. Whoever keeps us from reading could else keep a key alive
	// that was taken back.
	staleAfter = 24 * time.Hour
)

// Source is a set that is read from a file or a URL, and anew as long as it is open. What can't be read, or is no good, leaves
// the keys as they were, for a day.
// It implements auth.KeySource.
type Source struct {
	where string
	file  bool
	http  *http.Client
	log   *slog.Logger

	set    atomic.Pointer[dated]
	text   []byte // of set; of refresh alone
	ask    chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// dated is a set and when it was last known to be so.
type dated struct {
	Set
	at time.Time
}

// Open reads the keys. where is a path, an https:// URL, or an http:// URL of this machine. Close has to be called.
func Open(ctx context.Context, where string, log *slog.Logger) (*Source, error) {
	s := &Source{where: where, log: log, ask: make(chan struct{}, 1)}
	every := urlEvery
	if s.file = !strings.Contains(where, "://"); s.file {
		every = fileEvery
	} else if err := checkURL(where); err != nil {
		return nil, err
	}
	// A redirect would lead to where nobody said that keys are.
	s.http = &http.Client{
		Timeout:       fetchWithin,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: fetchWithin},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(func() { s.run(ctx, every) })
	return s, nil
}

// checkURL refuses a URL that anybody on the way could answer for.
func checkURL(where string) error {
	u, err := url.Parse(where)
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("the key set's URL must be like https://id.example/.well-known/jwks.json")
	case u.Scheme == "https":
	case u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()):
	default:
		return errors.New("the key set's URL must begin with https://: over http:// anybody on the way could put in a key")
	}
	return nil
}

// Close ends reading.
func (s *Source) Close() {
	s.cancel()
	s.wg.Wait()
}

// Find returns the key that a token's kid names. If nobody knows it the set is read anew soon, so that a token of a new key is
// verified a moment later; the token that asks is not waited for.
func (s *Source) Find(kid string) (auth.Key, bool) {
	d := s.set.Load()
	if time.Since(d.at) > staleAfter {
		return auth.Key{}, false
	}
	k, ok := d.Find(kid)
	if !ok {
		select {
		case s.ask <- struct{}{}:
		default:
		}
	}
	return k, ok
}

func (s *Source) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	ask, again := s.ask, (<-chan time.Time)(nil) // ask is nil until again, after it was heard
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			ask, again = s.ask, nil
			continue
		case <-tick.C:
		case <-ask:
			ask, again = nil, time.After(min(askEvery, every))
		}
		err := s.refresh(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !failed:
			s.log.Warn("can't read the key set; the keys stay as they were for a day", "from", s.Where(), "error", err)
		case err == nil && failed:
			s.log.Info("the key set is read again", "from", s.Where())
		}
		failed = err != nil
	}
}

// Where is the file or URL, without what only its owner should know, for the log.
func (s *Source) Where() string {
	u, err := url.Parse(s.where)
	if s.file || err != nil {
		return s.where
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// refresh reads the keys anew.
func (s *Source) refresh(ctx context.Context) error {
	text, err := s.read(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if old := s.set.Load(); old != nil && bytes.Equal(text, s.text) {
		s.set.Store(&dated{old.Set, now})
		return nil
	}
	set, err := Parse(text)
	if err != nil {
		return err
	}
	s.text = text
	s.set.Store(&dated{set, now})
	s.log.Info("keys that verify tokens", "from", s.Where(), "keys", len(set))
	return nil
}

// read returns the text, and no more of it than is looked at.
func (s *Source) read(ctx context.Context) ([]byte, error) {
	if s.file {
		f, err := os.Open(s.where)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		return io.ReadAll(io.LimitReader(f, maxText+1))
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.where, http.NoBody)
	if err != nil {
		return nil, errors.New("the key set's URL is not one")
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := s.http.Do(q)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) { // its text has the URL
			err = u.Err
		}
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", s.Where(), res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxText+1))
}
