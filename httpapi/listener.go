package httpapi

import (
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Listener returns what the http.Server is to listen to in place of l, which is closed with it. It opens WebSockets by itself, in the
// rounds in which the poller tells of the requests for them: what net/http has for a connection (a goroutine, buffers, a request with its
// headers) is two fifths of the memory that a join takes, and a seventh of its time. It knows that one kind of request, and only if it has come
// in one piece: all other connections go to the http.Server with what was read of them. So do those of TLS, and all if there is no
// poller, or in development mode, which looks at every request.
func (s *Server) Listener(l net.Listener) net.Listener {
	if s.o.Poller == nil || s.o.Dev {
		return l
	}
	front := &listener{Listener: l, s: s, upgrades: newUpgrades(s.node.ID()), waiting: map[*arrival]struct{}{}, ended: make(chan struct{})}
	front.changed.L = &front.mu
	front.alarms.init(&front.wg)
	go front.run() // ends with Close, which waits for it
	return front
}

// listener is what Listener returns.
type listener struct {
	net.Listener

	s        *Server
	upgrades *upgrades
	alarms   alarms // of those of whom nothing has come yet
	wg       sync.WaitGroup
	ended    chan struct{} // closed when nothing more is accepted

	mu      sync.Mutex
	changed sync.Cond             // signaled when there is something for Accept
	passed  []net.Conn            // on their way to the HTTP server; no more than the system lets be open
	failed  error                 // of accepting; nothing more is accepted before the HTTP server has been told
	waiting map[*arrival]struct{} // of whom nothing has come yet
	closed  bool
}

// Accept implements net.Listener, for the HTTP server.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, net.ErrClosed
		case len(l.passed) > 0:
			nc := l.passed[0]
			l.passed[0], l.passed = nil, l.passed[1:]
			return nc, nil
		case l.failed != nil:
			err := l.failed
			l.failed = nil
			l.changed.Broadcast()
			return nil, err
		}
		l.changed.Wait()
	}
}

// Close implements net.Listener. Who has connected and said nothing is closed, too.
func (l *listener) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.changed.Broadcast()
	l.mu.Unlock()
	err := l.Listener.Close()
	<-l.ended
	if !first {
		return err
	}
	l.mu.Lock()
	passed := l.passed
	l.passed = nil
	waiting := slices.Collect(maps.Keys(l.waiting))
	l.mu.Unlock()
	for _, nc := range passed {
		_ = nc.Close()
	}
	for _, a := range waiting {
		a.ring(time.Now())
	}
	l.wg.Wait()
	return err
}

// run accepts connections until Close.
func (l *listener) run() {
	defer close(l.ended)
	for {
		nc, err := l.Listener.Accept()
		if err == nil {
			l.receive(nc)
			continue
		}
		l.mu.Lock()
		l.failed = err
		l.changed.Broadcast()
		for l.failed != nil && !l.closed { // the HTTP server waits before it accepts again, if it does
			l.changed.Wait()
		}
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return
		}
	}
}

// receive has the first request of a connection waited for.
func (l *listener) receive(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		l.pass(nc)
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		l.pass(nc)
		return
	}
	a := &arrival{l: l, nc: tcp}
	l.mu.Lock()
	l.waiting[a] = struct{}{}
	l.mu.Unlock()
	l.alarms.set(&a.alarm, a, time.Now().Add(l.s.o.headTimeout))
	if !a.watch(raw) && a.take() {
		l.pass(nc)
	}
}

// enter refuses who the turnstile doesn't let in at once: the HTTP server asks again, and tells the client when to come back.
func (l *listener) enter() error {
	if l.s.entry.admits() {
		return nil
	}
	return errOther
}

// pass gives a connection to the HTTP server.
func (l *listener) pass(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = nc.Close()
		return
	}
	l.passed = append(l.passed, nc)
	l.changed.Broadcast()
}
