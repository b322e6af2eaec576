package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// books have all changes that any client was told of, by room and epoch. No two clients may have been told of different
// changes at the same seq.
type books struct {
	mu    sync.Mutex
	rooms map[string]map[string]*book // room → epoch
}

// book is one epoch's log, as far as anybody was told of it.
type book struct {
	changes map[uint64]told
}

type told struct {
	n, method, text string
	from            string // the peer it is about
	private         bool
	id              string // of a message
	at              time.Time
}

func newBooks() *books { return &books{rooms: map[string]map[string]*book{}} }

// note keeps a change and says what is wrong with it.
func (b *books) note(room, epoch, method string, n *note, text string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[room]
	if r == nil {
		r = map[string]*book{}
		b.rooms[room] = r
	}
	k := r[epoch]
	if k == nil {
		k = &book{changes: map[uint64]told{}}
		r[epoch] = k
	}
	old, known := k.changes[n.Seq]
	switch {
	case !known:
		k.changes[n.Seq] = told{
			n: n.N, method: method, text: text, from: n.from(), private: n.Private || len(n.Roles) > 0, id: n.ID, at: time.Now(),
		}
	case old.n != n.N || old.method != method || old.text != text:
		return fmt.Sprintf("at seq %d of %s %s %s, where another was told %s %s", n.Seq, epoch, method, text, old.method, old.text)
	}
	return ""
}

// all returns the changes of an epoch, in order.
func (b *books) all(room, epoch string) (seqs []uint64, changes map[uint64]told) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.rooms[room][epoch]
	if k == nil {
		return nil, nil
	}
	changes = maps.Clone(k.changes)
	return slices.Sorted(maps.Keys(changes)), changes
}

func (b *books) epochs(room string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.rooms[room]))
}

// leaves returns when each leave of a peer was first heard of, in order of seq.
func (b *books) leaves(room, peer string) (at []time.Time) {
	for _, epoch := range b.epochs(room) {
		seqs, changes := b.all(room, epoch)
		for _, seq := range seqs {
			if c := changes[seq]; c.method == "on-peer-leave" && c.from == peer {
				at = append(at, c.at)
			}
		}
	}
	return at
}

// joins returns how many joins of a peer were told.
func (b *books) joins(room, peer string) (n int) {
	for _, epoch := range b.epochs(room) {
		_, changes := b.all(room, epoch)
		for _, c := range changes {
			if c.method == "on-peer-join" && c.from == peer {
				n++
			}
		}
	}
	return n
}

// inTurn returns what is wrong with the joins and leaves of an epoch: each leave needs a join, and each join a leave.
func (b *books) inTurn(room, epoch string) (wrong []string) {
	in := map[string]bool{}
	known := map[string]bool{}
	seqs, changes := b.all(room, epoch)
	for _, seq := range seqs {
		c := changes[seq]
		joins := c.method == "on-peer-join"
		if !joins && c.method != "on-peer-leave" {
			continue
		}
		if known[c.from] && in[c.from] == joins {
			wrong = append(wrong, fmt.Sprintf("%s, seq %d: a second %s of %s without its counterpart", room, seq, c.method, c.from))
		}
		known[c.from], in[c.from] = true, joins
	}
	return wrong
}

// page is a room's log as a server reads it.
type page struct {
	Oldest uint64 `json:"oldest"`
	Seq    uint64 `json:"seq"`
	Cursor string `json:"cursor"`
	Events []struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	} `json:"events"`
}

// readLog puts all that the store's log has into the books. It returns what doesn't fit.
func (c *cluster) readLog(room string) (wrong []string) {
	c.Helper()
	after := ""
	for {
		var p page
		path := "/rooms/" + url.PathEscape(room) + "/events?limit=500"
		if after != "" {
			path += "&after=" + url.QueryEscape(after)
		}
		if !c.read(path, &p) {
			return wrong
		}
		epoch, rest, _ := strings.Cut(p.Cursor, ".")
		for _, e := range p.Events {
			var n note
			if err := json.Unmarshal(e.Params, &n); err != nil {
				c.Fatal(err)
			}
			if n.N == "" {
				continue
			}
			if why := c.books.note(room, epoch, e.Method, &n, string(e.Params)); why != "" {
				wrong = append(wrong, "the log: "+why)
			}
		}
		if num, _, _ := strings.Cut(rest, "."); p.Cursor == after || num == strconv.FormatUint(p.Seq, 10) {
			return wrong
		}
		after = p.Cursor
	}
}

// state is a room as a server reads it at rest.
type state struct {
	session, epoch string
	seq            uint64
	members        []string
	entries        map[string]entry
}

// stateOf reads a room. It is at rest if nothing writes to it meanwhile.
func (c *cluster) stateOf(room string) *state {
	c.Helper()
	path := "/rooms/" + url.PathEscape(room)
	var r struct {
		Session *struct {
			ID    string `json:"session_id"`
			Epoch string `json:"epoch"`
			Seq   uint64 `json:"seq"`
		} `json:"session"`
	}
	if !c.read(path, &r) || r.Session == nil {
		return nil
	}
	s := &state{session: r.Session.ID, epoch: r.Session.Epoch, seq: r.Session.Seq, entries: map[string]entry{}}
	for cursor := ""; ; {
		var l struct {
			Entries []entry `json:"entries"`
			Cursor  string  `json:"cursor"`
		}
		c.read(path+"/metadata?limit=1000&cursor="+url.QueryEscape(cursor), &l)
		for _, e := range l.Entries {
			s.entries[e.Key] = e
		}
		if cursor = l.Cursor; cursor == "" {
			break
		}
	}
	for cursor := ""; ; {
		var l struct {
			Peers []struct {
				ID     string `json:"peer_id"`
				Hidden bool   `json:"hidden"`
			} `json:"peers"`
			Cursor string `json:"cursor"`
		}
		c.read(path+"/peers?limit=1000&cursor="+url.QueryEscape(cursor), &l)
		for _, p := range l.Peers {
			if !p.Hidden {
				s.members = append(s.members, p.ID)
			}
		}
		if cursor = l.Cursor; cursor == "" {
			break
		}
	}
	slices.Sort(s.members)
	return s
}

// settle waits until each client of a room is connected and has been given all there is, and holds what it was told, and
// the state it made of that, to the store and to what others were told. It returns what is wrong, and the state. Nobody
// may write meanwhile.
func (c *cluster) settle(room string, peers ...*peer) (wrong []string, at *state) {
	c.Helper()
	at = c.stateOf(room)
	if at == nil {
		return []string{room + " has no session"}, nil
	}
	for _, p := range peers {
		if why := p.catchUp(at); why != "" {
			wrong = append(wrong, why)
		}
	}
	wrong = append(wrong, c.readLog(room)...)
	for _, epoch := range c.books.epochs(room) {
		wrong = append(wrong, c.books.inTurn(room, epoch)...)
	}
	for _, p := range peers {
		wrong = append(wrong, p.audit(at)...)
	}
	// Last, since clients go on with the room: somebody came or left, or an entry expired, meanwhile.
	if now := c.stateOf(room); now == nil || now.seq != at.seq {
		return c.settle(room, peers...)
	}
	return wrong, at
}

// catchUp pings until the client has been given all.
func (p *peer) catchUp(at *state) string {
	reached := ""
	ok := eventually(patience, func() bool {
		w, err := p.conn()
		if err != nil {
			reached = err.Error()
			return p.ended() != nil
		}
		r, err := w.Call("ping", map[string]any{})
		if err != nil {
			return false
		}
		var pong struct {
			Cursor string `json:"cursor"`
		}
		if err := json.Unmarshal(r, &pong); err != nil {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.w != w {
			return false
		}
		reached = pong.Cursor
		epoch, rest, _ := strings.Cut(reached, ".")
		num, _, _ := strings.Cut(rest, ".")
		if seq, err := strconv.ParseUint(num, 10, 64); err == nil && seq > p.seq && epoch == p.epoch { // else more came meanwhile
			p.passed(reached)
		}
		return p.seq >= at.seq
	})
	if !ok || p.ended() != nil {
		return fmt.Sprintf("%s never got to seq %d of %s: %s, %v", p.id, at.seq, p.room, reached, p.ended())
	}
	return ""
}

// audit holds what the client was told to the books, and the state it made of that to the store's.
func (p *peer) audit(at *state) (wrong []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wrong = slices.Clone(p.wrong)
	say := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s in %s: ", p.id, p.room)+fmt.Sprintf(format, args...))
	}
	for _, s := range p.spans {
		seqs, changes := p.c.books.all(p.room, s.epoch)
		missed := 0
		for _, seq := range seqs {
			c := changes[seq]
			if seq <= s.from || seq > s.to || s.seen[seq] || c.private || c.from == p.id && c.method != "on-peer-update" {
				continue
			}
			if missed++; missed <= 3 {
				say("was never told of seq %d between %d and %d: %s %s", seq, s.from, s.to, c.method, c.text)
			}
		}
	}
	if p.session != at.session || p.epoch != at.epoch {
		say("is in session %s, epoch %s, not %s, %s", p.session, p.epoch, at.session, at.epoch)
		return wrong
	}
	if got := slices.Sorted(maps.Keys(p.members)); !slices.Equal(got, at.members) && len(at.members) <= 200 {
		say("sees the peers %v, not %v", got, at.members)
	}
	for _, key := range slices.Sorted(maps.Keys(at.entries)) {
		want, got := at.entries[key], p.entries[key]
		if got.Version != want.Version || string(got.Data) != string(want.Data) {
			say("has %s at %d: %s, not at %d: %s", key, got.Version, got.Data, want.Version, want.Data)
		}
	}
	for key := range p.entries {
		if _, there := at.entries[key]; !there {
			say("has %s, which does not exist", key)
		}
	}
	return wrong
}

// fail ends the test if something is wrong.
func fail(tb testing.TB, wrong []string) {
	tb.Helper()
	for i, why := range wrong {
		if i == 20 {
			tb.Errorf("and %d more", len(wrong)-i)
			break
		}
		tb.Error(why)
	}
	if len(wrong) > 0 {
		tb.FailNow()
	}
}
