package httpapi

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/node"
)

// Close codes of RFC 6455 that only malformed frames get.
const (
	closeProtocol node.CloseCode = 1002
	closeNotUTF8  node.CloseCode = 1007
)

// conn is one WebSocket. Its reader is whichever goroutine runs serve, one at a time and none while nothing comes; everything
// that is written goes through the outbox.
type conn struct {
	outbox
	srv    *Server
	sock   socket
	wanted string          // the peer_id asked for in the query
	ctx    context.Context //nolint:containedctx // the connection's own life, ended by its reader
	cancel context.CancelFunc
	calls  sync.WaitGroup // whose answers come later
	later  atomic.Int32   // how many they are
	// implicit is nil but for a 100ms client.
	implicit *implicit

	// The reader's own; shutdown looks at member only once the reader has ended.
	member *node.Member
	// attached: member was given back at the upgrade, and no join was called.
	attached  bool
	begun     bool          // it has been read before
	hurried   bool          // the message that is being read has a deadline
	lingering bool          // it has ended but for what still comes
	discarded int           // how much of that there was
	fiber     *fiber.Fiber  // nil: a goroutine reads
	scratch   *scratch      // nil while it is parked
	br        *bufio.Reader // nil while it is parked
	text      []byte        // of the message that is being read

	beat      beat
	alarm     alarm
	principal atomic.Pointer[auth.Principal]
	joined    atomic.Bool
	unserved  atomic.Bool // its last join failed, and not for anything that it did
	mu        sync.Mutex  // guards the times
	expiry    time.Time   // when its token ends
	patience  time.Time   // by when it has to join; zero once that has been looked at
	over      bool        // there is nothing to wait for any more
}

// start is called once, before serve.
func (c *conn) start() {
	limit := c.srv.o.JoinTimeout
	if c.implicit != nil {
		limit = c.srv.o.PreviewTimeout
	}
	c.mu.Lock()
	c.patience = time.Now().Add(limit)
	c.mu.Unlock()
	c.expire(c.principal.Load())
}

// expire closes the connection when p's token does.
func (c *conn) expire(p *auth.Principal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiry = time.Now().Add(time.Until(p.Until))
	c.wind()
}

// wind sets the alarm to what comes next. c.mu is held.
func (c *conn) wind() {
	next := c.expiry
	if !c.patience.IsZero() && c.patience.Before(next) {
		next = c.patience
	}
	if c.over {
		next = time.Time{}
	}
	c.srv.alarms.set(&c.alarm, c, next)
}

// ring is called when the alarm is due.
func (c *conn) ring(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return
	case !c.expiry.After(now):
		c.Close(node.CloseAuth, "the token has expired")
		c.over = true
	case !c.patience.IsZero() && !c.patience.After(now):
		c.patience = time.Time{}
		c.impatient()
	}
	c.wind()
}

// impatient closes a connection that has not joined.
func (c *conn) impatient() {
	switch {
	case c.joined.Load():
	case c.unserved.Load():
		c.Close(node.CloseTryLater, "it could not be let in now: come back later")
	case c.implicit != nil:
		c.Close(node.CloseNormal, "no join in time")
	default:
		c.Close(node.CloseNoJoin, "no join in time")
	}
}

// serve reads requests until nothing more is there, or until the socket ends; then it ends the membership. f is what it is done
// by; nil for a goroutine.
func (c *conn) serve(f *fiber.Fiber) {
	if c.lingering {
		c.fiber = f
		c.linger()
		return
	}
	if c.implicit != nil { // what it is told beside the answers may take several steps
		f.Leave()
		f = nil
	}
	c.fiber = f
	c.srv.sender.gather(f)
	c.borrow()
	code, reason, parked := c.read()
	if parked {
		return
	}
	c.end(code, reason)
}

// read handles messages until nothing more is there, and it is parked, or until the socket ends; then it returns the code
// to close it with; 0 if it is closed already.
func (c *conn) read() (code node.CloseCode, reason string, parked bool) {
	defer func() {
		if r := recover(); r != nil { // a fault in one call must not end the node's other connections
			c.panicked(r)
			code, reason = node.CloseInternal, "internal error"
		}
	}()
	if !c.begun {
		c.begun = true
		if code, reason := c.comeBack(); code != 0 {
			return code, reason, false
		}
		if c.br.Buffered() == 0 && c.park() { // its first message may be long in coming
			return 0, "", true
		}
		c.borrow()
	}
	for n := 1; ; n++ {
		if n > inlineMessages { // others wait meanwhile
			c.fiber.Leave()
		}
		text, got, code, reason := c.message()
		switch got {
		case gotEnd:
			return code, reason, false
		case gotMessage:
			if c.implicit != nil {
				c.implicit.welcome()
			}
			c.cork()
			if c.handle(text) {
				return node.CloseNormal, "left", false // the close frame goes along with the reply
			}
			if c.implicit != nil {
				c.implicit.greet()
			}
			c.srv.sender.gather(c.fiber) // who has waited is in another round by now
			c.uncork()
			if cap(c.text) > keepText {
				c.text = nil
			}
			if !c.wait(c.fiber) {
				return 0, "", false
			}
		case gotControl:
		}
		if c.br.Buffered() == 0 && c.park() {
			return 0, "", true
		}
		c.borrow()
	}
}

// panicked logs a fault of ours, in the function that recovered from it.
func (c *conn) panicked(r any) {
	c.srv.log.Error("panic", "remote", c.nc.RemoteAddr().String(), "panic", r, "stack", string(debug.Stack()))
}

const (
	// inlineMessages is how many messages of a connection are handled while others wait.
	inlineMessages = 16
	// keepText is the largest buffer that a connection keeps between messages.
	keepText = 4 << 10
	// readStep is how much of an announced frame is allocated before it arrives.
	readStep = 16 << 10
	// maxFragments bounds the frames of one message: empty ones never reach the limit on its size.
	maxFragments = 1024
	// messageTimeout is how long the rest of a message may take once it has begun, all its frames together.
	messageTimeout = 30 * time.Second
)

// What message returns for.
const (
	gotEnd     = iota // the socket has ended, or has to
	gotMessage        // a message is there
	gotControl        // a control frame was answered, and no message has begun
)

// message returns the text of the next message. Control frames between its fragments are answered on the way. gobwas checks
// headers; sizes, UTF-8, and what a bad frame is answered with are up to its user.
func (c *conn) message() (text []byte, got int, code node.CloseCode, reason string) {
	state := ws.StateServerSide
	c.text = c.text[:0]
	for fragments := 0; ; {
		h, err := c.header()
		if err != nil {
			return nil, gotEnd, headerError(err), "malformed frame"
		}
		c.srv.pulse.heard(c)
		if !c.open() { // what comes after our close frame is not looked at
			return nil, gotEnd, node.CloseNormal, ""
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return nil, gotEnd, closeProtocol, err.Error()
		}
		if h.OpCode.IsControl() {
			if code, reason, ended := c.control(h); ended {
				return nil, gotEnd, code, reason
			}
			if fragments == 0 {
				c.unhurried()
				return nil, gotControl, 0, ""
			}
			continue
		}
		if h.OpCode == ws.OpBinary {
			return nil, gotEnd, node.CloseMalformed, "messages are text"
		}
		limit := c.srv.node.Limits().MaxFrame
		if fragments++; h.Length > int64(limit-len(c.text)) || fragments > maxFragments {
			return nil, gotEnd, node.CloseTooBig, "message too big"
		}
		if !c.payload(h) {
			return nil, gotEnd, 0, ""
		}
		if !h.Fin {
			c.fiber.Leave() // the rest may be long in coming, with any number of control frames between
			state = state.Set(ws.StateFragmented)
			continue
		}
		c.unhurried()
		if !utf8.Valid(c.text) {
			return nil, gotEnd, closeNotUTF8, "not UTF-8"
		}
		return c.text, gotMessage, 0, ""
	}
}

// header reads a frame's header. Its first byte may be long in coming, the rest not.
func (c *conn) header() (ws.Header, error) {
	if _, err := c.br.Peek(1); err != nil {
		return ws.Header{}, err
	}
	if b, _ := c.br.Peek(min(2, c.br.Buffered())); len(b) < 2 || c.br.Buffered() < headerLen(b[1]) {
		c.hurry()
	}
	return ws.ReadHeader(c.br)
}

// headerLen is how long the header is that has b as its second byte.
func headerLen(b byte) int {
	n := 2
	switch b & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b&0x80 != 0 {
		n += 4
	}
	return n
}

// hurry gives a message that has begun, and is not all there, its time.
func (c *conn) hurry() {
	if !c.hurried {
		c.hurried = true
		c.deadline(time.Now().Add(messageTimeout))
	}
}

// unhurried lets the next message be as long in coming as it likes.
func (c *conn) unhurried() {
	if c.hurried {
		c.hurried = false
		c.deadline(time.Time{})
	}
}

// payload appends a frame's payload to the text, which grows with what arrives; false if the socket has ended.
func (c *conn) payload(h ws.Header) bool {
	begin, length := len(c.text), int(h.Length)
	if c.br.Buffered() < length || !h.Fin {
		c.hurry()
	}
	for length > 0 {
		n, at := min(length, readStep), len(c.text)
		c.text = slices.Grow(c.text, n)[:at+n]
		if _, err := io.ReadFull(c.br, c.text[at:]); err != nil {
			return false
		}
		length -= n
	}
	ws.Cipher(c.text[begin:], h.Mask, 0)
	return true
}

// headerError returns the close code for an error of reading a header: none if the socket just ended.
func headerError(err error) node.CloseCode {
	if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
		return closeProtocol
	}
	return 0
}

// control answers a control frame and reports whether the connection ends with it, by which code.
func (c *conn) control(h ws.Header) (code node.CloseCode, reason string, ended bool) {
	var buf [ws.MaxControlFramePayloadSize]byte
	body := buf[:h.Length] // CheckHeader has refused longer ones
	if c.br.Buffered() < len(body) {
		c.hurry()
	}
	if _, err := io.ReadFull(c.br, body); err != nil {
		return 0, "", true
	}
	ws.Cipher(body, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		c.prompt(ws.MustCompileFrame(ws.NewPongFrame(body)))
		return 0, "", !c.wait(c.fiber)
	case ws.OpClose:
		code, reason = answerClose(body)
		return code, reason, true
	}
	return 0, "", false
}

// answerClose returns the code that a close frame is answered with: its own, if it is one that may be sent.
// gobwas's own check refuses 1012–1014, of which we send 1013 and get it echoed, and takes codes over 4999.
func answerClose(body []byte) (node.CloseCode, string) {
	if len(body) == 0 {
		return node.CloseNormal, ""
	}
	if len(body) == 1 || !utf8.Valid(body[2:]) {
		return closeProtocol, "malformed close frame"
	}
	code := node.CloseCode(binary.BigEndian.Uint16(body))
	if code >= 3000 && code <= 4999 || code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 {
		return code, ""
	}
	return closeProtocol, "malformed close frame"
}

// newConn takes over an upgraded socket.
func newConn(s *Server, nc net.Conn, br *bufio.Reader, p *auth.Principal, wanted string) *conn {
	c := &conn{srv: s, br: br, wanted: wanted}
	c.sock.Conn, c.sock.conn = nc, c
	c.init(&c.sock, s.sender, &s.slowReaders)
	c.ctx, c.cancel = context.WithCancel(context.Background()) // the connection's own life: its handler has returned
	c.principal.Store(p)
	return c
}
