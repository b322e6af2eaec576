//go:build unix

package netsend

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/hearthstore/hearth/internal/tcptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// batches runs a test on a batch that makes its writes together, where there is one, and on one that makes them one by one.
func batches(t *testing.T, test func(t *testing.T, b *Batch)) {
	for _, together := range []bool{true, false} {
		t.Run(fmt.Sprintf("together=%t", together), func(t *testing.T) {
			b := New(together)
			defer b.Close()
			if together {
				tcptest.NeedRing(t, b.Together())
			}
			test(t, b)
		})
	}
}

func number(tb testing.TB, c *net.TCPConn) (fd int) {
	tb.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	if err := raw.Control(func(n uintptr) { fd = int(n) }); err != nil {
		tb.Fatal(err)
	}
	return fd
}

// Each socket gets its own texts, in the order of the batches.
func TestEachItsOwn(t *testing.T) {
	batches(t, func(t *testing.T, b *Batch) {
		var ours, theirs [Most]*net.TCPConn
		var want [Most]bytes.Buffer
		for i := range ours {
			ours[i], theirs[i] = tcptest.Pair(t)
		}
		for round := range 20 * Most { // the queues go round several times
			for i := range 1 + round%Most {
				i = (i*7 + round) % Most // in any order, none twice
				text := fmt.Appendf(nil, "%d of round %d;", i, round)
				want[i].Write(text)
				b.Add(number(t, ours[i]), text)
			}
			b.Do()
			if b.Len() != 1+round%Most {
				t.Fatalf("%d writes", b.Len())
			}
			for i := range b.Len() {
				if n, err := b.Result(i); n != len(b.texts[i]) || err != nil {
					t.Fatalf("round %d: write %d of %d bytes: %d, %v", round, i, len(b.texts[i]), n, err)
				}
			}
			b.Reset()
		}
		for i := range theirs {
			_ = ours[i].Close()
			if got, err := io.ReadAll(theirs[i]); err != nil || !bytes.Equal(got, want[i].Bytes()) {
				t.Errorf("socket %d got %d bytes of %d: %v", i, len(got), want[i].Len(), err)
			}
		}
	})
}

// A socket whose reader doesn't read, or is gone, is not waited for and holds nobody up; what is said of it is true.
func TestFullAndGone(t *testing.T) {
	batches(t, func(t *testing.T, b *Batch) {
		full, fullReader := tcptest.Pair(t)
		gone, goneReader := tcptest.Pair(t)
		open, openReader := tcptest.Pair(t)
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		taken := 0
		for rest := big; ; {
			b.Add(number(t, full), rest)
			b.Add(number(t, open), []byte("x"))
			b.Do()
			n, err := b.Result(0)
			if one, openErr := b.Result(1); err != nil || one != 1 || openErr != nil {
				t.Fatalf("%d, %v; of the other %d, %v", n, err, one, openErr)
			}
			b.Reset()
			if n == 0 {
				break
			}
			taken += n
			if rest = rest[n:]; len(rest) == 0 {
				rest = big
			}
		}
		_ = goneReader.SetLinger(0)
		_ = goneReader.Close() // resets it
		for gone := number(t, gone); ; {
			b.Add(gone, []byte("x"))
			b.Add(number(t, open), []byte("y"))
			b.Do()
			_, err := b.Result(0)
			if one, openErr := b.Result(1); one != 1 || openErr != nil {
				t.Fatalf("of the other %d, %v", one, openErr)
			}
			b.Reset()
			if err != nil {
				if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("a socket that is gone: %v", err)
				}
				break
			}
		}
		go func() { // ends with the reading below
			_ = full.CloseWrite()
			_ = open.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, fullReader); err != nil || n != int64(taken) {
			t.Errorf("%d bytes arrive of %d that were taken: %v", n, taken, err)
		}
		if text, err := io.ReadAll(openReader); err != nil || len(text) == 0 {
			t.Errorf("%d bytes arrive: %v", len(text), err)
		}
	})
}

// A batch allocates nothing.
func TestAllocates(t *testing.T) {
	batches(t, func(t *testing.T, b *Batch) {
		var fds [4]int
		var readers [4]*net.TCPConn
		for i := range fds {
			var ours *net.TCPConn
			ours, readers[i] = tcptest.Pair(t)
			fds[i] = number(t, ours)
		}
		text, got := []byte("something"), make([]byte, 9)
		if n := testing.AllocsPerRun(100, func() {
			for _, fd := range fds {
				b.Add(fd, text)
			}
			b.Do()
			b.Reset()
			for _, r := range readers {
				if _, err := io.ReadFull(r, got); err != nil {
					t.Fatal(err)
				}
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// BenchmarkWrites writes what a message to so many sockets is.
func BenchmarkWrites(b *testing.B) {
	text, got := make([]byte, 300), make([]byte, 300)
	for _, together := range []bool{true, false} {
		for _, sockets := range []int{1, 4, Most} {
			b.Run(fmt.Sprintf("together=%t/sockets=%d", together, sockets), func(b *testing.B) {
				batch := New(together)
				defer batch.Close()
				var fds []int
				var readers []*net.TCPConn
				for range sockets {
					ours, theirs := tcptest.Pair(b)
					fds, readers = append(fds, number(b, ours)), append(readers, theirs)
				}
				for b.Loop() {
					for _, fd := range fds {
						batch.Add(fd, text)
					}
					batch.Do()
					batch.Reset()
					b.StopTimer()
					for _, r := range readers {
						if _, err := io.ReadFull(r, got); err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sockets), "ns/write")
			})
		}
	}
}
