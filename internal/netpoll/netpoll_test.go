//go:build linux

package netpoll

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/tcptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type waiter chan struct{}

func (w waiter) Ready(*fiber.Round) { w <- struct{}{} }

func start(t *testing.T) *Poller {
	t.Helper()
	p, err := New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
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

// none fails if the waiter is told of something that has not come. What comes to another afterwards is told of after it.
func none(t *testing.T, p *Poller, w waiter) {
	t.Helper()
	ours, theirs := tcptest.Pair(t)
	marker := make(waiter, 10)
	h, err := p.Add(rawOf(t, ours), marker)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Remove()
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-marker
	if len(w) != 0 {
		t.Errorf("told %d times of nothing", len(w))
	}
}

func TestReady(t *testing.T) {
	p := start(t)
	ours, theirs := tcptest.Pair(t)
	w := make(waiter, 10)
	write := func() {
		t.Helper()
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	read := func(n int) {
		t.Helper()
		if _, err := io.ReadFull(ours, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	write() // what came before is not lost
	h, err := p.Add(rawOf(t, ours), w)
	if err != nil {
		t.Fatal(err)
	}
	<-w
	none(t, p, w) // of what is still there nothing is told
	if !h.Pending() {
		t.Error("a byte is not pending")
	}
	write() // but of more that comes
	<-w
	read(2)
	none(t, p, w)
	if h.Pending() {
		t.Error("what was read is pending")
	}
	if err := theirs.CloseWrite(); err != nil { // a half-closed one is readable
		t.Fatal(err)
	}
	<-w
	if !h.Pending() {
		t.Error("the end is not pending")
	}
	h.Remove()
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if !h.Pending() {
		t.Error("nothing is pending in a closed one, whose reads end")
	}
	if len(p.loops[0].byID) != 0 {
		t.Errorf("%d are kept", len(p.loops[0].byID))
	}
}

// The end may be told of together with what comes before it, once: whoever reads is told apart that it is one.
func TestEnded(t *testing.T) {
	p := start(t)
	ours, theirs := tcptest.Pair(t)
	w := make(waiter, 10)
	if _, err := theirs.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := theirs.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	tcptest.Ended(t, ours)
	h, err := p.Add(rawOf(t, ours), w)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Remove()
	<-w
	if !h.Ended() {
		t.Error("the end is not told of")
	}
	none(t, p, w) // of what is still there nothing is told
	var r Reader
	buf := make([]byte, 20)
	if n, err := r.Read(h, buf); string(buf[:n]) != "last words" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := r.Read(h, buf); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// What the kernel takes at once is written, and nothing is waited for.
func TestWriter(t *testing.T) {
	p := start(t)
	ours, theirs := tcptest.Pair(t)
	h, err := p.Add(rawOf(t, ours), make(waiter, 10))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Remove()
	var w Writer
	text := bytes.Repeat([]byte("0123456789"), 1<<20)
	n, err := w.Write(h, text)
	if err != nil || n == 0 || n == len(text) {
		t.Fatalf("%d of %d: %v", n, len(text), err)
	}
	for more := n; more > 0; n += more {
		if more, err = w.Write(h, text[n:]); err != nil {
			t.Fatal(err)
		}
	}
	_ = ours.CloseWrite()
	if got, err := io.ReadAll(theirs); err != nil || !bytes.Equal(got, text[:n]) {
		t.Errorf("%d of %d arrived: %v", len(got), n, err)
	}
	_ = ours.Close()
	if _, err := w.Write(h, text); err == nil {
		t.Error("a write to a closed socket")
	}
}

// held is a waiter that holds its goroutine up.
type held struct{ told, release chan struct{} }

func (h held) Ready(*fiber.Round) {
	h.told <- struct{}{}
	<-h.release
}

// Each goroutine of a poller has its part of the sockets, and holds up no other's.
func TestSeveralGoroutines(t *testing.T) {
	const n = 3
	p, err := New(n)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	w := held{make(chan struct{}), make(chan struct{})}
	for range n {
		ours, theirs := tcptest.Pair(t)
		h, err := p.Add(rawOf(t, ours), w)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Remove()
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		<-w.told
	}
	close(w.release)
}

// A poller has a goroutine at least, however few processors there are.
func TestGoroutinesByItself(t *testing.T) {
	p, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if n := len(p.loops); n < 1 || n > mostLoops {
		t.Errorf("%d goroutines", n)
	}
}

// A batch of events is told of whole, however many there are.
func TestManyAtOnce(t *testing.T) {
	p := start(t)
	w := make(waiter, 3*batch)
	var ends []*net.TCPConn
	for range 2*batch + 5 {
		ours, theirs := tcptest.Pair(t)
		h, err := p.Add(rawOf(t, ours), w)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Remove()
		ends = append(ends, theirs)
	}
	p.loops[0].mu.Lock() // holds the poller up, while they come
	for _, c := range ends {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	p.loops[0].mu.Unlock()
	for range ends {
		<-w
	}
	none(t, p, w)
}

// A handle of a closed socket has no power over the next one that has its number.
func TestNumberUsedAgain(t *testing.T) {
	p := start(t)
	w := make(waiter, 1000)
	for range 100 {
		ours, theirs := tcptest.Pair(t)
		h, err := p.Add(rawOf(t, ours), w)
		if err != nil {
			t.Fatal(err)
		}
		h.Remove()
		_ = ours.Close()
		next, peer := tcptest.Pair(t)
		w2 := make(waiter, 10)
		h2, err := p.Add(rawOf(t, next), w2)
		if err != nil {
			t.Fatal(err)
		}
		h.Remove() // again
		_, _ = peer.Write([]byte("x"))
		<-w2
		h2.Remove()
		_, _ = next.Close(), theirs.Close()
	}
	if len(w) != 0 {
		t.Errorf("%d events of sockets that were removed", len(w))
	}
}

// A socket is watched by who has the fewest.
func TestFewest(t *testing.T) {
	p, err := New(2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	add := func() *Handle {
		ours, _ := tcptest.Pair(t)
		h, err := p.Add(rawOf(t, ours), make(waiter, 10))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	var all []*Handle
	for range 6 {
		all = append(all, add())
	}
	l := all[0].l
	gone := 0
	for i, h := range all {
		if h.l != l {
			continue
		}
		if gone++; i%2 == 0 {
			h.Remove()
		} else {
			h.Forget()
		}
	}
	for i := range gone {
		if h := add(); h.l != l {
			t.Errorf("the %dth of those that come instead of %d is another's", i+1, gone)
		}
	}
	if gone != 3 {
		t.Errorf("one had %d of 6", gone)
	}
}

// Who a socket was passed to is told of what comes next.
func TestPass(t *testing.T) {
	p := start(t)
	ours, theirs := tcptest.Pair(t)
	first, second := make(waiter, 10), make(waiter, 10)
	h, err := p.Add(rawOf(t, ours), first)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Remove()
	for _, w := range []waiter{first, second} {
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-w
		h.Pass(second)
	}
	none(t, p, first)
}
