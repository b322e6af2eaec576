package httpapi

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
)

// socket is a connection's net.Conn. While nothing comes it is parked: no goroutine reads it, and it has no buffers. What
// wakes it is something to read, told by the poller, or that a read would end: it is closed, or given a deadline.
type socket struct {
	net.Conn

	conn    *conn
	adopted bool            // the server serves it
	handle  *netpoll.Handle // nil: it can't be parked
	alarm   alarm           // for when it is to have ended
	state   atomic.Int32
	poked   atomic.Bool // it is closed, or a read has a deadline: it must not be parked
}

// States of a socket.
const (
	beingRead int32 = iota // somebody reads it
	woken                  // the same, and something may have come that the reader has not seen
	parked                 // who takes it out of that has to see to it that somebody reads
)

// scratch is what a reader needs while it has something to read. It is what its buffer reads from.
type scratch struct {
	conn *conn
	br   *bufio.Reader
	text []byte // of the message that is being read
	now  netpoll.Reader
}

func newScratch() *scratch {
	s := &scratch{}
	s.br = bufio.NewReaderSize(s, readBuffer)
	return s
}

// Read implements io.Reader for a reader that may wait, if it has to.
func (s *scratch) Read(p []byte) (n int, err error) {
	c := s.conn
	defer func() {
		if n == len(p) {
			c.sock.doubt()
		}
	}()
	if c.fiber.Inline() || c.lingering && c.sock.parks() {
		n, err := s.now.Read(c.sock.handle, p)
		if !errors.Is(err, netpoll.ErrNothing) || c.lingering && c.sock.parks() {
			return n, err
		}
		c.fiber.Leave()
	}
	return c.sock.Read(p)
}

// readBuffer is the size of a reader's buffer.
const readBuffer = 4 << 10

var scratches = sync.Pool{New: func() any { return newScratch() }}

// borrow gives the connection a buffer, unless it has one.
func (c *conn) borrow() {
	if c.br != nil {
		return
	}
	s := scratches.Get().(*scratch) //nolint:errcheck // there is nothing else in it
	s.conn = c
	s.br.Reset(s)
	c.scratch, c.br, c.text = s, s.br, s.text
}

// giveBack frees the connection of its buffers, in which nothing may be left.
func (c *conn) giveBack() {
	s := c.scratch
	text := c.text
	c.scratch, c.br, c.text = nil, nil, nil
	if s == nil {
		return // the one that came with the upgrade
	}
	if cap(text) > keepText {
		text = nil
	}
	s.text, s.conn = text, nil
	s.br.Reset(nil)
	scratches.Put(s)
}

// park is called by the reader when it has read all that there was, and reports whether the reader has to go: somebody
// else goes on with what comes next.
func (c *conn) park() bool {
	k := &c.sock
	if !k.parks() {
		return false
	}
	c.giveBack()
	for !k.state.CompareAndSwap(beingRead, parked) {
		k.state.Store(beingRead)
		if k.poked.Load() || k.handle.Pending() {
			c.borrow()
			return false
		}
	}
	return true // whoever has taken over may have ended the connection by now
}

// parks reports whether who has read all that there was need not wait for more.
func (k *socket) parks() bool { return k.handle != nil && !k.poked.Load() && !k.handle.Ended() }

// Ready implements netpoll.Waiter. What has come is read and handled in the poller's goroutine.
func (k *socket) Ready(r *fiber.Round) {
	if k.resume() {
		k.conn.srv.fibers.Run(r, k.conn)
	}
}

// poke has a goroutine read, since what is to come may be long in coming.
func (k *socket) poke() {
	k.poked.Store(true)
	if k.resume() {
		k.conn.srv.readers.Go(k.conn)
	}
}

// doubt is called by the reader when it may have left something that it is not told of: what came at one time is told of once.
func (k *socket) doubt() { k.state.CompareAndSwap(beingRead, woken) }

// resume reports whether the caller has to see to it that somebody reads.
func (k *socket) resume() bool {
	for {
		switch state := k.state.Load(); {
		case state == woken, state == beingRead && k.state.CompareAndSwap(beingRead, woken):
			return false
		case state == parked && k.state.CompareAndSwap(parked, beingRead):
			return true
		}
	}
}

// SetReadDeadline sees to it that somebody reads while there is a deadline.
func (k *socket) SetReadDeadline(t time.Time) error {
	err := k.Conn.SetReadDeadline(t)
	if t.IsZero() {
		k.poked.Store(false)
	} else {
		k.poke()
	}
	return err
}

// closing implements wire. Nobody has to wait for the other side meanwhile.
func (k *socket) closing() {
	at := time.Now().Add(k.conn.srv.o.closeTimeout)
	if k.adopted {
		k.conn.srv.alarms.set(&k.alarm, k, at)
	} else {
		_ = k.SetReadDeadline(at)
	}
}

// ring implements ringer: the other side has not closed in time.
func (k *socket) ring(now time.Time) { _ = k.SetReadDeadline(now) }

// Close sees to it that the reader finds out.
func (k *socket) Close() error {
	err := k.Conn.Close()
	k.poke()
	return err
}

// CloseWrite closes the writing half, if there are halves. That of TLS is left open: it would go through its lock of writes.
func (k *socket) CloseWrite() error {
	if _, ok := k.Conn.(*tls.Conn); ok {
		return nil
	}
	if c, ok := k.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// SyscallConn implements syscall.Conn.
func (k *socket) SyscallConn() (syscall.RawConn, error) {
	if s, ok := k.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, netpoll.ErrUnsupported
}

// watch makes a socket one that can be parked, if it is of the kind: what TLS has read ahead, or we, no poller knows of.
func (s *Server) watch(k *socket) {
	if _, ok := k.Conn.(*tls.Conn); ok || s.o.Poller == nil {
		return
	}
	if b, ok := k.Conn.(*begun); ok && len(b.text) > 0 {
		return
	}
	raw, err := k.SyscallConn()
	if err != nil {
		return
	}
	if h, err := s.o.Poller.Add(raw, k); err == nil {
		k.handle = h
	}
}

// unwatch has to be called right before the socket is closed, by who ends the connection.
func (k *socket) unwatch() {
	if k.handle != nil {
		k.handle.Forget()
	}
}
