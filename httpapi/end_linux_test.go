package httpapi

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/node"
)

const leaveText = `{"jsonrpc":"2.0","id":"bye","method":"leave"}`

// leaves has a raw socket's peer leave, and reads on until the node's close frame.
func leaves(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := nc.Write(part(ws.OpText, true, leaveText)); err != nil {
		t.Fatal(err)
	}
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(nc) // to the end of the node's half
	if err != nil {
		t.Fatal(err)
	}
	reply := bytes.Index(all, []byte(`"id":"bye","result":`))
	if end := bytes.LastIndex(all, ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "left")))); reply < 0 || end < reply {
		t.Fatalf("a leave is answered by %q", all)
	}
}

// Nobody stands by a socket whose client has not closed it yet; it is closed when that does.
func TestWhoHasLeftIsParked(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, closeTimeout: time.Hour})
	var all []net.Conn
	for i := range 20 {
		all = append(all, c.rawReader("r"+strconv.Itoa(i/5), "p"+strconv.Itoa(i), 0))
	}
	for _, nc := range all {
		leaves(t, nc)
	}
	eventually(t, "nobody reads", func() bool { return readers() == 0 })
	if open, members := c.nodes[0].Connections(), c.nodes[0].node.Members(); open != len(all) || members != 0 {
		t.Errorf("%d sockets are open of %d, %d members are there", open, len(all), members)
	}
	for i, nc := range all {
		if _, err := nc.Write(part(ws.OpText, true, pingText)); err != nil { // which nobody looks at any more
			t.Fatal(err)
		}
		if i%2 == 0 {
			if _, err := nc.Write(part(ws.OpClose, true, "\x03\xe8")); err != nil {
				t.Fatal(err)
			}
		}
		_ = nc.Close()
	}
	eventually(t, "all are closed", func() bool { return c.nodes[0].Connections() == 0 })
	c.nothingLeft()
}

// A client that doesn't close has its time, whether its own leave or the node ends the connection, whether or not it is being read, and
// whether or not it was let in.
func TestWhoDoesNotCloseIsClosed(t *testing.T) {
	c := newCluster(t, setup{nodes: 2, closeTimeout: 50 * time.Millisecond})
	left := c.rawReader("r", "left", 0)
	leaves(t, left)
	parked, half := c.rawReader("r", "parked", 0), c.rawReader("r", "half", 0)
	eventually(t, "both are members", func() bool { return c.nodes[0].node.Members() == 2 })
	if _, err := half.Write(part(ws.OpText, true, pingText)[:3]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is read", func() bool { return readers() == 1 })
	for _, peer := range []string{"parked", "half"} {
		c.nodes[0].socket(t, peer).Close(node.CloseGoingAway, "bye")
	}
	eventually(t, "all are closed", func() bool { return c.nodes[0].Connections() == 0 })
	all := []net.Conn{left, parked, half}
	for _, n := range c.nodes { // the second has net/http open its WebSockets
		for _, token := range []string{"none", c.token("r", "late", "guest")} {
			d := ws.Dialer{}
			nc, _, _, err := d.Dial(t.Context(), "ws://"+n.addr+"/v1/ws?peer=late&token="+token)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			all = append(all, nc)
		}
		eventually(t, "one is let in", func() bool { return n.Connections() == 1 })
		n.socket(t, "late").Close(node.CloseGoingAway, "bye")
	}
	for i, nc := range all {
		eventually(t, "number "+strconv.Itoa(i)+" is closed", func() bool {
			_, err := nc.Write([]byte{0}) // the node's half has ended at once
			return err != nil
		})
	}
}

// What a client sends that has left is dropped, up to a bound.
func TestWhoHasLeftAndSends(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, closeTimeout: time.Hour})
	nc := c.rawReader("r", "ann", 0)
	leaves(t, nc)
	if err := nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, maxDiscard/4)
	for range 3 {
		if _, err := nc.Write(junk); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "nobody reads", func() bool { return readers() == 0 })
	if c.nodes[0].Connections() != 1 {
		t.Error("it is closed early")
	}
	for sent, err := 0, error(nil); err == nil; {
		var n int
		n, err = nc.Write(junk)
		if sent += n; sent > 100*maxDiscard {
			t.Fatal("there is no end to it")
		}
	}
	eventually(t, "it is closed", func() bool { return c.nodes[0].Connections() == 0 })
}

// A socket that ends while something is under way for it, a call or a write, waits for that by itself.
func TestNobodyWaitsForAnEnd(t *testing.T) {
	for what, begin := range map[string]func(k *conn) (end func()){
		"a call": func(k *conn) func() {
			k.later.Add(1)
			k.calls.Add(1)
			return func() {
				k.calls.Done()
				k.later.Add(-1)
			}
		},
		"a write": func(k *conn) func() {
			move := func(from, to transit) bool {
				k.outbox.mu.Lock()
				defer k.outbox.mu.Unlock()
				if k.state != from {
					return false
				}
				k.state = to
				k.drained.Broadcast()
				return true
			}
			eventually(t, "nothing is being sent to it", func() bool { return move(resting, flying) })
			return func() { move(flying, resting) }
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCluster(t, setup{nodes: 1})
			var others []*client
			for i := range 8 { // some of them are watched by the same goroutine, whichever that is
				others = append(others, c.join(0, "other", "o"+strconv.Itoa(i), "host", nil))
			}
			ann := c.join(0, "r", "ann", "host", nil)
			end := sync.OnceFunc(begin(c.nodes[0].socket(t, "ann")))
			defer end()
			if err := ann.frame(ws.NewPongFrame(nil)); err != nil { // by which the race detector knows what came first
				t.Fatal(err)
			}
			_ = ann.nc.Close()
			eventually(t, "its end is noticed", func() bool { return c.nodes[0].node.Members() == int64(len(others)) || readers() > 0 })
			for _, o := range others {
				o.ok("set-metadata", object{"key": "k", "data": o.name})
			}
			if c.nodes[0].Connections() != len(others)+1 {
				t.Error("it has not waited")
			}
			end()
			eventually(t, "it has ended", func() bool { return c.nodes[0].Connections() == len(others) })
		})
	}
}
