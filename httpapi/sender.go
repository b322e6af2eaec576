package httpapi

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netsend"
)

// Sender sends what is queued for a node's WebSockets, for many of them in one system call. It has no goroutine of its own: who
// queues something has it sent at once, and who is about to queue for many, one after the other, makes a burst of that: what is
// queued during it, by whomever, is sent at its end, or when there is something for as many sockets as go together. Nothing in a burst
// may block.
type Sender struct {
	last   atomic.Pointer[outbox] // of those that are posted; linked by next
	posted atomic.Int32           // how many they are, about
	bursts atomic.Int32

	ring bool // writes go together
	most int  // convoys that are kept

	mu     sync.Mutex
	idle   []*convoy
	closed bool
}

// NewSender returns a sender, which makes use of io_uring if ring says so and the system lets it. Close has to be called for it; a
// Server does that for its own.
func NewSender(ring bool) *Sender {
	s := &Sender{ring: ring, most: 2 * runtime.GOMAXPROCS(0)} // as many as send at the same time, and some
	c := s.take()
	s.ring = c.writes.Together() // else not each is to find out
	s.give(c)
	return s
}

// Ring reports whether many sockets are sent to in one system call.
func (s *Sender) Ring() bool { return s.ring }

// Begin begins a burst. It implements pubsub.Burst.
func (s *Sender) Begin() { s.bursts.Add(1) }

// End ends it.
func (s *Sender) End() {
	s.bursts.Add(-1) // first: who queues from now on sees to it that it is sent
	s.send()
}

// EndRound implements fiber.Ender.
func (s *Sender) EndRound(*fiber.Round) { s.End() }

// gather makes the rest of a fiber's round a burst.
func (s *Sender) gather(f *fiber.Fiber) {
	if f.Inline() && f.Finally(s) {
		s.Begin()
	}
}

// post queues an outbox that is not in a queue. kick has to follow.
func (s *Sender) post(o *outbox) {
	s.posted.Add(1)
	for {
		o.next = s.last.Load()
		if s.last.CompareAndSwap(o.next, o) {
			return
		}
	}
}

// kick sends what waits, unless a burst goes on, which will.
func (s *Sender) kick() {
	if s.bursts.Load() == 0 || s.posted.Load() >= netsend.Most {
		s.send()
	}
}

// send sends what waits, and what comes meanwhile unless a burst goes on. No outbox may be locked by who calls it.
func (s *Sender) send() {
	for more := true; more; more = s.bursts.Load() == 0 {
		s.posted.Store(0)
		last := s.last.Swap(nil)
		if last == nil {
			return
		}
		var first *outbox // who was posted first is sent first
		for o := last; o != nil; {
			next := o.next
			o.next, first, o = first, o, next
		}
		c := s.take()
		for o := first; o != nil; {
			next := o.next
			o.next = nil
			c.add(o)
			o = next
		}
		c.flush()
		s.give(c)
	}
}

func (s *Sender) take() *convoy {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		defer s.mu.Unlock()
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return c
	}
	s.mu.Unlock()
	return &convoy{writes: netsend.New(s.ring)}
}

func (s *Sender) give(c *convoy) {
	if !s.keep(c) {
		c.writes.Close()
	}
}

// keep reports whether it keeps a convoy for the next ones: not one whose ring has failed.
func (s *Sender) keep(c *convoy) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= s.most || c.writes.Together() != s.ring {
		return false
	}
	s.idle = append(s.idle, c)
	return true
}

// Close frees what the sender keeps.
func (s *Sender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.idle {
		c.writes.Close()
	}
	s.idle = nil
}

// noFD stands for a connection that can't be written to by a number, such as one of TLS.
const noFD = -1

// fdOf returns the number of a socket, which is its own until it is closed.
func fdOf(nc net.Conn) int {
	number := noFD
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { number = int(fd) })
		}
	}
	return number
}

// convoy is outboxes that are sent together.
type convoy struct {
	writes *netsend.Batch
	boxes  [netsend.Most]*outbox
	bytes  int
	space  []byte // for what has to be put together
}

// maxConvoy is how many bytes are sent together, about; one text may have more.
const maxConvoy = 256 << 10

func (c *convoy) add(o *outbox) {
	text := o.load(&c.space)
	if text == nil {
		return
	}
	c.boxes[c.writes.Len()] = o
	c.writes.Add(o.fd, text)
	if c.bytes += len(text); c.bytes >= maxConvoy || c.writes.Len() == netsend.Most {
		c.flush()
	}
}

func (c *convoy) flush() {
	c.writes.Do()
	for i := range c.writes.Len() {
		o := c.boxes[i]
		c.boxes[i] = nil
		o.sent(c.writes.Result(i))
	}
	c.writes.Reset()
	c.bytes, c.space = 0, c.space[:0]
}
