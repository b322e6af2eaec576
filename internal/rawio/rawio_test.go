//go:build unix

package rawio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/tcptest"
)

// pair returns the ends of a connection, one of which is wrapped.
func pair(t *testing.T) (wrapped *conn, other *net.TCPConn) {
	t.Helper()
	ours, other := tcptest.Pair(t)
	c := Wrap(ours)
	wrapped, ok := c.(*conn)
	if !ok {
		t.Fatalf("it is a %T", c)
	}
	return wrapped, other
}

// What is written arrives, also what is more than the kernel takes at once; a read waits for what comes, and for the end.
func TestAllArrives(t *testing.T) {
	c, other := pair(t)
	sent := bytes.Repeat([]byte("0123456789"), 1<<20)
	go func() { // ends with the write, which the reading below lets end
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	if got, err := io.ReadAll(other); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d arrived: %v", len(got), len(sent), err)
	}
	go func() {
		_, _ = other.Write(sent)
		_ = other.Close()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d were read: %v", len(got), len(sent), err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("a read of nothing: %d, %v", n, err)
	}
}

// Deadlines and Close end what waits, with the errors that callers look for.
func TestWhatWaitsEnds(t *testing.T) {
	c, other := pair(t)
	fill := func() error {
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	}
	buf := make([]byte, 1)
	if err := c.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read after its deadline: %v", err)
	}
	if err := fill(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write after its deadline: %v", err)
	}
	for name, wait := range map[string]func() error{
		"a read":  func() error { _, err := c.Read(buf); return err },
		"a write": fill,
	} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if err := wait(); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s ends with %v at its deadline", name, err)
		}
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	_ = other.SetLinger(0)
	_ = other.Close() // resets it
	if _, err := c.Read(buf); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a read after a reset: %v", err)
	}
	if err := fill(); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a write after a reset: %v", err)
	}
	ended := make(chan error)
	c, _ = pair(t)
	go func() {
		_, err := c.Read(buf)
		ended <- err
	}()
	_ = c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of what is closed: %v", err)
	}
}

// A socket is not waited for.
func TestNothingThere(t *testing.T) {
	c, _ := pair(t)
	raw := c.raw
	full := make([]byte, 1<<20)
	if err := raw.Control(func(fd uintptr) {
		if n, err := Read(fd, full); n != 0 || !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("read %d, %v", n, err)
		}
		for range 1000 {
			n, err := Write(fd, full)
			if errors.Is(err, syscall.EAGAIN) {
				return
			}
			if n == 0 || err != nil {
				t.Errorf("wrote %d, %v", n, err)
				return
			}
		}
		t.Error("the kernel takes all")
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWrapOther(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if Wrap(a) != a {
		t.Error("what is not TCP is wrapped")
	}
}
