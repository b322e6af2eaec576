//go:build linux

package netpoll

import (
	"net"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type waiter chan struct{}

func (w waiter) Ready() { w <- struct{}{} }

// pair returns both ends of a connection.
func pair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	ours, _ = b.(*net.TCPConn)
	theirs, _ = a.(*net.TCPConn)
	return ours, theirs
}

func start(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // until the cleanup
		defer close(done)
		p.Run()
	}()
	t.Cleanup(func() {
		_ = p.Close()
		<-done
	})
	return p
}

func rawOf(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestReady(t *testing.T) {
	p := start(t)
	ours, theirs := pair(t)
	w := make(waiter, 10)
	h, err := p.Add(rawOf(t, ours), w)
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	arm := func() {
		if err := h.Arm(); err != nil {
			t.Fatal(err)
		}
	}
	write() // before it is armed
	arm()
	<-w
	write() // it isn't armed any more
	other, peer := pair(t)
	w2 := make(waiter, 10)
	h2, err := p.Add(rawOf(t, other), w2)
	if err != nil {
		t.Fatal(err)
	}
	if err := h2.Arm(); err != nil {
		t.Fatal(err)
	}
	if err := peer.CloseWrite(); err != nil { // a half-closed one is readable
		t.Fatal(err)
	}
	<-w2
	if len(w) != 0 {
		t.Error("told twice of what was armed once")
	}
	arm() // what came before is not lost
	<-w
	h.Remove()
	if h.Arm() == nil {
		t.Error("a removed one is armed")
	}
	h2.Remove()
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if h2.Arm() == nil {
		t.Error("a closed one is armed")
	}
	if len(p.byID) != 0 {
		t.Errorf("%d are kept", len(p.byID))
	}
}

// A handle of a closed socket has no power over the next one that has its number.
func TestNumberUsedAgain(t *testing.T) {
	p := start(t)
	w := make(waiter, 1000)
	for range 100 {
		ours, theirs := pair(t)
		h, err := p.Add(rawOf(t, ours), w)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Arm(); err != nil {
			t.Fatal(err)
		}
		h.Remove()
		_ = ours.Close()
		next, peer := pair(t)
		w2 := make(waiter, 1)
		h2, err := p.Add(rawOf(t, next), w2)
		if err != nil {
			t.Fatal(err)
		}
		if h.Arm() == nil {
			t.Fatal("the old handle can be armed")
		}
		if err := h2.Arm(); err != nil {
			t.Fatal(err)
		}
		_, _ = peer.Write([]byte("x"))
		<-w2
		h2.Remove()
		_, _ = next.Close(), theirs.Close()
	}
	if len(w) != 0 {
		t.Errorf("%d events of sockets that were removed", len(w))
	}
}
