package node

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/pubsub"
	"github.com/hearthstore/hearth/store"
)

// CloseCode says why the server closes a WebSocket; it is part of the contract.
type CloseCode int

// Close codes. A client may reconnect and resume after those marked (r), should back off after (b), and must not come
// back by itself after the others.
const (
	CloseNormal    CloseCode = 1000 // after leave
	CloseGoingAway CloseCode = 1001 // (r) the node stops
	CloseMalformed CloseCode = 1008 // what it sent is no request
	CloseTooBig    CloseCode = 1009 // a message over the limit
	CloseInternal  CloseCode = 1011 // (b) a fault of the server
	CloseTryLater  CloseCode = 1013 // (b) overloaded, or cut off from the store
	CloseAuth      CloseCode = 4401 // the token is invalid or expired
	CloseRemoved   CloseCode = 4403 // another peer or a server removed it
	CloseNoJoin    CloseCode = 4408 // no join in time
	CloseReplaced  CloseCode = 4409 // a newer connection of the same peer
	CloseEnded     CloseCode = 4410 // the session was ended for all
	CloseLost      CloseCode = 4412 // (r) continuity can't be proven
	CloseTooSlow   CloseCode = 4429 // (r) it didn't read fast enough
)

// Sink is a member's socket. Its methods don't block and may be called by any goroutine.
type Sink interface {
	// Send queues an encoded notification. What is over the queue's bound closes the socket as too slow.
	Send(frame []byte)
	// Echo is Send for what the member itself has done, or what was done to it: it may wait until the call that is being
	// answered is.
	Echo(frame []byte)
	// Snapshot queues one that answers a request: it doesn't count against the bound.
	Snapshot(frame []byte)
	// Close ends the connection once what is queued has been sent.
	Close(code CloseCode, reason string)
}

// Member is the membership of one socket.
type Member struct {
	// Welcome is what the join gave; nil once Begin has sent it.
	Welcome *store.Joined
	comeback

	node      *Node
	principal *auth.Principal
	room      string
	session   string // its session_id
	conn      hearth.ConnID
	listens   bool // the join asked for a snapshot of entries
	sink      Sink
	meet      func(own bool, role string) // see JoinParams.Meet
	implicit  bool                        // see JoinParams.Implicit
	back      bool                        // by Return
	sub       *pubsub.Subscription
	lease     *lease

	mu      sync.Mutex
	view    view
	over    bool // left, or told why not: nothing is delivered any more
	stopped bool // it takes part in nothing here any more
	// holds: calls that may end the membership and have not been answered yet. What ends it meanwhile waits in ending, so
	// that nothing overtakes the reply.
	holds  int
	ending func()
	waits  []*Wait // for locks

	inc *incarnation // by which it joined
	// Guarded by the lock of the partition's lease.
	joined bool // the store has it
	missed bool // the store did not have it when it was looked for

	counted bool // it is to be told how many there are; guarded by the node's crowds
	idle    idle
}

// Peer returns the member's peer_id.
func (m *Member) Peer() string { return m.conn.Peer }

// Room returns the room that it is a member in.
func (m *Member) Room() string { return m.room }

// Conn returns the member's conn_id.
func (m *Member) Conn() hearth.ConnID { return m.conn }

// From returns where what the member is given after the reply to its join begins: at its snapshot, or where it was.
func (m *Member) From() hearth.Cursor { return m.from }

// Begin sends the snapshot, or what was missed, and lets the changes after it follow. The transport has sent the reply to the join before.
func (m *Member) Begin() {
	j := m.Welcome
	if j.PeerCount > m.node.Limits().LargeRoom { // its own join is not told to it, but changed the count
		defer m.node.crowds.changed(m, j.Seq, j.PeerCount)
	}
	defer func() { m.Welcome = nil }() // a member lives for long
	if m.Recovered {
		m.sub.Activate(m.replay())
		return
	}
	if m.view.blind { // a takeover, by a token whose role may: the store's may not
		j.Peers, j.Entries, m.listens = []hearth.Peer{j.Own}, nil, false
	}
	for _, c := range m.missedLeaves() {
		m.sink.Snapshot(c.frame())
	}
	if !m.back || m.view.blind || j.PeerCount <= m.node.Limits().LargeRoom { // see Return
		m.sink.Snapshot(m.node.encode("peer-list", func(dst []byte) []byte { return appendPeerList(dst, &j.Session, j.Peers, j.PeerCount) }))
	}
	if m.listens {
		m.SendEntries(j.Seq, j.Entries)
	}
	m.sub.Activate(j.Cursor())
}

// Caller returns the member as the caller of a verb, with op as its op_id.
func (m *Member) Caller(op string) *Caller {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Caller{
		Principal: m.principal, Room: m.room, Session: m.session, Conn: m.conn, Role: m.view.role, Op: op, member: m,
	}
}

func (m *Member) fence() store.Writer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return store.Writer{Session: m.session, Peer: m.conn.Peer, Conn: m.conn.Secret, User: m.principal.User}
}

// Cursor returns up to where the member has been given all that it may see.
func (m *Member) Cursor() hearth.Cursor {
	at := m.sub.At()
	if at.Seq == 0 { // between join and Begin
		at = m.from
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle.knows(at.Seq)
	return at
}

// Refresh makes a newer token of the same user, room and peer the member's own.
func (m *Member) Refresh(p *auth.Principal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.principal = p
}

// Listen replaces the watched set and returns the watched entries and their seq, which the transport hands to SendEntries
// after its reply. Changes delivered meanwhile may be newer than what it returns: the higher change_version is.
func (m *Member) Listen(ctx context.Context, watch hearth.Patterns) (seq uint64, entries []hearth.Entry, err error) {
	c := m.Caller("")
	if err := m.node.allow(c, auth.Read); err != nil {
		return 0, nil, err
	}
	m.mu.Lock()
	before := m.view.keys
	m.view.keys = watch
	m.mu.Unlock()
	if len(watch) == 0 && !m.implicit {
		return 0, nil, nil
	}
	ctx, cancel := within(ctx)
	defer cancel()
	if len(watch) > 0 { // who wants to hear less is not refused
		ctx = m.node.counted(ctx, c)
	}
	if m.implicit {
		seq, entries, err = m.node.store.Listen(ctx, m.room, m.fence(), watch)
	} else {
		var ses hearth.Session
		ses, entries, err = m.node.store.Watch(ctx, m.room, m.session, watch)
		seq = ses.Seq
	}
	if err != nil {
		m.mu.Lock()
		m.view.keys = before
		m.mu.Unlock()
		return 0, nil, err
	}
	return seq, entries, nil
}

// SendEntries sends a snapshot of watched entries, in frames of bounded size of which all but the last say that more follow.
func (m *Member) SendEntries(seq uint64, entries []hearth.Entry) {
	entryFrames(seq, entries, func(method string, params func(dst []byte) []byte) {
		m.sink.Snapshot(m.node.encode(method, params))
	})
}

// entryFrames cuts a snapshot of watched entries into notifications of bounded size; there is one at least.
func entryFrames(seq uint64, entries []hearth.Entry, send func(method string, params func(dst []byte) []byte)) {
	// The frame around the entries is small; a single entry is always sent.
	const room = hearth.MaxSnapshotSize - 512
	for first := true; first || len(entries) > 0; first = false {
		n, size := 0, 0
		for n < len(entries) {
			e := &entries[n]
			size += len(e.Key)*2 + len(e.Data) + 256
			if n > 0 && size > room {
				break
			}
			n++
		}
		part := entries[:n]
		entries = entries[n:]
		send("on-metadata-change", func(dst []byte) []byte {
			dst = strconv.AppendUint(append(dst, `{"seq":`...), seq, 10)
			dst = append(dst, `,"snapshot":true,"values":[`...)
			for i := range part {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = part[i].AppendJSON(dst)
			}
			dst = append(dst, ']')
			if len(entries) > 0 {
				dst = append(dst, `,"more":true`...)
			}
			return append(dst, '}')
		})
	}
}

// Leave ends the membership at the peer's own wish, and tells whether the session ended with it. If the store can't be
// asked the membership goes on.
func (m *Member) Leave(ctx context.Context) (ended bool, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	m.Hold() // for good, if it succeeds: then nothing else has ended it
	ended, err = m.node.store.Leave(ctx, m.room, m.fence(), hearth.Left)
	if err == nil {
		if m.sub.Busy() {
			fiber.From(ctx).Leave()
		}
		m.stop()
		return ended, nil
	}
	m.Release()
	return false, err
}

// Hold makes what ends the membership, on whichever node, wait until Release: a call that may end its caller's own
// membership is held until its reply is queued, or the close frame could come first.
func (m *Member) Hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holds++
}

// Release undoes one Hold.
func (m *Member) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holds--; m.holds == 0 && m.ending != nil {
		m.ending()
		m.ending = nil
	}
}

// Busy reports whether Drop may have to wait for what is handed on to others.
func (m *Member) Busy() bool {
	m.mu.Lock()
	stopped := m.stopped
	m.mu.Unlock()
	return !stopped && m.sub.Busy()
}

// Drop says that the member's socket is gone. The peer stays a member for the grace time, in which it may come back here or
// on any other node; nobody waits until the store knows of it but Wait and Close.
func (m *Member) Drop() {
	if m.stop() {
		m.node.handOver(m.room, m.conn.Peer, m.conn.Secret)
	}
}

// stop ends delivery and reports whether the store still has to be told.
func (m *Member) stop() bool {
	m.mu.Lock()
	was, again := m.over, m.stopped
	m.over, m.stopped = true, true
	m.mu.Unlock()
	if again {
		return false
	}
	m.lease.forget(m)
	if m.sub.Close() {
		m.node.members.Add(-1)
	}
	return !was
}

// Lost is called by the hub when changes may have been missed.
func (m *Member) Lost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := func() { m.sink.Close(CloseLost, "continuity lost: reconnect and resume") }
	switch {
	case m.holds == 0:
		end()
	case m.ending == nil: // the session may just have ended by the call that is being answered
		m.ending = end
	}
}

// Deliver is called by the hub with every change of the session, in order.
func (m *Member) Deliver(msg *pubsub.Message) {
	c := changeOf(msg)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c != nil && !m.over {
		m.take(c, m.sink.Send)
	}
}

// take follows a change and sends it if it is for the member. m.mu is held.
func (m *Member) take(c *change, send func(frame []byte)) {
	switch m.follow(c) {
	case nothing:
		return
	case whole:
		if m.meet != nil {
			m.introduce(c)
		}
		send(c.frame())
	case some:
		send(m.part(c))
	}
	m.idle.knows(c.Seq)
}

// part returns the frame of those entries of a change that the member watches. m.mu is held.
func (m *Member) part(c *change) []byte {
	return m.node.encode(c.method, func(dst []byte) []byte { return c.AppendParams(dst, m.view.keys.Match) })
}

// follow follows a change and returns how much of it the member has to be sent. m.mu is held.
func (m *Member) follow(c *change) sight {
	if c.Kind == hearth.KindLeave {
		defer m.view.note(c)
	} else {
		m.view.note(c)
	}
	if c.Peer == m.conn.Peer && m.aboutMe(c) {
		return nothing
	}
	if c.Kind == hearth.KindEnd {
		m.finish(c, CloseEnded, "room ended")
		return nothing
	}
	if c.PeerCount > 0 && !m.view.blind {
		m.node.crowds.changed(m, c.Seq, c.PeerCount)
	}
	seen := m.view.sees(c)
	if seen == nothing {
		m.node.cursors.moved(m)
	}
	return seen
}

// introduce tells of the role that a change is about. m.mu is held.
func (m *Member) introduce(c *change) {
	switch c.Kind {
	case hearth.KindJoin, hearth.KindUpdate:
		m.meet(c.Peer == m.conn.Peer, c.Role)
	case hearth.KindAsk:
		var asked struct{ Role string }
		if json.Unmarshal([]byte("{"+c.Body+"}"), &asked) == nil {
			m.meet(false, asked.Role)
		}
	}
}

// aboutMe takes note of a change to the member itself and reports whether it ended the membership. m.mu is held.
func (m *Member) aboutMe(c *change) bool {
	switch c.Kind {
	case hearth.KindLock:
		m.given(c)
	case hearth.KindConn:
		if c.Conn == m.conn.Secret {
			m.finish(c, CloseReplaced, "a newer connection of this peer")
			return true
		}
	case hearth.KindLeave:
		if c.Conn != m.conn.Secret {
			return false
		}
		switch c.Leave {
		case hearth.Removed:
			m.finish(c, CloseRemoved, "removed")
		case hearth.TimedOut: // the others gave this node up, and it has not noticed yet
			m.finish(c, CloseLost, cutOff)
		default:
			m.finish(c, CloseNormal, string(c.Leave))
		}
		return true
	}
	return false
}

// finish closes the socket of a membership that c has ended in the store, telling it why. m.mu is held.
func (m *Member) finish(c *change, code CloseCode, reason string) {
	m.over = true
	end := func() {
		if code == CloseRemoved || code == CloseEnded {
			m.sendRemoval(c, code == CloseEnded)
		}
		m.sink.Close(code, reason)
	}
	if m.holds > 0 {
		m.ending = end
		return
	}
	end()
}

// sendRemoval tells the peer why its membership ends. m.mu is held.
func (m *Member) sendRemoval(c *change, roomEnd bool) {
	m.sink.Send(m.node.encode("on-peer-leave-request", func(dst []byte) []byte {
		dst = append(dst, '{')
		if c.By != "" {
			dst = append(append(append(dst, `"requested_by":"`...), c.By...), `",`...)
		}
		dst = append(append(dst, `"reason":`...), c.Text...)
		return append(strconv.AppendBool(append(dst, `,"room_end":`...), roomEnd), '}')
	}))
}
