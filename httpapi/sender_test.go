//go:build unix

package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth/internal/netsend"
	"github.com/hearthstore/hearth/internal/rawio"
	"github.com/hearthstore/hearth/internal/tcptest"
	"github.com/hearthstore/hearth/node"
)

// senders runs a test with one that sends together, where the system lets it, and with one that doesn't.
func senders(t *testing.T, test func(t *testing.T, s *Sender)) {
	for _, ring := range []bool{true, false} {
		t.Run(fmt.Sprintf("ring=%t", ring), func(t *testing.T) {
			s := NewSender(ring)
			defer s.Close()
			if ring {
				tcptest.NeedRing(t, s.Ring())
			}
			test(t, s)
		})
	}
}

func (s *Sender) outbox(t *testing.T) (*outbox, *net.TCPConn) {
	t.Helper()
	ours, theirs := tcptest.Pair(t)
	o := &outbox{}
	o.init(bare{ours}, s, new(atomic.Int64))
	return o, theirs
}

// nothing fails if something has come.
func nothing(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if n, err := rawio.Read(fd, make([]byte, 1)); !errors.Is(err, syscall.EAGAIN) {
			t.Fatalf("%d bytes have come before the end of the burst, %v", n, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func arrives(t *testing.T, c *net.TCPConn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("%q arrives, not %q: %v", got, want, err)
	}
}

// What is queued during a burst, by whomever, is sent at the end of one, also if another goes on, or when there is something for as
// many as go together; without one it is sent at once.
func TestBurst(t *testing.T) {
	senders(t, func(t *testing.T, s *Sender) {
		const n = netsend.Most - 1
		var boxes [n]*outbox
		var ends [n]*net.TCPConn
		for i := range boxes {
			boxes[i], ends[i] = s.outbox(t)
		}
		boxes[0].Send([]byte("at once;"))
		arrives(t, ends[0], "at once;")
		s.Begin()
		s.Begin()
		for round := range 3 {
			for i, o := range boxes {
				o.Send([]byte(strconv.Itoa(i*10+round) + ";"))
			}
		}
		nothing(t, ends[0])
		s.End()
		for i, c := range ends {
			arrives(t, c, fmt.Sprintf("%d;%d;%d;", i*10, i*10+1, i*10+2))
		}
		o, c := s.outbox(t)
		for i, o := range append(boxes[:], o) {
			nothing(t, ends[0])
			o.Send([]byte(strconv.Itoa(i) + ";"))
		}
		for i, c := range append(ends[:], c) {
			arrives(t, c, strconv.Itoa(i)+";")
		}
		boxes[1].Snapshot([]byte("of the other"))
		s.End()
		arrives(t, ends[1], "of the other")
		boxes[2].Snapshot([]byte("at once"))
		arrives(t, ends[2], "at once")
		for i, o := range boxes {
			if o.state != resting || o.queued != 0 || o.answers != 0 || len(o.frames) > 0 {
				t.Errorf("outbox %d: state %d, %d and %d bytes", i, o.state, o.queued, o.answers)
			}
		}
	})
}

// A burst that is long makes nobody too slow who reads.
func TestBurstOfMuch(t *testing.T) {
	senders(t, func(t *testing.T, s *Sender) {
		o, c := s.outbox(t)
		frame := bytes.Repeat([]byte("x"), 10<<10)
		const n = 3 * maxQueued / (10 << 10)
		read := make(chan int64)
		go func() {
			got, _ := io.Copy(io.Discard, c)
			read <- got
		}()
		s.Begin()
		for range n {
			o.Send(frame)
			o.mu.Lock()
			if o.queued > maxQueued {
				t.Fatalf("%d bytes wait", o.queued)
			}
			for o.state == writing { // the kernel's buffer is full
				o.drained.Wait()
			}
			o.mu.Unlock()
		}
		s.End()
		o.Close(node.CloseNormal, "left")
		if got := <-read; got < n*int64(len(frame)) || o.slow.Load() > 0 {
			t.Errorf("%d bytes of %d arrive; too slow: %d", got, n*len(frame), o.slow.Load())
		}
	})
}

// With many who queue at the same time, in bursts and outside of them, each socket gets all of its frames, in order.
func TestManyWhoQueue(t *testing.T) {
	senders(t, func(t *testing.T, s *Sender) {
		const boxes, writers, rounds = 40, 4, 200
		var outs [boxes]*outbox
		var readers sync.WaitGroup
		for i := range outs {
			o, c := s.outbox(t)
			outs[i] = o
			readers.Go(func() {
				text, err := io.ReadAll(c)
				if err != nil {
					t.Error(err)
				}
				next := [writers]int{}
				frames := strings.Split(string(text), ";")
				for _, f := range frames[:len(frames)-1] { // what follows the last is the close frame
					var w, n int
					if _, err := fmt.Sscanf(f, "%d/%d", &w, &n); err != nil || n != next[w] {
						t.Errorf("socket %d got %q, not frame %d of %d: %v", i, f, next[w], w, err)
						return
					}
					next[w]++
				}
				if next != [writers]int{rounds, rounds, rounds, rounds} {
					t.Errorf("socket %d got %v frames", i, next)
				}
			})
		}
		var queuing sync.WaitGroup
		for w := range writers {
			queuing.Go(func() {
				for n := range rounds {
					if n%3 > 0 {
						s.Begin()
					}
					for _, o := range outs {
						switch frame := fmt.Appendf(nil, "%d/%d;", w, n); (n + w) % 3 {
						case 0:
							o.Send(frame)
						case 1:
							o.Snapshot(frame)
						default:
							o.prompt(frame)
						}
					}
					if n%3 > 0 {
						s.End()
					}
				}
			})
		}
		queuing.Wait()
		for _, o := range outs {
			o.Close(node.CloseNormal, "left")
		}
		readers.Wait()
	})
}

// What is only partly taken goes on where it was left, before what has come since; what is counted is what waits.
func TestPartlyTaken(t *testing.T) {
	for taken, want := range map[int]string{
		0: "first|second|third|", 1: "irst|second|third|", 6: "second|third|", 8: "cond|third|", 13: "third|",
	} {
		k := newSink()
		o := &outbox{}
		o.init(k, testSender, new(atomic.Int64))
		o.state = posted // as if it could be sent by number
		o.Send([]byte("first|"))
		o.Snapshot([]byte("second|"))
		var space []byte
		if text := string(o.load(&space)); text != "first|second|" {
			t.Fatalf("%q is sent", text)
		}
		o.Send([]byte("third|"))
		if o.queued != 12 || o.answers != 7 {
			t.Errorf("%d and %d bytes wait", o.queued, o.answers)
		}
		o.sent(taken, nil)
		if got := strings.Join(k.finished(t, o), ""); got != want || o.queued != 0 || o.answers != 0 {
			t.Errorf("after %d bytes %q is written, and %d and %d bytes are counted", taken, got, o.queued, o.answers)
		}
	}
}

// Who has one frame in somebody's hands, and reads, is not too slow, however much comes meanwhile.
func TestNotTooSlowMeanwhile(t *testing.T) {
	senders(t, func(t *testing.T, s *Sender) {
		o, c := s.outbox(t)
		read := make(chan int64)
		go func() {
			got, _ := io.Copy(io.Discard, c)
			read <- got
		}()
		s.Begin()
		o.Send([]byte("x"))
		var space []byte
		s.last.Store(nil) // somebody has taken it
		o.load(&space)
		frame := bytes.Repeat([]byte("x"), joinSize)
		const n = 3 * maxQueued / joinSize
		send := func() {
			o.Send(frame)
			for o.mu.Lock(); o.state == writing; { // the kernel's buffer is full
				o.drained.Wait()
			}
			o.mu.Unlock()
		}
		const before = maxQueued/2/joinSize - 1
		for range before {
			send()
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for range n - before {
				send()
			}
		}()
		for range 1000 {
			runtime.Gosched()
			select {
			case <-sent:
				t.Fatal("more is queued than may be")
			default:
			}
			if o.slow.Load() > 0 {
				t.Fatal("it is too slow for what it has not been offered")
			}
		}
		o.sent(1, nil)
		<-sent
		s.End()
		o.Close(node.CloseNormal, "left")
		if got := <-read; got < n*joinSize || o.slow.Load() > 0 {
			t.Errorf("%d bytes of %d arrive; too slow: %d", got, n*joinSize, o.slow.Load())
		}
	})
}

// What others send while something is being sent doesn't wait until the reader has handled its message.
func TestSentMeanwhile(t *testing.T) {
	k := newSink()
	o := &outbox{}
	o.init(k, testSender, new(atomic.Int64))
	o.state = posted // as if it could be sent by number
	o.Send([]byte("first|"))
	var space []byte
	o.load(&space)
	o.cork()
	o.Send([]byte("second|"))
	o.sent(6, nil)
	if got := k.finished(t, o); strings.Join(got, "") != "second|" {
		t.Errorf("%q is written", got)
	}
}

// What waits for the end of a burst is sent before the socket is closed: the other side may have ended its half, and read on.
func TestShutSendsWhatIsPosted(t *testing.T) {
	senders(t, func(t *testing.T, s *Sender) {
		o, c := s.outbox(t)
		s.Begin()
		defer s.End()
		o.Send([]byte("the last;"))
		nothing(t, c)
		o.shut()
		arrives(t, c, "the last;")
	})
}

// shutInFlight returns an outbox of k that the sender is sending a byte of, and what is closed when shut, which waits, has returned.
func shutInFlight(k *sink) (o *outbox, shut chan struct{}) {
	o, shut = &outbox{}, make(chan struct{})
	o.init(k, testSender, new(atomic.Int64))
	o.state = posted
	o.Send([]byte("x"))
	var space []byte
	o.load(&space)
	go func() {
		o.shut()
		close(shut)
	}()
	synctest.Wait()
	return o, shut
}

// A socket can be closed once nobody writes to it by its number.
func TestShutWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, shut := shutInFlight(newSink())
		select {
		case <-shut:
			t.Error("it may be closed while it is being sent to")
		default:
		}
		o.sent(1, nil)
		<-shut
		o.Send([]byte("too late"))
		var space []byte
		if o.state = posted; o.load(&space) != nil || o.state != resting {
			t.Error("it is sent to when it is shut")
		}
	})
}

// It waits for no goroutine that writes what the kernel has not taken: closing the socket makes an end of that.
func TestShutDoesNotWaitForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newSink()
		o, shut := shutInFlight(k)
		o.sent(0, nil)
		synctest.Wait() // it is being written, and nobody takes it
		select {
		case <-shut:
		default:
			t.Error("it waits")
		}
		close(k.gate)
	})
}
