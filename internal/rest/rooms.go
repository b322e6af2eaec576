package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
)

// Session is a live session as the server shows it.
type Session struct {
	ID        string `json:"session_id"`
	StartedAt int64  `json:"started_at"`
	Seq       uint64 `json:"seq"`
	PeerCount int    `json:"peer_count"`
}

// Room is a room; Session is nil if it has none. Raw is the whole of it.
type Room struct {
	ID      string   `json:"room_id"`
	Session *Session `json:"session"`

	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the text beside what it says.
func (r *Room) UnmarshalJSON(b []byte) error {
	type plain Room
	if err := json.Unmarshal(b, (*plain)(r)); err != nil {
		return err
	}
	r.Raw = append(json.RawMessage(nil), b...)
	return nil
}

// get decodes the answer of a read.
func (c *Client) get(ctx context.Context, r Request, into any) error {
	r.Method = http.MethodGet
	return c.call(ctx, r, into)
}

// call decodes the answer of any call.
func (c *Client) call(ctx context.Context, r Request, into any) error {
	a, err := c.Do(ctx, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return &hearth.Error{
			Reason: hearth.ReasonUnavailable, Cause: err,
			Detail: c.base.String() + " answers with something else than a Hearth server's JSON: is --server right?",
		}
	}
	return nil
}

// pages calls read with each page's query until there is no further one or limit (0: none) is reached. read returns how
// many it got and the cursor of the next page.
func pages(limit int, read func(url.Values) (int, string, error)) error {
	cursor := ""
	for got := 0; limit == 0 || got < limit; {
		size := hearth.MaxPage
		if limit > 0 {
			size = min(size, limit-got)
		}
		q := url.Values{"limit": {strconv.Itoa(size)}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		n, next, err := read(q)
		if err != nil {
			return err
		}
		if got += n; next == "" || next == cursor {
			return nil
		}
		cursor = next
	}
	return nil
}

// Rooms returns the live rooms, limit at most (0: all), in the order of their names. Which of them come under a limit is
// the server's choice.
func (c *Client) Rooms(ctx context.Context, limit int) ([]Room, error) {
	all := []Room{}
	err := pages(limit, func(q url.Values) (int, string, error) {
		var page struct {
			Rooms  []Room
			Cursor string
		}
		err := c.get(ctx, Request{Path: "/v1/rooms", Query: q}, &page)
		all = append(all, page.Rooms...)
		return len(page.Rooms), page.Cursor, err
	})
	slices.SortFunc(all, func(a, b Room) int { return strings.Compare(a.ID, b.ID) })
	return all, err
}

// Room returns one room, with a session or without.
func (c *Client) Room(ctx context.Context, room string) (Room, error) {
	var r Room
	err := c.get(ctx, Request{Path: Path("v1", "rooms", room)}, &r)
	return r, err
}

// Entries is a session's metadata. Each page may be of a later seq; Seq is the first one's, so whatever changed since is
// heard by who listens from there.
type Entries struct {
	SessionID string  `json:"session_id"`
	Seq       uint64  `json:"seq"`
	Entries   []Entry `json:"entries"`
}

// Entries returns the entries whose keys begin with prefix, limit at most (0: all), all of one session.
func (c *Client) Entries(ctx context.Context, room, prefix string, limit int) (Entries, error) {
	all := Entries{Entries: []Entry{}}
	err := pages(limit, func(q url.Values) (int, string, error) {
		if prefix != "" {
			q.Set("prefix", prefix)
		}
		r := Request{Path: Path("v1", "rooms", room, "metadata"), Query: q}
		if all.SessionID != "" {
			r.Header = map[string]string{"Hearth-Session": all.SessionID}
		}
		var page struct {
			Entries
			Cursor string
		}
		if err := c.get(ctx, r, &page); err != nil {
			return 0, "", err
		}
		if all.SessionID == "" {
			all.SessionID, all.Seq = page.SessionID, page.Seq
		}
		all.Entries = append(all.Entries, page.Entries.Entries...)
		return len(page.Entries.Entries), page.Cursor, nil
	})
	return all, err
}

// entry is the call of one entry. The key goes in the query: some proxies take an escaped slash for a real one.
func entry(room, key string) Request {
	return Request{Path: Path("v1", "rooms", room, "entry"), Query: url.Values{"key": {key}}, Header: map[string]string{}}
}

// Entry returns one entry; an absent one is not_found.
func (c *Client) Entry(ctx context.Context, room, key string) (Entry, error) {
	var e Entry
	err := c.get(ctx, entry(room, key), &e)
	return e, err
}

// Write is a change of one entry.
type Write struct {
	Room, Key string
	Value     []byte  // JSON; nil deletes
	IfVersion *uint64 // the entry has to be at this change_version; 0: absent
	TTL       time.Duration
	OpID      string // a repeat with the same does nothing and has the same result
	Conn      string // a peer's writes: the conn_id of its membership
}

// Set writes an entry and returns what it is now. A write whose outcome is unknown is repeated, if it has an OpID.
func (c *Client) Set(ctx context.Context, w Write) (Entry, error) {
	r := entry(w.Room, w.Key)
	r.Method, r.Body = http.MethodPut, w.Value
	if w.Value == nil {
		r.Method = http.MethodDelete
	}
	if w.TTL > 0 {
		r.Query.Set("ttl_ms", strconv.FormatInt(w.TTL.Milliseconds(), 10))
	}
	if w.OpID != "" {
		r.Header["Idempotency-Key"] = w.OpID
	}
	if w.Conn != "" {
		r.Header["Hearth-Conn"] = w.Conn
	}
	switch {
	case w.IfVersion == nil:
	case *w.IfVersion == 0:
		r.Header["If-None-Match"] = "*"
	default:
		// An ETag names its session, so a version of the last one can't match in the next.
		room, err := c.Room(ctx, w.Room)
		if err != nil {
			return Entry{}, err
		}
		if room.Session == nil {
			return Entry{}, hearth.Errorf(hearth.ReasonNoSession, "the room has no session")
		}
		r.Header["If-Match"] = hearth.ETag(room.Session.ID, *w.IfVersion)
	}
	var e Entry
	err := c.call(ctx, r, &e)
	for pause := c.pause; w.OpID != "" && hearth.ReasonOf(err) == hearth.ReasonOutcomeUnknown && pause < 8*c.pause; pause *= 2 {
		if !wait(ctx, pause) {
			break
		}
		err = c.call(ctx, r, &e)
	}
	return e, err
}

// Joined is a membership that lives by its lease.
type Joined struct {
	SessionID string `json:"session_id"`
	ConnID    string `json:"conn_id"`
	Seq       uint64 `json:"seq"`
	ExpiresAt int64  `json:"expires_at"`
}

// Join makes a peer a member for as long as the lease.
func (c *Client) Join(ctx context.Context, room, peer string, lease time.Duration) (Joined, error) {
	body, err := json.Marshal(map[string]any{"lease_ms": lease.Milliseconds()})
	if err != nil {
		return Joined{}, err
	}
	var j Joined
	err = c.call(ctx, Request{Method: http.MethodPut, Path: Path("v1", "rooms", room, "peers", peer), Body: body}, &j)
	return j, err
}

// Remove ends a membership and reports whether the session ended with it.
func (c *Client) Remove(ctx context.Context, room, peer, conn string) (ended bool, err error) {
	var a struct {
		SessionEnded bool `json:"session_ended"`
	}
	err = c.call(ctx, Request{
		Method: http.MethodDelete, Path: Path("v1", "rooms", room, "peers", peer), Header: map[string]string{"Hearth-Conn": conn},
	}, &a)
	return a.SessionEnded, err
}

// DevToken asks a development server for a token.
func (c *Client) DevToken(ctx context.Context, q url.Values) (string, error) {
	var a struct{ Token string }
	err := c.call(ctx, Request{Method: http.MethodPost, Path: "/dev/token", Query: q, Open: true}, &a)
	if err == nil && a.Token == "" {
		err = hearth.Errorf(hearth.ReasonUnavailable, "%s hands out no tokens", c.base)
	}
	return a.Token, err
}

// Expiry reads, without verifying anything, until when a token is good; the zero time if it doesn't say.
func Expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(b, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(claims.Exp * 1000))
}
