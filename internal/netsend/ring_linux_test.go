//go:build amd64 || arm64

package netsend

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/hearthstore/hearth/internal/tcptest"
)

// A ring that fails is given up, and its writes are made one by one: each once.
func TestRingFails(t *testing.T) {
	b := New(true)
	defer b.Close()
	tcptest.NeedRing(t, b.Together())
	var readers []*net.TCPConn
	var fds []int
	for range 5 {
		ours, theirs := tcptest.Pair(t)
		fds, readers = append(fds, number(t, ours)), append(readers, theirs)
		defer func() { _ = ours.Close() }()
	}
	send := func(text string) {
		t.Helper()
		for _, fd := range fds {
			b.Add(fd, []byte(text))
		}
		b.Do()
		for i := range fds {
			if n, err := b.Result(i); n != len(text) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
		b.Reset()
		for _, r := range readers {
			got := make([]byte, len(text))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
				t.Fatalf("%q arrives, %v", got, err)
			}
		}
	}
	send("together")
	wrong, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Dup3(wrong, b.ring.fd, syscall.O_CLOEXEC); err != nil { // it is no ring any more
		t.Fatal(err)
	}
	_ = syscall.Close(wrong)
	send("one by one")
	if b.Together() {
		t.Error("the ring is still used")
	}
	send("and so on")
}
