package httpapi

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/node"
)

// testSender is of all tests that need nothing of their own.
var testSender = NewSender(true)

// sink is a socket that counts writes, and lets one through whenever gate is given something.
type sink struct {
	net.Conn // nil: nothing else may be called

	gate chan struct{}
	fail error

	mu       sync.Mutex
	deadline time.Time // of writes
	writes   [][]byte
	began    chan struct{} // is given something when a write begins
	closed   bool
}

// bare is a socket that is an outbox's alone.
type bare struct{ *net.TCPConn }

func (bare) closing() {}

func newSink() *sink {
	return &sink{gate: make(chan struct{}), began: make(chan struct{}, 1000)}
}

func (s *sink) Write(p []byte) (int, error) {
	s.began <- struct{}{}
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, bytes.Clone(p))
	return len(p), s.fail
}

func (s *sink) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	return nil
}

func (s *sink) closing() {}
func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// newOutbox returns an outbox whose first frame is being written, and so holds up what follows.
func newOutbox(t *testing.T) (*outbox, *sink) {
	t.Helper()
	s := newSink()
	o := &outbox{}
	o.init(s, testSender, new(atomic.Int64))
	o.Send([]byte("first|"))
	<-s.began
	return o, s
}

// finished lets all writes through and waits for their end.
func (s *sink) finished(t *testing.T, o *outbox) []string {
	t.Helper()
	close(s.gate)
	eventually(t, "the outbox is empty", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.state == resting
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, len(s.writes))
	for i, w := range s.writes {
		out[i] = string(w)
	}
	return out
}

func TestWaitingFramesLeaveInOneWrite(t *testing.T) {
	o, s := newOutbox(t)
	for i := range 50 {
		if i%2 == 0 {
			o.Send([]byte(strconv.Itoa(i) + "|"))
		} else {
			o.Snapshot([]byte(strconv.Itoa(i) + "|"))
		}
	}
	got := s.finished(t, o)
	if len(got) != 2 || got[0] != "first|" || !strings.HasPrefix(got[1], "0|1|2|") || !strings.HasSuffix(got[1], "|48|49|") {
		t.Errorf("%d writes: %q", len(got), got)
	}
	if o.queued != 0 || o.answers != 0 {
		t.Errorf("%d and %d bytes are still counted", o.queued, o.answers)
	}
}

// A deadline of what is written is none of what others write to the same connection later, as TLS does when it reads.
func TestNoDeadlineIsLeft(t *testing.T) {
	o, s := newOutbox(t)
	s.mu.Lock()
	if s.deadline.IsZero() {
		t.Error("a write has no deadline")
	}
	s.mu.Unlock()
	s.finished(t, o)
	if !s.deadline.IsZero() {
		t.Errorf("%s is left", s.deadline)
	}
}

func TestWritesAreBounded(t *testing.T) {
	o, s := newOutbox(t)
	big := strings.Repeat("b", joinSize+1)
	half := strings.Repeat("h", joinSize/2)
	for _, f := range []string{"a", big, "c", half, half, "d"} {
		o.Snapshot([]byte(f))
	}
	got := s.finished(t, o)
	want := []string{"first|", "a", big, "c" + half, half + "d"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d writes of %v", len(got), lengths(got))
	}
}

func lengths(texts []string) (n []int) {
	for _, s := range texts {
		n = append(n, len(s))
	}
	return n
}

// What a message's handling makes leaves in one write: with the reply, with what comes first of others, or with the close frame.
func TestCorked(t *testing.T) {
	big := strings.Repeat("b", maxCorked-2)
	for name, c := range map[string]struct {
		do   func(o *outbox)
		want []string
	}{
		"a reply and what follows it": {func(o *outbox) {
			o.Echo([]byte("own|"))
			o.Snapshot([]byte("reply|"))
			o.Snapshot([]byte("snapshot|"))
			o.uncork()
		}, []string{"own|reply|snapshot|"}},
		"somebody else's": {func(o *outbox) {
			o.Echo([]byte("own|"))
			o.Send([]byte("other's|"))
		}, []string{"own|other's|"}},
		"of its own time": {func(o *outbox) {
			o.Echo([]byte("own|"))
			o.prompt([]byte("ping|"))
		}, []string{"own|ping|"}},
		"a close": {func(o *outbox) {
			o.Snapshot([]byte("reply|"))
			o.Close(node.CloseNormal, "left")
			o.Snapshot([]byte("too late"))
			o.uncork()
		}, []string{"reply|" + string(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "left"))))}},
		"too much": {func(o *outbox) {
			o.Snapshot([]byte(big))
			o.Snapshot([]byte("more|"))
		}, []string{big + "more|"}},
		"much at once": {func(o *outbox) { o.Echo([]byte(big + "more|")) }, []string{big + "more|"}},
		"after it": {func(o *outbox) {
			o.uncork()
			o.Echo([]byte("own|"))
		}, []string{"own|"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink()
			o := &outbox{}
			o.init(s, testSender, new(atomic.Int64))
			o.cork()
			c.do(o)
			if got := s.finished(t, o); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%d writes: %.60q, not %.60q", len(got), got, c.want)
			}
			if o.queued != 0 || o.answers != 0 {
				t.Errorf("%d and %d bytes are still counted", o.queued, o.answers)
			}
		})
	}
}

func TestTooSlow(t *testing.T) {
	o, s := newOutbox(t)
	frame := bytes.Repeat([]byte("x"), 64<<10)
	for range 17 {
		o.Send(frame)
	}
	o.Send([]byte("after"))
	o.Close(node.CloseNormal, "too late")
	got := s.finished(t, o)
	want := ws.MustCompileFrame(closeFrame(int(node.CloseTooSlow)))
	if len(got) != 2 || len(got[1]) < 4 || got[1][0] != want[0] || got[1][2:4] != string(want[2:4]) {
		t.Errorf("what waited is not dropped for a close 4429: %v %q", lengths(got), got[len(got)-1])
	}
}

// Snapshots answer requests, so the reader waits for them; they don't make a socket slow.
func TestAnswersWait(t *testing.T) {
	o, s := newOutbox(t)
	for range 20 {
		o.Snapshot(bytes.Repeat([]byte("x"), 64<<10))
	}
	o.Send([]byte("note"))
	waited := make(chan bool)
	go func() { waited <- o.wait(nil) }()
	select {
	case <-waited:
		t.Error("a request is read while more than 1 MiB of answers wait")
	default:
	}
	s.gate <- struct{}{}
	got := s.finished(t, o)
	if !<-waited {
		t.Error("the socket is gone")
	}
	if last := got[len(got)-1]; !strings.HasSuffix(last, "note") {
		t.Errorf("ends with %q", last[max(0, len(last)-10):])
	}
}

func TestBrokenSocket(t *testing.T) {
	o, s := newOutbox(t)
	s.fail = os.ErrDeadlineExceeded
	o.Send([]byte("more"))
	got := s.finished(t, o)
	o.Send([]byte("after"))
	if len(got) != 1 || !s.closed || o.open() || o.wait(nil) || len(o.frames) > 1 {
		t.Errorf("after an error: %q, closed %v, open %v, waiting %d", got, s.closed, o.open(), len(o.frames))
	}
}
