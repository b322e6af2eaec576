package redispipe

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/tcptest"
)

// book notes what it reads, and the end.
type book struct {
	read   chan string
	broken chan struct{}
}

func (b *book) Read(_ *fiber.Round, text []byte) (int, error) {
	b.read <- string(text)
	return len(text), nil
}

func (b *book) Broken(*fiber.Round, error) { b.broken <- struct{}{} }

// holdUp is a waiter that holds its poller up.
type holdUp struct{ told, release chan struct{} }

func (h holdUp) Ready(*fiber.Round) {
	h.told <- struct{}{}
	<-h.release
}

// The last words of a server and its end may come together, of which a poller tells once.
func TestLastWords(t *testing.T) {
	t.Parallel()
	poller, err := netpoll.New(1)
	if errors.Is(err, netpoll.ErrUnsupported) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = poller.Close() }()
	ours, theirs := tcptest.Pair(t)
	b := &book{read: make(chan string, 10), broken: make(chan struct{}, 10)}
	c := &Conn{nc: ours}
	defer c.Wait()
	c.Start(poller, b)
	other, speaks := tcptest.Pair(t)
	raw, err := other.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	w := holdUp{make(chan struct{}), make(chan struct{})}
	h, err := poller.Add(raw, w)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Remove()
	if _, err := speaks.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-w.told
	if _, err := theirs.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	tcptest.Ended(t, ours)
	close(w.release)
	select {
	case <-b.broken:
	case <-time.After(10 * time.Second):
		t.Fatal("its end is not noticed")
	}
	if got := <-b.read; got != "last words" {
		t.Errorf("it was %q", got)
	}
}

// deadlines notes the deadline of writes.
type deadlines struct {
	net.Conn
	write time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.write = at
	return d.Conn.SetWriteDeadline(at)
}

// The time that a write has is no other one's.
func TestADeadlineIsOfOneWrite(t *testing.T) {
	t.Parallel()
	ours, _ := tcptest.Pair(t)
	d := &deadlines{Conn: ours}
	c := &Conn{nc: d}
	if err := c.Write([]byte("x"), time.Hour); err != nil || !d.write.IsZero() {
		t.Errorf("left is %v: %v", d.write, err)
	}
}

// What the kernel doesn't take at once is written when it does, and then the next calls go out at once again.
func TestPartlyTaken(t *testing.T) {
	t.Parallel()
	poller := redistest.Poller(t)
	if poller == nil {
		return
	}
	ours, theirs := tcptest.Pair(t)
	p := newPipe(nil, poller, func(context.Context) (*Conn, error) { return &Conn{nc: ours}, nil })
	defer p.Close()
	values := []string{"a", string(make([]byte, 8<<20)), "b", string(make([]byte, 8<<20)), "c"}
	var callers sync.WaitGroup
	call := func(value string) {
		if err := p.send(t.Context(), newCall(t.Context(), p, []any{"x", value})); err != nil {
			t.Error(err)
		}
	}
	size := 0
	for _, value := range values {
		text, err := AppendCommand(nil, "x", value)
		if err != nil {
			t.Fatal(err)
		}
		size += len(text)
		callers.Go(func() { call(value) })
	}
	if _, err := io.CopyN(io.Discard, theirs, int64(size)); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte(strings.Repeat("+OK\r\n", len(values)))); err != nil {
		t.Fatal(err)
	}
	callers.Wait()
	p.mu.Lock()
	w := p.wire
	p.mu.Unlock()
	p.Close() // which waits for who has written
	if w == nil || w.written != uint64(size) || w.encoded != w.written || w.writing || w.out != nil {
		t.Errorf("at rest it is %+v", w)
	}
}

// A reader takes whole pieces, however long they are, and no more memory is kept for that than for short ones.
func TestWhatIsNotTakenIsKept(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		ours, theirs := tcptest.Pair(t)
		r := &hoarder{size: 4 << 20, done: make(chan int, 10)}
		c := &Conn{nc: ours}
		c.Start(poller, r)
		defer c.Wait()
		for range 2 {
			if _, err := theirs.Write(make([]byte, r.size)); err != nil {
				t.Fatal(err)
			}
			select {
			case n := <-r.done:
				if n != r.size {
					t.Errorf("%d bytes of %d", n, r.size)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("it is not all there")
			}
			c.mu.Lock()
			kept := len(c.buf)
			c.mu.Unlock()
			if kept > keepBuffer {
				t.Errorf("%d bytes are kept", kept)
			}
		}
	})
}

// hoarder takes nothing before it is all there.
type hoarder struct {
	size int
	done chan int
}

func (h *hoarder) Read(_ *fiber.Round, text []byte) (int, error) {
	if len(text) < h.size {
		return 0, nil
	}
	h.done <- len(text)
	return len(text), nil
}

func (h *hoarder) Broken(*fiber.Round, error) {}
