package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// link is the path between one node and Redis.
type link interface {
	// means says by what it is cut, for the log.
	means() string
	// listenAddr is where the node has to listen, so that its clients' path is another one.
	listenAddr() string
	// redisAddr is where the node finds the Redis that listens at addr on loopback.
	redisAddr(addr string) string
	// Cut lets everything vanish that one side sends to the other; nobody is told.
	Cut()
	// Reset ends all connections at once, on both sides. It cuts nothing: they can be made again.
	Reset()
	// Heal ends a cut. What was sent meanwhile arrives now, late, where the connection has been kept.
	Heal()
}

// newLink makes a link that ends with the test: a network namespace, or where none is allowed a proxy to the server at
// addr.
func newLink(tb testing.TB, addr string) link {
	tb.Helper()
	if !*proxy {
		ns, err := newNamespace(tb)
		if err == nil {
			tb.Logf("cut by: %s", ns.means())
			return ns
		}
		tb.Logf("no network namespace here: %v", err)
	}
	p := newProxy(tb, addr)
	tb.Logf("cut by: %s", p.means())
	return p
}

// relay is a proxy in the test's process.
type relay struct {
	to string
	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	moved  sync.Cond
	cut    bool
	closed bool
	conns  map[net.Conn]struct{}
}

func newProxy(tb testing.TB, addr string) *relay {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &relay{to: addr, l: l, conns: map[net.Conn]struct{}{}}
	p.moved.L = &p.mu
	p.wg.Go(p.accept) // ends with the listener
	tb.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.moved.Broadcast()
		_ = l.Close()
		p.Reset()
		p.wg.Wait()
	})
	return p
}

func (p *relay) means() string           { return "a proxy in the test's process" }
func (p *relay) listenAddr() string      { return "127.0.0.1:0" }
func (p *relay) redisAddr(string) string { return p.l.Addr().String() }

func (p *relay) accept() {
	for {
		a, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { // ends with its sockets
			if !p.keep(a) || !p.whole() { // the handshake of a path that is cut comes to no end
				return
			}
			b, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.to)
			if err != nil || !p.keep(b) {
				p.drop(a)
				return
			}
			p.wg.Go(func() { p.copy(a, b) })
			p.copy(b, a)
		})
	}
}

// keep registers a socket, which Reset then ends.
func (p *relay) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// drop ends sockets, as the network does: by RST.
func (p *relay) drop(cs ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		delete(p.conns, c)
	}
}

// whole waits while the path is cut. It returns false if it will never be whole again.
func (p *relay) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.cut && !p.closed {
		p.moved.Wait()
	}
	return !p.closed
}

// copy hands on what comes; what it holds when the path is cut arrives when it is healed.
func (p *relay) copy(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if !p.whole() {
			break
		}
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
				return // the other direction ends the rest
			}
		}
		if err != nil {
			break
		}
	}
	p.drop(to, from)
}

func (p *relay) set(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	p.moved.Broadcast()
}

func (p *relay) Cut()  { p.set(true) }
func (p *relay) Heal() { p.set(false) }

func (p *relay) Reset() {
	p.mu.Lock()
	var cs []net.Conn
	for c := range p.conns {
		cs = append(cs, c)
	}
	p.mu.Unlock()
	p.drop(cs...)
}
