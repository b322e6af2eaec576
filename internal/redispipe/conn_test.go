package redispipe

import (
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/tcptest"
)

// book notes what it reads, and the end.
type book struct {
	read   chan string
	broken chan error
}

func (b *book) Read(_ *fiber.Round, text []byte) (int, error) {
	b.read <- string(text)
	return len(text), nil
}

func (b *book) Broken(_ *fiber.Round, err error) { b.broken <- err }

// The last words of a server and its end may come together, of which a poller tells once.
func TestLastWords(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		ours, theirs := tcptest.Pair(t)
		if _, err := theirs.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		_ = theirs.Close()
		tcptest.Ended(t, ours)
		b := &book{read: make(chan string, 10), broken: make(chan error, 10)}
		c := &Conn{nc: ours}
		defer c.Wait()
		c.Start(poller, b)
		select {
		case <-b.broken:
		case <-time.After(10 * time.Second):
			t.Fatal("its end is not noticed")
		}
		if got := <-b.read; got != "last words" {
			t.Errorf("it was %q", got)
		}
	})
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
