package httpapi

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// object is a JSON object to send.
type object = map[string]any

// client is the other end of a WebSocket. A goroutine reads all that comes.
type client struct {
	testing.TB
	c    *cluster
	name string
	room string
	nc   net.Conn
	conn string // conn_id
	sess string // session_id

	wmu  sync.Mutex
	ids  int
	mute bool // it answers no pings

	arrivals
	inbox  []string
	pongs  []string
	pings  int
	code   node.CloseCode // of the close frame; 0: none came
	reason string
}

// dial opens a WebSocket to a node. query and headers are pairs.
func (c *cluster) dial(i int, query []string, headers ...string) *client {
	c.Helper()
	q := url.Values{}
	for j := 0; j < len(query); j += 2 {
		q.Set(query[j], query[j+1])
	}
	h := http.Header{}
	for j := 0; j < len(headers); j += 2 {
		h.Add(headers[j], headers[j+1])
	}
	d := ws.Dialer{Header: ws.HandshakeHeaderHTTP(h), Timeout: patience}
	nc, br, _, err := d.Dial(c.Context(), "ws://"+c.nodes[i].addr+"/v1/ws?"+q.Encode())
	if err != nil {
		c.Fatalf("dial: %v", err)
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return c.attach(nc, br)
}

// attach makes a client of an upgraded socket.
func (c *cluster) attach(nc net.Conn, br *bufio.Reader) *client {
	k := &client{TB: c.TB, c: c, nc: nc, arrivals: newArrivals()}
	done := make(chan struct{})
	go func() { // ends with the socket
		defer close(done)
		k.read(br)
	}()
	c.Cleanup(func() {
		_ = nc.Close()
		<-done
	})
	return k
}

// connect opens a WebSocket with a peer's token and peer_id.
func (c *cluster) connect(i int, room, peer, role string) *client {
	c.Helper()
	k := c.dial(i, []string{"token", c.token(room, peer, role), "peer", peer})
	k.name, k.room = peer, room
	return k
}

// join connects and joins, and takes the snapshot off the inbox.
func (c *cluster) join(i int, room, peer, role string, params object) *client {
	c.Helper()
	k := c.connect(i, room, peer, role)
	r := k.ok("join", params)
	k.conn, k.sess = at(k, r, "conn_id"), at(k, r, "session_id")
	k.next("peer-list")
	if params["listen"] != nil {
		k.hears("on-metadata-change", "snapshot", "true")
	}
	return k
}

func (k *client) read(br *bufio.Reader) {
	defer func() {
		_ = k.nc.Close()
		k.got(func() { k.ended = true })
	}()
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
			k.got(func() { k.inbox = append(k.inbox, string(b)) })
		case ws.OpPong:
			k.got(func() { k.pongs = append(k.pongs, string(b)) })
		case ws.OpPing:
			k.got(func() { k.pings++ })
			if !k.mute {
				_ = k.frame(ws.NewPongFrame(b))
			}
		case ws.OpClose:
			k.got(func() {
				if len(b) >= 2 {
					k.code, k.reason = node.CloseCode(binary.BigEndian.Uint16(b)), string(b[2:])
				}
			})
			_ = k.frame(ws.NewCloseFrame(b))
			return
		}
	}
}

// take returns the first message that matches, and takes it off the inbox.
func (k *client) take(what string, match func(text string) bool) string {
	k.Helper()
	var out string
	if !k.wait(func() bool {
		for i, m := range k.inbox {
			if match(m) {
				out = m
				k.inbox = append(k.inbox[:i:i], k.inbox[i+1:]...)
				return true
			}
		}
		return false
	}) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.Fatalf("%s: no %s came (closed with %d %q); the inbox has %s", k.name, what, k.code, k.reason, k.inbox)
	}
	return out
}

// first returns the first message, whatever it is, and takes it off the inbox.
func (k *client) first() string {
	k.Helper()
	return k.take("message", func(string) bool { return true })
}

func method(text string) string {
	var m struct{ Method string }
	_ = json.Unmarshal([]byte(text), &m) // a batch has none
	return m.Method
}

// next returns the params of the next notification of a method.
func (k *client) next(name string) string {
	k.Helper()
	m := k.take(name, func(text string) bool { return method(text) == name })
	return at(k, m, "params")
}

// hears fails the test unless the next notification of a method is so.
func (k *client) hears(name string, pairs ...string) {
	k.Helper()
	has(k, k.name+": "+name, k.next(name), pairs...)
}

// frame writes one frame, masked.
func (k *client) frame(f ws.Frame) error {
	k.wmu.Lock()
	defer k.wmu.Unlock()
	return ws.WriteFrame(k.nc, ws.MaskFrame(f))
}

// send writes one text message.
func (k *client) send(text string) {
	k.Helper()
	if err := k.frame(ws.NewTextFrame([]byte(text))); err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.Fatalf("%s: send: %v; closed by %d %s after %q", k.name, err, k.code, k.reason, k.inbox)
	}
}

// call sends a request and returns the whole reply.
func (k *client) call(name string, params any) string {
	k.Helper()
	k.ids++
	id := strconv.Itoa(k.ids)
	b, err := json.Marshal(params)
	if err != nil {
		k.Fatal(err)
	}
	k.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + name + `","params":` + string(b) + `}`)
	return k.take("reply to "+name, func(text string) bool {
		return strings.HasPrefix(text, `{"jsonrpc":"2.0","id":`+id+`,`)
	})
}

// ok calls what has to succeed and returns the result.
func (k *client) ok(name string, params object) string {
	k.Helper()
	r := k.call(name, params)
	if at(k, r, "error") != absent {
		k.Fatalf("%s: %s: %s", k.name, name, r)
	}
	return at(k, r, "result")
}

// fails calls what has to be refused, with a code and a reason, and returns the error.
func (k *client) fails(name string, params any, code int, reason hearth.Reason) string {
	k.Helper()
	r := k.call(name, params)
	has(k, name, r, "error.code", strconv.Itoa(code), "error.data.reason", string(reason), "result", absent)
	if at(k, r, "error.message") == "" {
		k.Errorf("%s: no message: %s", name, r)
	}
	return at(k, r, "error")
}

// closed waits for the end of the socket and fails the test unless it came with that code.
func (k *client) closed(code node.CloseCode) {
	k.Helper()
	k.wait(func() bool { return false })
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ended || k.code != code {
		k.Fatalf("%s: closed with %d %q, not %d (ended %v); the inbox has %s", k.name, k.code, k.reason, code, k.ended, k.inbox)
	}
}

// open fails the test unless the socket still works.
func (k *client) open() {
	k.Helper()
	k.ok("ping", nil)
}

// drop breaks the socket: no close frame, the way a network does.
func (k *client) drop() {
	if tcp, ok := k.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = k.nc.Close()
}

// mark sends a message to everybody in the room; see before.
func (c *cluster) mark(room string) string {
	c.Helper()
	m := "mark-" + strconv.FormatInt(c.marks.Add(1), 10)
	c.do("POST", "/v1/rooms/"+room+"/messages", c.server(), `{"message":1,"type":"`+m+`"}`).is(http.StatusAccepted)
	return m
}

// settle takes off the inboxes all that has come until now, or is on its way.
func (c *cluster) settle(room string, clients ...*client) {
	c.Helper()
	m := c.mark(room)
	for _, k := range clients {
		k.before(m)
	}
}

// before returns the methods of what came before a mark, with dots between, and takes all of it off the inbox. What the
// change before the mark had to bring has come by then, and what it must not bring would have.
func (k *client) before(mark string) string {
	k.Helper()
	var names []string
	for {
		m := k.first()
		if strings.Contains(m, `"type":"`+mark+`"`) {
			return strings.Join(names, " ")
		}
		names = append(names, method(m))
	}
}
