package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/hearthstore/hearth"
)

// Watch is what is asked of an event stream.
type Watch struct {
	Room  string
	Keys  []string // of which metadata is told; none: all
	After string   // the cursor to resume from
	// Once ends the watch where it would be begun again.
	Once bool
	// Opened is called with each stream that has begun; Broken before the pause that follows its end.
	Opened func()
	Broken func(err error, pause time.Duration)
}

// errSilent is the cause of a stream's end that has said nothing for too long.
var errSilent = errors.New("nothing was heard for too long")

// Watch calls each with every event of a room until ctx ends, which is no error, or each returns one. A stream that can't
// be begun is an error; once one has, a break is followed by another that resumes from the last cursor, after pauses that
// grow, unless the server refuses it for good.
func (c *Client) Watch(ctx context.Context, w Watch, each func(Event) error) error {
	pause, begun := c.pause, false
	for {
		began := time.Now()
		var base time.Duration
		opened := func() {
			begun = true
			if w.Opened != nil {
				w.Opened()
			}
		}
		err := c.stream(ctx, &w, &base, opened, each)
		var own ownError
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // to be told to stop is how a watch ends
		case errors.As(err, &own):
			return own.error
		case err == nil || !begun || w.Once || !passing(err):
			return err
		}
		if time.Since(began) > c.steady { // else the pauses grow
			pause = c.pause
		}
		pause = min(max(pause, base), c.maxPause)
		now := max(pause, hearth.AsError(err).RetryAfter)
		now += rand.N(now/4 + 1) //nolint:gosec // so that many who were cut off together don't come back together
		if w.Broken != nil {
			w.Broken(err, now)
		}
		if !wait(ctx, now) {
			return nil
		}
		pause *= 2
	}
}

// passing reports whether what ended a stream may be over soon.
func passing(err error) bool {
	switch hearth.ReasonOf(err) {
	case hearth.ReasonUnavailable, hearth.ReasonOutcomeUnknown, hearth.ReasonInternal, hearth.ReasonRateLimited:
		return true
	}
	return false
}

// ownError is what the caller's function returned.
type ownError struct{ error }

// stream reads one stream to its end, and keeps in w how far it got.
func (c *Client) stream(ctx context.Context, w *Watch, base *time.Duration, opened func(), each func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(c.timeout, func() { cancel(errSilent) })
	defer watchdog.Stop()
	r := Request{
		Method: http.MethodGet, Path: Path("v1", "rooms", w.Room, "events"),
		Header: map[string]string{"Accept": "text/event-stream"}, Query: url.Values{},
	}
	if len(w.Keys) > 0 {
		r.Query["keys"] = w.Keys
	}
	if w.After != "" {
		r.Header["Last-Event-ID"] = w.After
	}
	res, err := c.send(ctx, r)
	if err != nil {
		if errors.Is(context.Cause(ctx), errSilent) {
			return c.failure(r.Method, errSilent)
		}
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil // by the standard: don't come back
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		return hearth.Errorf(hearth.ReasonInternal, "%s answers with %q instead of an event stream: is --server right?", c.base, kind)
	}
	opened()
	watchdog.Reset(c.silence)
	p := newParser(res.Body, w.After, func() { watchdog.Reset(c.silence) })
	for {
		e, err := p.next()
		*base = p.retry
		w.After = p.id
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
				err = fmt.Errorf("%w (%s)", errSilent, c.silence)
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("it was closed")
			}
			return &hearth.Error{Reason: hearth.ReasonUnavailable, Detail: "the event stream broke", Cause: err}
		}
		watchdog.Stop() // each may take its time
		if err := each(e); err != nil {
			return ownError{err}
		}
		watchdog.Reset(c.silence)
	}
}

// wait waits and reports whether ctx lasted that long.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
