package httpapi

import (
	"bytes"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/tcptest"
	"github.com/hearthstore/hearth/pubsub"
)

// readers returns how many goroutines stand in a connection's code.
func readers() int {
	b := make([]byte, 8<<20)
	n := 0
	for g := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(g, "httpapi.(*conn).serve") || strings.Contains(g, "httpapi.(*outbox).write(") {
			n++
		}
	}
	return n
}

// bytesInUse is what the process holds in its heap and its stacks.
func bytesInUse() int64 {
	var m runtime.MemStats
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// maxIdle bounds what an idle connection of a joined peer may cost the process, in bytes: with its share of the node, a room
// and session of its own, what the embedded store keeps of them, and the test's own end of the socket.
const maxIdle = 16 << 10

// A connection on which nothing comes has no goroutine, no timer and no buffers. (Elsewhere than on Linux a goroutine reads it.)
func TestIdleConnection(t *testing.T) {
	const many = 200
	c := newCluster(t, setup{nodes: 1})
	joined := 0
	open := func(n int) {
		for range n {
			joined++
			peer := "p" + strconv.Itoa(joined)
			nc := c.rawReader("r"+peer, peer, 0)
			if _, err := nc.Write(part(ws.OpText, true, pingText)); err != nil {
				t.Fatal(err)
			}
			if joined%10 == 0 {
				eventually(t, "all have joined", func() bool { return c.nodes[0].node.Members() == int64(joined) })
			}
		}
	}
	open(20) // what is made once
	eventually(t, "nobody reads", func() bool { return readers() == 0 })
	goroutines, before := runtime.NumGoroutine(), bytesInUse()
	open(many)
	eventually(t, "nobody reads", func() bool { return readers() == 0 })
	each := (bytesInUse() - before) / many
	t.Logf("%d bytes a connection", each)
	if limit := int64(maxIdle); each > limit && !raceEnabled {
		t.Errorf("%d bytes a connection, more than %d", each, limit)
	}
	eventually(t, "nobody stands by", func() bool { return runtime.NumGoroutine() < goroutines+many/10 })
}

// What comes while a socket is read keeps it from being parked; what was told of and has been read does not.
func TestParkLosesNothing(t *testing.T) {
	s := newStage(t)
	c := s.conn
	ours, theirs := tcptest.Pair(t)
	p, err := netpoll.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{}, 10)
	if c.sock.handle, err = p.Add(raw, waiterFunc(func() { told <- struct{}{} })); err != nil {
		t.Fatal(err)
	}
	defer func() { c.sock.handle = nil }()
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-told
	c.sock.poked.Store(false)
	c.borrow()
	c.sock.Ready(&fiber.Round{}) // while it is read
	if c.park() {
		t.Fatal("parked, with a byte that nobody will be told of")
	}
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.sock.Ready(&fiber.Round{}) // of what has been read
	if !c.park() || c.br != nil {
		t.Error("not parked, though nothing is there")
	}
}

// The end of a socket is told of once, maybe together with bytes that come before it: who has read these is not parked.
func TestParkWaitsForNoEnd(t *testing.T) {
	s := newStage(t)
	c := s.conn
	ours, theirs := tcptest.Pair(t)
	p := redistest.Poller(t)
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := theirs.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	tcptest.Ended(t, ours)
	if c.sock.handle, err = p.Add(raw, waiterFunc(func() {})); err != nil {
		t.Fatal(err)
	}
	handle := c.sock.handle
	defer func() {
		handle.Remove()
		c.sock.handle = nil
	}()
	eventually(t, "its end is told of", handle.Ended)
	c.sock.poked.Store(false)
	c.borrow()
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if c.park() {
		t.Error("parked, and of the end nobody will be told")
	}
}

type waiterFunc func()

func (f waiterFunc) Ready(*fiber.Round) { f() }

// What is read and handled in the poller's goroutine holds up everybody's: whoever is long about anything gets one of its own.
func TestNobodyWaitsForAnother(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	ann := c.join(0, "r", "ann", "host", nil)
	ann.ok("set-metadata", object{"key": "long", "data": strings.Repeat("x", 60<<10)})
	ann.ok("lock-acquire", object{"name": "held", "ttl_ms": 60000})
	get := part(ws.OpText, true, `{"id":1,"method":"get-metadata","params":{"key":"long"}}`)
	long := `{"id":2,"method":"broadcast","params":{"info":{"type":"t","message":"` + strings.Repeat("y", 2*inlineMost) + `"}}}`
	for i, odd := range []struct {
		name   string
		sends  []byte
		parked bool // soon, since there is nothing to wait for
	}{
		{name: "half a header", sends: get[:1]},
		{name: "half a message", sends: get[:len(get)-5]},
		{name: "half a ping", sends: masked(ws.NewPingFrame([]byte("ping")))[:8]},
		{name: "one message and half of another", sends: append(slices.Clone(get), get[:20]...)},
		{name: "the first fragment", sends: part(ws.OpText, false, `{"id":1,`)},
		{name: "a close frame, and does not close", sends: masked(closeFrame(1000))},
		{name: "a malformed frame", sends: []byte{0xff, 0xff}},
		{name: "more requests than it reads answers", sends: bytes.Repeat(get, 400)},
		{name: "a request that waits", sends: part(ws.OpText, true, `{"id":1,"method":"lock-acquire","params":{"name":"held","ttl_ms":1000,"wait_ms":60000}}`), parked: true},
		{name: "a batch", sends: part(ws.OpText, true, `[{"id":1,"method":"lock-acquire","params":{"name":"held","ttl_ms":1000}},`+pingText+`]`), parked: true},
		{name: "what takes several steps", sends: part(ws.OpText, true, `{"id":1,"method":"listen-metadata-change","params":{"keys":["*"]}}`), parked: true},
		{name: "a long message", sends: part(ws.OpText, true, long), parked: true},
		{name: "all of several", sends: append(bytes.Repeat(get, 3), part(ws.OpText, true, pingText)...), parked: true},
	} {
		peer := "odd" + strconv.Itoa(i)
		nc := c.rawReader("r", peer, 0)
		isParked := func() bool {
			k := &c.nodes[0].socket(t, peer).sock
			return k.state.Load() == parked
		}
		ann.hears("on-peer-join", "peer_id", peer)
		eventually(t, "it is parked", isParked)
		if _, err := nc.Write(odd.sends); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			ann.ok("get-metadata", object{"key": "k"})
			ann.ok("ping", nil)
		}
		if odd.parked {
			eventually(t, odd.name+": it is parked again", isParked)
		}
		_ = nc.Close()
		ann.hears("on-peer-leave", "peer_id", peer)
	}
}

// What may block is done by a fiber that has left; what may not is done where it was read, and has a context to wait by.
func TestWhoLeaves(t *testing.T) {
	type where struct{ inline, waits bool }
	did := make(chan where, 10)
	look := func(k *call) ([]byte, error) {
		did <- where{k.conn.fiber.Inline(), fiber.From(k.ctx()) != nil}
		return empty, nil
	}
	odd := map[string]rpcVerb{
		"test-inline": {run: look, early: true, inline: true},
		"test-blocks": {run: look, early: true},
		"test-behind": {early: true, inline: true, run: func(k *call) ([]byte, error) {
			k.conn.outbox.mu.Lock()
			defer k.conn.outbox.mu.Unlock()
			k.conn.answers += 2 * maxQueued
			k.conn.state = writing // as if a goroutine did
			return empty, nil
		}},
	}
	for name, v := range odd {
		v.name = name
		verbs[name] = v
		defer delete(verbs, name) // after the nodes have ended
	}
	t.Run("nodes", func(t *testing.T) {
		c := newCluster(t, setup{nodes: 1})
		ann := c.join(0, "r", "ann", "host", nil)
		nc := c.rawReader("r", "bob", 0)
		ann.hears("on-peer-join", "peer_id", "bob")
		bob := c.nodes[0].socket(t, "bob")
		send := func(text string) {
			t.Helper()
			eventually(t, "it is parked", func() bool { return bob.sock.state.Load() == parked })
			if _, err := nc.Write(part(ws.OpText, true, text)); err != nil {
				t.Fatal(err)
			}
		}
		pad := strings.Repeat(" ", inlineMost)
		for text, want := range map[string]where{
			`{"id":1,"method":"test-inline"}`:         {inline: true, waits: true},
			`{"id":1,"method":"test-blocks"}`:         {},
			`[{"id":1,"method":"test-inline"}]`:       {},
			pad + `{"id":1,"method":"test-inline"}`:   {},
			`[{"id":1,"method":"test-blocks"}]` + pad: {},
		} {
			send(text)
			if got := <-did; got != want {
				t.Errorf("%.40q is done %+v, want %+v", strings.TrimSpace(text), got, want)
			}
		}
		eventually(t, "it is parked", func() bool { return bob.sock.state.Load() == parked })
		one := part(ws.OpText, true, `{"method":"test-inline"}`)
		if _, err := nc.Write(bytes.Repeat(one, inlineMessages+2)); err != nil {
			t.Fatal(err)
		}
		for i := range inlineMessages + 2 {
			if got := <-did; got.inline != (i < inlineMessages) {
				t.Errorf("message %d of those that came together is done %+v", i, got)
			}
		}
		send(`{"id":1,"method":"test-behind"}`)
		for range 3 {
			ann.ok("get-metadata", object{"key": "k"})
		}
		if bob.outbox.mu.Lock(); bob.answers < 2*maxQueued {
			t.Error("it is not behind")
		}
		bob.answers -= 2 * maxQueued
		bob.state = resting
		bob.drained.Broadcast()
		bob.outbox.mu.Unlock()
		send(pingText)
	})
}

// A buffer that is full, and ends where a message does, is no sign that nothing is left.
func TestParkAfterAFullBuffer(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	const quarter = readBuffer / 4
	text := `{"id":7,"method":"ping"}`
	one := part(ws.OpText, true, text+strings.Repeat(" ", quarter-8-len(text)))
	if len(one) != quarter {
		t.Fatalf("%d bytes", len(one))
	}
	for _, peer := range []string{"at once", "parked before"} {
		nc := c.rawReader("r", peer[:2], 0)
		if peer != "at once" {
			eventually(t, "it is parked", func() bool { return c.nodes[0].socket(t, peer[:2]).sock.state.Load() == parked })
		}
		if _, err := nc.Write(bytes.Repeat(one, 12)); err != nil {
			t.Fatal(err)
		}
		if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for b := make([]byte, 4096); bytes.Count(got, []byte(`"id":7`)) < 12; {
			n, err := nc.Read(b)
			if got = append(got, b[:n]...); err != nil {
				t.Fatalf("%s: %d of 12 are answered: %v", peer, bytes.Count(got, []byte(`"id":7`)), err)
			}
		}
	}
}

// The last socket's end ends the poller, whoever has read it; the next socket has another one.
func TestLastSocketEnds(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	for i := range 3 {
		nc := c.rawReader("r", "p"+strconv.Itoa(i), 0)
		eventually(t, "it is parked", func() bool {
			return c.nodes[0].Connections() == 1 && c.nodes[0].socket(t, "p"+strconv.Itoa(i)).sock.state.Load() == parked
		})
		_ = nc.Close()
		eventually(t, "it has gone", func() bool { return c.nodes[0].Connections() == 0 })
	}
}

// stuck is a subscriber that hears nothing until it is let go of.
type stuck struct{ hearing, release chan struct{} }

func (s *stuck) Deliver(*pubsub.Message) {
	s.hearing <- struct{}{}
	<-s.release
}

func (*stuck) Lost() {}

// A join, a leave, and a socket's end, that have to wait for what is handed on to many in their room hold up nobody in another one.
func TestNobodyWaitsForARoom(t *testing.T) {
	c := newCluster(t, setup{})
	far := c.join(1, "r", "far", "host", nil)
	lee := c.join(0, "r", "lee", "host", nil)
	eve := c.join(0, "r", "eve", "host", nil)
	zed := c.connect(0, "r", "zed", "host")
	var others []*client
	for i := range 8 { // some of them are watched by the same goroutine, whichever that is
		others = append(others, c.join(0, "other", "o"+strconv.Itoa(i), "host", nil))
	}
	at, err := hearth.ParseCursor(far.cursor())
	if err != nil {
		t.Fatal(err)
	}
	s := &stuck{make(chan struct{}, 1000), make(chan struct{})}
	for range 20 { // more than few
		sub, err := c.nodes[0].node.Hub().Subscribe(t.Context(), "r", s)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		sub.Activate(at)
	}
	release := sync.OnceFunc(func() { close(s.release) })
	defer release()
	far.ok("broadcast", object{"info": object{"message": "m"}})
	<-s.hearing
	zed.send(`{"id":1,"method":"join"}`)
	lee.send(`{"id":1,"method":"leave"}`)
	_ = eve.nc.Close()
	for range 3 {
		for _, o := range others {
			o.ok("set-metadata", object{"key": "k", "data": o.name})
		}
	}
	eventually(t, "lee has left", func() bool { return !strings.Contains(c.do("GET", "/v1/rooms/r/peers", c.server(), "").body, `"lee"`) })
	release()
	has(zed, "join", zed.first(), "id", "1", "result.peer_id", "zed")
}

// Many who are the first in their rooms, all at once, wait until the node hears these, and hold up nobody: what Redis confirms is read
// by the same goroutines.
func TestFirstJoinsTogether(t *testing.T) {
	each(t, func(c *cluster) {
		var all []*client
		for i := range 30 {
			all = append(all, c.connect(0, "r"+strconv.Itoa(i), "ann", "host"))
		}
		for _, k := range all {
			k.send(`{"id":1,"method":"join"}`)
		}
		for _, k := range all {
			has(k, "join", k.first(), "id", "1", "result.peer_id", "ann")
		}
	})
}
