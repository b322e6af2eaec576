package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// peer is a client as the contract wants it: it joins, follows what it is told, and when its socket ends it comes back by
// the rule of the close code, on another node, with the cursor it has got to.
type peer struct {
	c        *cluster
	room, id string
	params   map[string]any  // of its joins
	at       func() *process // which node it goes to next; nil: any that lives, but the last if there are others

	ctx    context.Context //nolint:containedctx // its life, which stop ends
	cancel context.CancelFunc
	done   chan struct{} // its goroutine has ended

	reading sync.Mutex // who holds it lets the client read nothing but what is on its way already

	mu      sync.Mutex
	moved   chan struct{} // closed, and made anew, whenever something below changes
	w       *wire.Conn    // nil while it has none
	node    *process      // that it is, or was last, connected with
	session string
	following
	spans  []span
	joins  []joined
	closes []int // codes, in order; 0: cut
	final  error // why it doesn't come back
	wrong  []string
}

// following is what a client knows of its room: what the snapshot said and the changes since.
type following struct {
	epoch   string
	seq     uint64 // of the last change, or of the snapshot
	nonce   string // of that change; "": the cursor below is newer
	cursor  string
	members map[string]bool
	entries map[string]entry
}

type entry struct {
	Key     string          `json:"key"`
	Data    json.RawMessage `json:"data"`
	Version uint64          `json:"change_version"`
	Deleted bool            `json:"deleted"`
}

// span is a part of a log that the client was given without a break, after one seq and up to another.
type span struct {
	epoch    string
	from, to uint64
	seen     map[uint64]bool
}

// joined is what a join was answered.
type joined struct {
	session, node      string
	seq                uint64
	resumed, recovered bool
	away               time.Duration // since the socket before it ended
	at                 time.Time
}

// newPeer makes a client that joins at once and stays until stop, or the test's end.
func (c *cluster) newPeer(room, id string, params map[string]any, at func() *process) *peer {
	c.Helper()
	p := &peer{
		c: c, room: room, id: id, params: maps.Clone(params), at: at, done: make(chan struct{}), moved: make(chan struct{}),
	}
	if p.params == nil {
		p.params = map[string]any{"listen": []string{"*"}}
	}
	p.ctx, p.cancel = context.WithCancel(c.Context())
	go p.live() // ends by stop
	c.Cleanup(p.stop)
	return p
}

// on is a choice of one node.
func on(n *process) func() *process { return func() *process { return n } }

// stop ends the client: its socket is cut, and it does not come back.
func (p *peer) stop() {
	p.cancel()
	<-p.done
}

// changed tells who waits; p.mu is held.
func (p *peer) changed() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// backoff is how long a client waits before it tries again, by default.
func (p *peer) backoff(try int) time.Duration {
	return time.Duration(20+rand.IntN(50*min(try+1, 8))) * time.Millisecond
}

func (p *peer) live() {
	defer close(p.done)
	var ended time.Time
	for try := 0; p.ctx.Err() == nil; try++ {
		w, err := p.connect(ended)
		if err != nil {
			if p.hopeless(err) {
				return
			}
			wait := p.backoff(try)
			if e, ok := errors.AsType[*wire.Error](err); ok && e.Data.RetryAfter > 0 {
				wait = min(time.Duration(e.Data.RetryAfter)*time.Millisecond, time.Second)
			}
			p.wait(wait)
			continue
		}
		try = 0
		select {
		case <-w.Over():
		case <-p.ctx.Done():
			w.Cut()
		}
		ended = time.Now()
		code := w.Code()
		p.mu.Lock()
		p.w = nil
		p.closes = append(p.closes, code)
		switch code {
		case 1000, 1008, 1009, 4401, 4403, 4408, 4409, 4410:
			p.final = fmt.Errorf("closed with %d", code)
		}
		over := p.final != nil
		p.changed()
		p.mu.Unlock()
		if over {
			return
		}
		p.wait(p.backoff(0))
	}
}

func (p *peer) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

// hopeless reports whether a join was refused for good.
func (p *peer) hopeless(err error) bool {
	switch why := wire.ReasonOf(err); why {
	case "", hearth.ReasonUnavailable, hearth.ReasonOutcomeUnknown, hearth.ReasonInternal:
		return false
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.final = fmt.Errorf("join: %w", err)
		p.changed()
		return true
	}
}

// pick chooses the node to go to.
func (p *peer) pick() *process {
	if p.at != nil {
		return p.at()
	}
	live := p.c.live()
	p.mu.Lock()
	last := p.node
	p.mu.Unlock()
	if len(live) > 1 {
		live = slices.DeleteFunc(live, func(n *process) bool { return n == last })
	}
	if len(live) == 0 {
		return nil
	}
	return live[rand.IntN(len(live))]
}

var errNoNode = errors.New("no node to go to")

// joinWithin is how long a client waits for a node that it goes to, which may stand still: then it goes to another one.
const joinWithin = 10 * time.Second

// connect opens a socket and joins, with the cursor it has got to.
func (p *peer) connect(ended time.Time) (*wire.Conn, error) {
	n := p.pick()
	if n == nil {
		return nil, errNoNode
	}
	var w *wire.Conn
	answered := make(chan struct{})
	ctx, cancel := context.WithTimeout(p.ctx, joinWithin)
	defer cancel()
	w, err := p.c.dial(ctx, n, p.room, p.id, func(method string, params []byte) {
		if method == "on-drain" {
			return // may come before the answer
		}
		<-answered // the reader has the answer by now
		p.reading.Lock()
		defer p.reading.Unlock()
		p.hear(w, method, params)
	})
	if err != nil {
		close(answered)
		return nil, err
	}
	params := maps.Clone(p.params)
	p.mu.Lock()
	if p.session != "" {
		params["resume"] = map[string]any{"session_id": p.session, "cursor": p.position()}
	}
	p.mu.Unlock()
	slow := context.AfterFunc(ctx, func() { _ = w.Close() })
	err = w.Join(params)
	if !slow() && err == nil {
		err = wire.ErrCut
	}
	if err == nil {
		p.welcome(w, n, ended)
	}
	close(answered)
	if err != nil {
		w.Cut()
		return nil, err
	}
	return w, nil
}

// position is the cursor up to which the client has been given all; p.mu is held.
func (p *peer) position() string {
	if p.nonce == "" {
		return p.cursor
	}
	return p.epoch + "." + strconv.FormatUint(p.seq, 10) + "." + p.nonce
}

func (p *peer) welcome(w *wire.Conn, n *process, ended time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := joined{session: w.Session, node: n.name, seq: w.Seq, resumed: w.Resumed, recovered: w.Recovered, at: time.Now()}
	if !ended.IsZero() {
		j.away = time.Since(ended)
	}
	p.joins = append(p.joins, j)
	p.w, p.node = w, n
	epoch, _, _ := strings.Cut(w.Cursor, ".")
	switch {
	case w.Recovered && (w.Session != p.session || epoch != p.epoch):
		p.complain("recovered, but in session %s, epoch %s, after session %s, epoch %s", w.Session, epoch, p.session, p.epoch)
	case w.Resumed && w.Session != p.session && p.session != "":
		p.complain("resumed in session %s after session %s", w.Session, p.session)
	case !w.Recovered:
		p.session = w.Session
		p.following = following{epoch: epoch, seq: w.Seq, cursor: w.Cursor, members: map[string]bool{}, entries: map[string]entry{}}
		p.spans = append(p.spans, span{epoch: epoch, from: w.Seq, to: w.Seq, seen: map[uint64]bool{}})
	}
	p.changed()
}

// complain notes a breach of the contract; p.mu is held.
func (p *peer) complain(format string, args ...any) {
	if len(p.wrong) < 20 {
		p.wrong = append(p.wrong, fmt.Sprintf("%s in %s: ", p.id, p.room)+fmt.Sprintf(format, args...))
	}
}

// note is what all notifications have that tell of a change or a snapshot.
type note struct {
	Seq      uint64          `json:"seq"`
	N        string          `json:"n"`
	Snapshot bool            `json:"snapshot"`
	Cursor   string          `json:"cursor"`
	PeerID   string          `json:"peer_id"`
	Peers    map[string]any  `json:"peers"`
	Values   []entry         `json:"values"`
	Peer     json.RawMessage `json:"peer"`
	Private  bool            `json:"private"`
	Roles    []string        `json:"roles"`
	ID       string          `json:"message_id"`
	Reason   string          `json:"reason"`
	Away     int64           `json:"reconnect_after_ms"`
}

// from returns the peer that a change is about, or that sent it.
func (n *note) from() string {
	var s struct {
		ID string `json:"peer_id"`
	}
	if n.PeerID == "" && len(n.Peer) > 0 {
		_ = json.Unmarshal(n.Peer, &s)
		return s.ID
	}
	return n.PeerID
}

// hear follows what the room's sockets are told.
func (p *peer) hear(w *wire.Conn, method string, params []byte) {
	var n note
	if err := json.Unmarshal(params, &n); err != nil {
		p.mu.Lock()
		p.complain("%s: %v: %s", method, err, params)
		p.mu.Unlock()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != w {
		return
	}
	defer p.changed()
	switch {
	case method == "on-cursor":
		p.passed(n.Cursor)
	case n.Snapshot:
		p.snapshot(method, &n)
	case n.N != "":
		p.change(method, &n, params)
	}
}

func (p *peer) snapshot(method string, n *note) {
	if n.Seq < p.seq {
		p.complain("a snapshot of seq %d after seq %d", n.Seq, p.seq)
	}
	if method == "peer-list" {
		for id := range n.Peers {
			p.members[id] = true
		}
	}
	for _, e := range n.Values {
		if e.Version > 0 {
			p.entries[e.Key] = e
		}
	}
}

// passed notes a cursor up to which all has been given.
func (p *peer) passed(cursor string) {
	epoch, rest, _ := strings.Cut(cursor, ".")
	num, _, _ := strings.Cut(rest, ".")
	seq, err := strconv.ParseUint(num, 10, 64)
	if err != nil || epoch != p.epoch || seq < p.seq {
		p.complain("the cursor %s, after seq %d of %s", cursor, p.seq, p.epoch)
		return
	}
	p.seq, p.nonce, p.cursor = seq, "", cursor
	p.spans[len(p.spans)-1].to = seq
}

func (p *peer) change(method string, n *note, params []byte) {
	if n.Seq <= p.seq {
		p.complain("%s of seq %d after seq %d", method, n.Seq, p.seq)
		return
	}
	p.seq, p.nonce = n.Seq, n.N
	s := &p.spans[len(p.spans)-1]
	s.to = n.Seq
	s.seen[n.Seq] = true
	if why := p.c.books.note(p.room, p.epoch, method, n, string(params)); why != "" {
		p.complain("%s", why)
	}
	switch method {
	case "on-peer-join":
		p.members[n.PeerID] = true
	case "on-peer-leave":
		delete(p.members, n.PeerID)
	}
	for _, e := range n.Values {
		if e.Deleted {
			delete(p.entries, e.Key)
		} else {
			p.entries[e.Key] = e
		}
	}
}

// until waits until met, which is called with p.mu held, is so, and reports whether it came to be before patience ended.
func (p *peer) until(met func() bool) bool {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		p.mu.Lock()
		ok, moved := met(), p.moved
		p.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-moved:
		case <-t.C:
			return false
		case <-p.c.Context().Done():
			return false
		}
	}
}

// connected waits until the client has joined.
func (p *peer) connected() *peer {
	p.c.Helper()
	if !p.until(func() bool { return p.w != nil || p.final != nil }) || p.ended() != nil {
		p.c.Fatalf("%s did not join %s: %v", p.id, p.room, p.ended())
	}
	return p
}

// ended returns why the client doesn't come back; nil while it does.
func (p *peer) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.final
}

// conn returns the socket, which it waits for.
func (p *peer) conn() (*wire.Conn, error) {
	var w *wire.Conn
	ok := p.until(func() bool {
		w = p.w
		return w != nil || p.final != nil || p.ctx.Err() != nil
	})
	switch {
	case w != nil:
		return w, nil
	case p.ended() != nil:
		return nil, p.ended()
	case p.ctx.Err() != nil:
		return nil, p.ctx.Err()
	case !ok:
		return nil, errors.New("no socket in time")
	}
	return nil, errNoNode
}

// drop cuts the socket; the client comes back.
func (p *peer) drop() {
	if w, err := p.conn(); err == nil {
		w.Cut()
	}
}
