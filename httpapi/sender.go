package httpapi

import (
	"sync"
	"sync/atomic"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netsend"
)

// Sender sends what is queued for a node's WebSockets, for many of them in one system call. It has no goroutine of its own: who
// queues something has it sent at once, and who is about to queue for many, one after the other, makes a burst of that: what is
// queued during it, by whomever, is sent at its end. Bursts are short, and nothing in them may block.
type Sender struct {
	first  atomic.Pointer[outbox] // of those that are posted; linked by next
	bursts atomic.Int32

	ring bool // writes go together

	mu     sync.Mutex
	idle   []*convoy
	closed bool
}

// keptConvoys is how many are kept at most for the next ones.
const keptConvoys = 16

// NewSender returns a sender, which makes use of io_uring if ring says so and the system lets it. Close has to be called for it; a
// Server does that for its own.
func NewSender(ring bool) *Sender {
	s := &Sender{ring: ring}
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
	for {
		o.next = s.first.Load()
		if s.first.CompareAndSwap(o.next, o) {
			return
		}
	}
}

// kick sends what waits, unless the end of a burst will.
func (s *Sender) kick() {
	if s.bursts.Load() == 0 {
		s.send()
	}
}

// send sends what waits. No outbox may be locked by who calls it.
func (s *Sender) send() {
	for last := s.first.Swap(nil); last != nil; last = s.first.Swap(nil) {
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
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return c
	}
	return &convoy{writes: netsend.New(s.ring)}
}

func (s *Sender) give(c *convoy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= keptConvoys {
		c.writes.Close()
		return
	}
	s.idle = append(s.idle, c)
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
