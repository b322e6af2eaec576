package httpapi

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
)

// arrival is a connection by which nothing has come yet.
type arrival struct {
	l     *listener
	nc    *net.TCPConn
	alarm alarm
	taken atomic.Bool // somebody sees to it

	mu     sync.Mutex
	handle *netpoll.Handle
}

// watch has the poller tell of what comes, if it can.
func (a *arrival) watch(raw syscall.RawConn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handle, _ = a.l.s.o.Poller.Add(raw, a)
	return a.handle != nil
}

// watched returns what watch has got, also to who was told of something before that has returned.
func (a *arrival) watched() *netpoll.Handle {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.handle
}

// take reports whether the caller has to see to the connection, which then waits for nothing any more.
func (a *arrival) take() bool {
	if a.taken.Swap(true) {
		return false
	}
	a.l.mu.Lock()
	delete(a.l.waiting, a)
	a.l.mu.Unlock()
	a.l.alarms.set(&a.alarm, a, time.Time{})
	return true
}

// ring implements ringer: nothing has come in time.
func (a *arrival) ring(time.Time) {
	if a.take() {
		a.drop()
	}
}

func (a *arrival) drop() {
	if h := a.watched(); h != nil {
		h.Forget()
	}
	_ = a.nc.Close()
}

// Ready implements netpoll.Waiter.
func (a *arrival) Ready(r *fiber.Round) {
	switch s := a.l.s; {
	case !a.take():
	case s.hold():
		s.fibers.Run(r, a)
	default: // the HTTP server says that the node stops
		a.handOver(nil)
	}
}

// handOver gives the connection to the HTTP server, with what was read of it.
func (a *arrival) handOver(text []byte) {
	a.watched().Remove()
	a.l.pass(&begun{TCPConn: a.nc, text: bytes.Clone(text)})
}

// serve reads the first request. If it opens a WebSocket, that is served; the HTTP server gets the connection otherwise.
func (a *arrival) serve(f *fiber.Fiber) {
	s := a.l.s
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		f.Leave() // the log may be slow
	}
	s.sender.gather(f)
	c := a.open(f)
	s.release()
	if c != nil {
		c.serve(f)
	}
}

// open reads the first request and returns a connection if that is to be served: a WebSocket.
func (a *arrival) open(f *fiber.Fiber) (c *conn) {
	s, u := a.l.s, a.l.upgrades.take()
	defer a.l.upgrades.give(u)
	defer func() {
		if r := recover(); r != nil { // a fault in one must not end the node's other connections
			s.log.Error("panic", "remote", a.nc.RemoteAddr().String(), "panic", r, "stack", string(debug.Stack()))
			if c != nil {
				c.shut()
			}
			a.drop()
			c = nil
		}
	}()
	began := time.Now()
	text, err := u.read(a.watched())
	if err != nil && !errors.Is(err, netpoll.ErrNothing) {
		a.drop()
		return nil
	}
	if !u.understand(text) {
		a.handOver(text)
		return nil
	}
	if s.o.Verifier.Slow(u.opening.token) {
		f.Leave()
	}
	p, authErr, err := s.admit(&u.opening, a.l.enter)
	if err != nil {
		a.handOver(text)
		return nil
	}
	c = newConn(s, a.nc, nil, p, u.opening.peer)
	c.sock.handle = a.watched()
	c.sock.handle.Pass(&c.sock)
	if !f.Inline() || len(text) == len(u.head) { // more may have come that nobody was told of, or is left
		c.sock.doubt()
	}
	c.prompt(bytes.Clone(u.answer))
	s.observeOpening(began)
	if !s.takeIn(c, &u.opening, authErr) {
		return nil
	}
	return c
}

// begun is a connection of which something was read.
type begun struct {
	*net.TCPConn

	text []byte // that was read and not taken yet
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.text) > 0 {
		n := copy(p, b.text)
		if b.text = b.text[n:]; len(b.text) == 0 {
			b.text = nil // it may have a token, and the connection may live for long
		}
		return n, nil
	}
	return b.TCPConn.Read(p) //nolint:wrapcheck // its own
}
