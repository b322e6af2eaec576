package httpapi

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// closeFrame makes a close frame with a code, also one that must not be sent.
func closeFrame(code int) ws.Frame {
	return ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), ""))
}

// raw upgrades by hand, with early in the same segment as the request.
func (c *cluster) raw(early []byte) *client {
	c.Helper()
	nc, err := new(net.Dialer).DialContext(c.Context(), "tcp", c.nodes[0].addr)
	if err != nil {
		c.Fatal(err)
	}
	b := []byte("GET /v1/ws?peer=raw&token=" + c.token("r", "raw", "guest") + " HTTP/1.1\r\nHost: " + c.nodes[0].addr + "\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if _, err := nc.Write(append(b, early...)); err != nil {
		c.Fatal(err)
	}
	br := bufio.NewReader(nc)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close() // of an upgrade there is none
	if res.StatusCode != http.StatusSwitchingProtocols {
		c.Fatalf("upgrade: %s", res.Status)
	}
	k := c.attach(nc, br)
	k.name = "raw"
	return k
}

// masked is the bytes of a frame as a client sends it.
func masked(f ws.Frame) []byte { return ws.MustCompileFrame(ws.MaskFrame(f)) }

func part(op ws.OpCode, fin bool, text string) []byte {
	return masked(ws.NewFrame(op, fin, []byte(text)))
}

// header is the bytes of a masked text frame's header alone.
func header(length int64) []byte {
	var b bytes.Buffer
	_ = ws.WriteHeader(&b, ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: length}) // a buffer takes all
	return b.Bytes()
}

func flip(b []byte, i int, bits byte) []byte {
	b[i] ^= bits
	return b
}

const (
	pingText = `{"id":1,"method":"ping"}`
	maxFrame = 4096
)

func TestBadFrames(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{MaxFrame: maxFrame}})
	ok := func() []byte { return part(ws.OpText, true, pingText) }
	big := strings.Repeat("x", maxFrame)
	closeWith := func(body ...byte) []byte { return masked(ws.NewCloseFrame(body)) }
	code := func(n uint16, reason string) []byte {
		return closeWith(append(binary.BigEndian.AppendUint16(nil, n), reason...)...)
	}
	for name, tt := range map[string]struct {
		bytes []byte
		code  node.CloseCode
	}{
		"unmasked":                     {ws.MustCompileFrame(ws.NewTextFrame([]byte(pingText))), 1002},
		"RSV1":                         {flip(ok(), 0, 0x40), 1002},
		"RSV3":                         {flip(ok(), 0, 0x10), 1002},
		"reserved opcode":              {flip(ok(), 0, 0x02), 1002},
		"reserved control opcode":      {part(0xb, true, ""), 1002},
		"fragmented ping":              {part(ws.OpPing, false, "x"), 1002},
		"oversize ping":                {part(ws.OpPing, true, strings.Repeat("x", 126)), 1002},
		"oversize close":               {closeWith(append([]byte{3, 232}, big[:124]...)...), 1002},
		"continuation without start":   {part(ws.OpContinuation, true, pingText), 1002},
		"text between fragments":       {append(part(ws.OpText, false, pingText), ok()...), 1002},
		"length with its top bit set":  {append([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1}, 1, 2, 3, 4), 1002},
		"not UTF-8":                    {part(ws.OpText, true, "{\"id\":\"\xff\"}"), 1007},
		"not UTF-8 over fragments":     {append(part(ws.OpText, false, "\xc3"), part(ws.OpContinuation, true, "x")...), 1007},
		"binary":                       {part(ws.OpBinary, true, pingText), 1008},
		"binary, fragmented":           {part(ws.OpBinary, false, pingText), 1008},
		"announced too big":            {header(maxFrame + 1), 1009},
		"announced absurd":             {header(1 << 62), 1009},
		"too big by fragments":         {append(part(ws.OpText, false, big), part(ws.OpContinuation, true, "x")...), 1009},
		"too many fragments":           {append(part(ws.OpText, false, ""), bytes.Repeat(part(ws.OpContinuation, false, ""), maxFragments)...), 1009},
		"close without a code":         {closeWith(), 1000},
		"close with one byte":          {closeWith(3), 1002},
		"close, reason not UTF-8":      {code(1000, "\xff"), 1002},
		"close 1000":                   {code(1000, "bye"), 1000},
		"close 1001":                   {code(1001, ""), 1001},
		"close 1013":                   {code(1013, ""), 1013},
		"close 3000":                   {code(3000, ""), 3000},
		"close 4999":                   {code(4999, ""), 4999},
		"close 999":                    {code(999, ""), 1002},
		"close 1004":                   {code(1004, ""), 1002},
		"close 1005":                   {code(1005, ""), 1002},
		"close 1006":                   {code(1006, ""), 1002},
		"close 1015":                   {code(1015, ""), 1002},
		"close 2999":                   {code(2999, ""), 1002},
		"close 5000":                   {code(5000, ""), 1002},
		"a close and more after it":    {append(code(1000, ""), ok()...), 1000},
		"a close between fragments":    {append(part(ws.OpText, false, "x"), code(1000, "")...), 1000},
		"a good one and then unmasked": {append(ok(), 0x81, 0x01, 'x'), 1002},
	} {
		t.Run(name, func(t *testing.T) {
			c := c.on(t)
			k := c.raw(nil)
			if _, err := k.nc.Write(tt.bytes); err != nil {
				t.Fatal(err)
			}
			k.closed(tt.code)
		})
	}
	if left := c.logs.String(); strings.Contains(left, "panic") {
		t.Errorf("a panic: %s", left)
	}
	eventually(t, "no connection is left", func() bool { return c.nodes[0].Connections() == 0 })
}

func TestGoodFrames(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{MaxFrame: maxFrame}})
	join := func(ps ...[]byte) []byte { return bytes.Join(ps, nil) }
	fits := pingText + strings.Repeat(" ", maxFrame-len(pingText))
	ping := func(text string) []byte { return part(ws.OpPing, true, text) }
	for name, tt := range map[string]struct {
		bytes []byte
		pongs []string
	}{
		"one frame":             {part(ws.OpText, true, pingText), nil},
		"as big as allowed":     {part(ws.OpText, true, fits), nil},
		"of three fragments":    {join(part(ws.OpText, false, pingText[:3]), part(ws.OpContinuation, false, ""), part(ws.OpContinuation, true, pingText[3:])), nil},
		"as big, in fragments":  {join(part(ws.OpText, false, fits[:5]), part(ws.OpContinuation, true, fits[5:])), nil},
		"a rune over fragments": {join(part(ws.OpText, false, "{\"id\":1,\"method\":\"ping\",\"x\":\"\xc3"), part(ws.OpContinuation, true, "\xa9\"}")), nil},
		"ping before":           {join(ping("p"), part(ws.OpText, true, pingText)), []string{"p"}},
		"empty ping":            {join(ping(""), part(ws.OpText, true, pingText)), []string{""}},
		"ping between fragments": {join(part(ws.OpText, false, pingText[:3]), ping("a"), ping(strings.Repeat("b", 125)),
			part(ws.OpContinuation, true, pingText[3:])), []string{"a", strings.Repeat("b", 125)}},
		"pong unasked": {join(part(ws.OpPong, true, "x"), part(ws.OpText, true, pingText)), nil},
	} {
		for _, early := range []bool{false, true} {
			t.Run(name+", with the upgrade "+strconv.FormatBool(early), func(t *testing.T) {
				c := c.on(t)
				var k *client
				if early {
					k = c.raw(tt.bytes)
				} else {
					k = c.raw(nil)
					if _, err := k.nc.Write(tt.bytes); err != nil {
						t.Fatal(err)
					}
				}
				has(t, name, k.first(), "id", "1", "error", absent)
				k.mu.Lock()
				defer k.mu.Unlock()
				if got, want := strings.Join(k.pongs, "|"), strings.Join(tt.pongs, "|"); got != want || len(k.pongs) != len(tt.pongs) {
					t.Errorf("pongs %q, not %q", got, want)
				}
			})
		}
	}
}

// A message that arrives byte by byte is read like any other.
func TestSlowWriter(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	k := c.raw(nil)
	for _, b := range part(ws.OpText, true, pingText) {
		if _, err := k.nc.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	has(t, "ping", k.first(), "id", "1")
}

// Who stops reading is cut off, and costs neither the others' messages nor memory without bound.
func TestSlowReader(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	ann := c.join(0, "r", "ann", "guest", nil)
	bob := c.join(0, "r", "bob", "guest", nil)
	slow := c.rawReader("r", "slow", 4<<10)
	ann.hears("on-peer-join", "peer_id", "bob")
	ann.hears("on-peer-join", "peer_id", "slow")
	text := strings.Repeat("x", 60<<10)
	gone, sent := false, 0
	for ; !gone; sent++ {
		if sent > 1000 {
			t.Fatal("the slow one is still there after 60 MB")
		}
		ann.ok("broadcast", object{"info": object{"message": text}})
		bob.hears("on-broadcast")
		if most := c.nodes[0].queued(); most > maxQueued+maxQueued/2 {
			t.Fatalf("%d bytes wait for one socket", most)
		}
		gone = strings.Contains(ann.before(c.mark("r")), "on-peer-leave")
		bob.take("mark", func(m string) bool { return strings.Contains(m, `"type":"mark-`) })
	}
	bob.hears("on-peer-leave", "peer_id", "slow", "reason", "timed_out")
	t.Logf("cut off after %d messages of 60 KiB", sent)
	_ = slow.Close()
}

// rawReader joins with a socket that reads nothing any more; the kernel takes that much for it, 0 for as much as it likes.
func (c *cluster) rawReader(room, peer string, buffer int) net.Conn {
	c.Helper()
	d := ws.Dialer{}
	nc, _, _, err := d.Dial(c.Context(), "ws://"+c.nodes[0].addr+"/v1/ws?peer="+peer+"&token="+c.token(room, peer, "guest"))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = nc.Close() })
	if tcp, ok := nc.(*net.TCPConn); ok && buffer > 0 {
		if err := tcp.SetReadBuffer(buffer); err != nil {
			c.Fatal(err)
		}
	}
	if _, err := nc.Write(part(ws.OpText, true, `{"id":1,"method":"join"}`)); err != nil {
		c.Fatal(err)
	}
	return nc
}

// queued returns how many bytes wait for the socket for which the most do.
func (n *testNode) queued() (most int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.outbox.mu.Lock()
		sum := 0
		for _, f := range c.frames {
			sum += len(f)
		}
		most = max(most, c.queued, sum)
		c.outbox.mu.Unlock()
	}
	return most
}
