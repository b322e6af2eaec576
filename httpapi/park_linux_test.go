package httpapi

import (
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/internal/netpoll"
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
	ours, theirs := tcpPair(t)
	p, err := netpoll.New()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // until it is closed
		defer close(done)
		p.Run()
	}()
	defer func() {
		_ = p.Close()
		<-done
	}()
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
	c.sock.Ready() // while it is read
	if c.park() {
		t.Fatal("parked, with a byte that nobody will be told of")
	}
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.sock.Ready() // of what has been read
	if !c.park() || c.br != nil {
		t.Error("not parked, though nothing is there")
	}
}

type waiterFunc func()

func (f waiterFunc) Ready() { f() }
