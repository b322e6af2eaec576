// Package doctor looks at a running server from where a client stands, and says of each thing that has to work whether it
// does, and what to do if not: the server and its clock, the token, a session's life, and whether WebSockets and event
// streams come through whatever is in between; if asked, the Redis behind it too.
//
// It is not monitoring: it makes a session of its own for a second or two, and is for a person who wonders.
package doctor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/rest"
)

// Status is how a check came out.
type Status string

// Statuses. Only Fail makes the whole fail.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip" // could not be tried, because of one before it
)

// Check is one thing that was looked at.
type Check struct {
	Name   string        `json:"name"`
	Status Status        `json:"status"`
	Detail string        `json:"detail"`           // what was found
	Advice string        `json:"advice,omitempty"` // what to do about it
	Took   time.Duration `json:"-"`
}

// MarshalJSON adds how long it took, in milliseconds.
func (c Check) MarshalJSON() ([]byte, error) {
	type plain Check
	return json.Marshal(struct {
		plain
		TookMS int64 `json:"took_ms"`
	}{plain(c), c.Took.Milliseconds()})
}

// Options says what to look at. Client is required.
type Options struct {
	Client *rest.Client
	Room   string                // where to make a session; "": a room of a random name
	Redis  redis.UniversalClient // looked at as well if it is given
	// Patience bounds each check; 5 s.
	Patience time.Duration
	// Each is called with every check when it is done.
	Each func(Check)
}

// run is one look at a server.
type run struct {
	o      Options
	checks []Check
	failed map[string]bool
	room   string
	peer   string
	key    string
	joined *rest.Joined
}

// Run makes all checks, one after the other.
func Run(ctx context.Context, o Options) []Check {
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	id := strings.ToLower(rand.Text()[:10])
	r := &run{o: o, failed: map[string]bool{}, room: o.Room, peer: "doctor-" + id, key: "hearth-doctor/" + id}
	if r.room == "" {
		r.room = "hearth-doctor-" + id
	}
	var date string
	r.check(ctx, "server", "", func(ctx context.Context) (c Check) {
		c, date = r.server(ctx)
		return c
	})
	r.check(ctx, "ready", "server", r.ready)
	r.check(ctx, "clock", "server", func(context.Context) Check { return clock(date, time.Now()) })
	r.check(ctx, "token", "server", r.token)
	r.check(ctx, "session", "token", r.session)
	r.check(ctx, "events", "session", r.events)
	r.check(ctx, "websocket", "token", r.websocket)
	// Also when ctx has ended meanwhile: what was begun is cleaned up.
	r.check(context.WithoutCancel(ctx), "end", "session", r.end)
	if o.Redis != nil {
		r.redis(ctx)
	}
	return r.checks
}

// Failed reports whether any of them failed.
func Failed(checks []Check) bool {
	for _, c := range checks {
		if c.Status == Fail {
			return true
		}
	}
	return false
}

// check makes a check unless the one that it needs could not be passed.
func (r *run) check(ctx context.Context, name, needs string, look func(context.Context) Check) {
	if r.failed[needs] {
		r.done(Check{Name: name, Status: Skip, Detail: "not tried: " + needs + " failed"})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	begin := time.Now()
	c := look(ctx)
	c.Name, c.Took = name, time.Since(begin)
	r.done(c)
}

func (r *run) done(c Check) {
	r.failed[c.Name] = c.Status == Fail || c.Status == Skip
	r.checks = append(r.checks, c)
	if r.o.Each != nil {
		r.o.Each(c)
	}
}

// round leaves of a time what a person reads.
func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func ok(format string, args ...any) Check {
	return Check{Status: OK, Detail: fmt.Sprintf(format, args...)}
}

// failed makes a check of an error, with advice where its reason alone tells what to do.
func failed(what string, err error) Check {
	c := Check{Status: Fail, Detail: what + ": " + text(err)}
	switch hearth.ReasonOf(err) {
	case hearth.ReasonUnauthenticated:
		c.Advice = "check --token, or that HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET are those of the server"
	case hearth.ReasonForbidden:
		c.Advice = "use a management token; of one that is narrowed to a room, name that by --room"
	}
	return c
}

// text is what a user is told of an error.
func text(err error) string {
	e, isOurs := errors.AsType[*hearth.Error](err)
	switch {
	case !isOurs:
		return err.Error()
	case e.Cause != nil:
		return e.Detail + ": " + e.Cause.Error()
	case e.Detail == "":
		return string(e.Reason)
	}
	return e.Detail
}

func (r *run) server(ctx context.Context) (c Check, date string) {
	a, err := r.o.Client.Do(ctx, rest.Request{Method: "GET", Path: "/healthz", Open: true})
	if err != nil {
		return Check{
			Status: Fail, Detail: text(err), Advice: "is it running, is --server right, does a firewall or a proxy stand between?",
		}, ""
	}
	var health struct{ Status, Version, Node string }
	if err := json.Unmarshal(a.Body, &health); err != nil || health.Status == "" {
		return Check{
			Status: Fail, Detail: r.o.Client.URL() + "/healthz answers, but not as a Hearth server does", Advice: "is --server right?",
		}, ""
	}
	return ok("%s: version %s, node %s", r.o.Client.URL(), health.Version, health.Node), a.Header.Get("Date")
}

func (r *run) ready(ctx context.Context) Check {
	if _, err := r.o.Client.Do(ctx, rest.Request{Method: "GET", Path: "/readyz", Open: true}); err != nil {
		c := failed("the node is not ready", err)
		c.Advice = "see the node's log; is its Redis up and reachable?"
		return c
	}
	return ok("the store answers and the subscription delivers")
}

// How far two clocks may be apart. Date has whole seconds, so less than one can't be told.
const (
	goodSkew = 3 * time.Second
	maxSkew  = 60 * time.Second // the leeway that the server gives to tokens
)

// clock compares the server's with ours.
func clock(date string, now time.Time) Check {
	const advice = "let both machines take their time from NTP"
	there, err := time.Parse(time.RFC1123, date)
	if err != nil {
		return Check{Status: Warn, Detail: "the server does not say what time it has", Advice: "let the proxy pass the header Date"}
	}
	skew := now.Sub(there.Add(500 * time.Millisecond)) // on average that much is cut off
	size := skew.Abs().Round(time.Second)
	way := "ahead of"
	if skew < 0 {
		way = "behind"
	}
	switch {
	case skew.Abs() > maxSkew:
		return Check{
			Status: Fail, Advice: advice,
			Detail: fmt.Sprintf("this machine's clock is %s %s the server's: tokens that are made here are refused, or end early", size, way),
		}
	case skew.Abs() > goodSkew:
		return Check{Status: Warn, Detail: fmt.Sprintf("this machine's clock is %s %s the server's", size, way), Advice: advice}
	}
	return ok("here and there the same, within %s", goodSkew)
}

// token is tried on the room that the session will be made in.
func (r *run) token(ctx context.Context) Check {
	t, err := r.o.Client.Token(ctx)
	if err != nil {
		return Check{Status: Fail, Detail: text(err)}
	}
	if _, err := r.o.Client.Room(ctx, r.room); err != nil {
		return failed("the token was refused", err)
	}
	if left := time.Until(rest.Expiry(t)).Round(time.Second); left < time.Minute {
		return Check{Status: Warn, Detail: fmt.Sprintf("accepted, but it ends in %s", left), Advice: "make a new one: hearth token --management"}
	}
	return ok("accepted")
}

// value has what careless code changes: the form of a number, the order of keys, what is not ASCII.
const value = `{"z":1.50,"a":"ü→☃"}`

// session begins one with a leased peer, and writes, reads and deletes an entry in it.
func (r *run) session(ctx context.Context) Check {
	c := r.o.Client
	begin := time.Now()
	j, err := c.Join(ctx, r.room, r.peer, time.Minute)
	if err != nil {
		return failed("a peer could not join "+r.room, err)
	}
	r.joined = &j
	w := rest.Write{Room: r.room, Key: r.key, Value: []byte(value), Conn: j.ConnID}
	set, err := c.Set(ctx, w)
	if err != nil {
		return r.halfDone(ctx, failed("an entry could not be written", err))
	}
	got, err := c.Entry(ctx, r.room, r.key)
	if err != nil {
		return r.halfDone(ctx, failed("an entry that was written could not be read", err))
	}
	if string(got.Data) != value || got.ChangeVersion != set.ChangeVersion {
		return r.halfDone(ctx, Check{
			Status: Fail, Detail: fmt.Sprintf("%s was written at version %d, %s read at version %d", value, set.ChangeVersion, got.Data, got.ChangeVersion),
			Advice: "does something in between cache or change answers?",
		})
	}
	w.Value, w.IfVersion = nil, &set.ChangeVersion
	if _, err := c.Set(ctx, w); err != nil {
		return r.halfDone(ctx, failed("an entry could not be deleted", err))
	}
	return ok("joined %s, wrote, read and deleted an entry, in %s", r.room, round(time.Since(begin)))
}

// halfDone leaves the session that a failed check has begun.
func (r *run) halfDone(ctx context.Context, c Check) Check {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.Patience)
	defer cancel()
	if _, err := r.o.Client.Remove(ctx, r.room, r.peer, r.joined.ConnID); err != nil {
		c.Detail += "; peer " + r.peer + " stays there for a minute"
	}
	return c
}

func (r *run) end(ctx context.Context) Check {
	ended, err := r.o.Client.Remove(ctx, r.room, r.peer, r.joined.ConnID)
	switch {
	case err != nil:
		return failed("the peer could not leave", err)
	case !ended && r.o.Room == "":
		return Check{Status: Fail, Detail: "the last peer left " + r.room + ", and its session has not ended", Advice: "report this: it must not happen"}
	case !ended:
		return ok("the peer left; others are still in %s", r.room)
	}
	return ok("the last peer left, and the session ended with it")
}
