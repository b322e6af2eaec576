// Package wire is a test's end of a WebSocket: it calls, hands on what it is told, and knows how it ended; and of HTTP
// requests, one at a time. It says what the contract says and nothing of how a server is made.
//
// It is no client for applications: it neither reconnects nor judges what it is told, which is what tests are about.
package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth"
)

// Patience is how long an answer is waited for: also by who waits for a lock, and on a slow machine.
const Patience = time.Minute

// Hear is called by the reader for each notification, in order. It must not wait for an answer of the same socket.
type Hear func(method string, params []byte)

// Conn is one WebSocket.
type Conn struct {
	// Of the join.
	ConnID, Session, Cursor string
	Seq                     uint64
	// Resumed: a membership was kept or taken over. Recovered: what was missed follows.
	Resumed, Recovered bool

	nc   net.Conn
	hear Hear

	wmu     sync.Mutex // guards writes
	mu      sync.Mutex
	ids     int
	waiting map[string]chan []byte

	over chan struct{}
	code int // why it is over; set before over is closed
}

// ErrCut says that the socket ended before the answer came: whether the call was executed is unknown.
var ErrCut = errors.New("the socket ended before the answer")

// Dial opens a socket at a server's base URL (ws://host:port). A server that refuses it gives a ws.StatusError.
func Dial(ctx context.Context, base string, q url.Values, hear Hear) (*Conn, error) {
	nc, br, _, err := ws.Dialer{Timeout: Patience}.Dial(ctx, base+"/v1/ws?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	c := &Conn{nc: nc, hear: hear, waiting: map[string]chan []byte{}, over: make(chan struct{})}
	go c.read(br) // ends with the socket
	return c, nil
}

// Join joins with params, and keeps what the answer says.
func (c *Conn) Join(params map[string]any) error {
	if params == nil {
		params = map[string]any{}
	}
	r, err := c.Call("join", params)
	if err != nil {
		return err
	}
	var j struct {
		Conn      string `json:"conn_id"`
		Session   string `json:"session_id"`
		Cursor    string `json:"cursor"`
		Seq       uint64 `json:"seq"`
		Resumed   bool   `json:"resumed"`
		Recovered bool   `json:"recovered"`
	}
	if err := json.Unmarshal(r, &j); err != nil {
		return err
	}
	c.ConnID, c.Session, c.Cursor, c.Seq, c.Resumed, c.Recovered = j.Conn, j.Session, j.Cursor, j.Seq, j.Resumed, j.Recovered
	return nil
}

// Error is what a call was refused with.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		Reason  hearth.Reason   `json:"reason"`
		Current json.RawMessage `json:"current"`
		// RetryAfter is in milliseconds.
		RetryAfter int64 `json:"retry_after_ms"`
	} `json:"data"`
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s %s", e.Code, e.Data.Reason, e.Message) }

// ReasonOf returns the reason of a refusal; "" if err is another error.
func ReasonOf(err error) hearth.Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Data.Reason
	}
	return ""
}

// Unknown reports whether a call that gave err may have been executed.
func Unknown(err error) bool {
	return errors.Is(err, ErrCut) || ReasonOf(err) == hearth.ReasonOutcomeUnknown
}

// Call sends a request and returns its result. A refusal is an *Error; ErrCut leaves the outcome unknown.
func (c *Conn) Call(method string, params any) (json.RawMessage, error) {
	got, err := c.Send(method, params)
	if err != nil {
		return nil, err
	}
	return c.Answer(got)
}

// Send sends a request; its answer will come by the channel.
func (c *Conn) Send(method string, params any) (chan []byte, error) {
	b, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	got := make(chan []byte, 1)
	c.mu.Lock()
	c.ids++
	id := strconv.Itoa(c.ids)
	c.waiting[id] = got
	c.mu.Unlock()
	text := `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + string(b) + `}`
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := ws.WriteFrame(c.nc, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
		return nil, ErrCut
	}
	return got, nil
}

// Answer waits for what Send's channel brings.
func (c *Conn) Answer(got chan []byte) (json.RawMessage, error) {
	timeout := time.NewTimer(Patience + Patience/4)
	defer timeout.Stop()
	var text []byte
	select {
	case text = <-got:
	case <-c.over:
		select {
		case text = <-got:
		default:
			return nil, ErrCut
		}
	case <-timeout.C:
		return nil, fmt.Errorf("no answer: %w", ErrCut)
	}
	var m struct {
		Result json.RawMessage `json:"result"`
		Error  *Error          `json:"error"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	if m.Error != nil {
		return nil, m.Error
	}
	return m.Result, nil
}

const (
	replyHead = `{"jsonrpc":"2.0","id":`
	noteHead  = `{"jsonrpc":"2.0","method":"`
)

func (c *Conn) read(br *bufio.Reader) {
	defer close(c.over)
	defer c.nc.Close()
	for {
		h, err := ws.ReadHeader(br)
		if err != nil {
			return
		}
		b := make([]byte, h.Length)
		if _, err := io.ReadFull(br, b); err != nil {
			return
		}
		switch h.OpCode {
		case ws.OpText:
			c.got(b)
		case ws.OpClose:
			if len(b) >= 2 {
				c.code = int(binary.BigEndian.Uint16(b))
			}
			return
		}
	}
}

func (c *Conn) got(b []byte) {
	text := string(b)
	if rest, ok := strings.CutPrefix(text, replyHead); ok {
		id, _, _ := strings.Cut(rest, ",")
		c.mu.Lock()
		got := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if got != nil {
			got <- b
		}
		return
	}
	if c.hear == nil {
		return
	}
	if rest, ok := strings.CutPrefix(text, noteHead); ok {
		method, rest, _ := strings.Cut(rest, `"`)
		c.hear(method, []byte(strings.TrimSuffix(strings.TrimPrefix(rest, `,"params":`), "}")))
	}
}

// Over is closed when the socket has ended and all that came before has been heard.
func (c *Conn) Over() <-chan struct{} { return c.over }

// Code waits for the end and returns the server's close code; 0 if it ended without one.
func (c *Conn) Code() int {
	<-c.over
	return c.code
}

// Close closes the socket without waiting for its reader.
func (c *Conn) Close() error { return c.nc.Close() }

// Cut ends the socket as a broken path does: without a close frame.
func (c *Conn) Cut() {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.nc.Close()
	<-c.over
}
