package bench

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// sender is a peer that sends messages or writes entries.
type sender struct {
	p     *peer
	index uint16 // in its room
	fan   int64  // how many have to hear each
	head  []byte // of a call, up to its id
	tail  []byte // from behind its id up to the stamp
	rest  []byte // from behind the stamp

	order sync.Mutex // numbers leave in their order
	frame []byte

	mu      sync.Mutex
	sent    uint32
	base    uint32 // number of the first of open
	open    []open // calls without an answer, and those answered among them
	excused map[uint32]struct{}
	over    bool

	slots []slot // nil in an open loop
	free  chan uint16
}

// open is a call that waits for its answer.
type open struct {
	due  int64 // 0: answered
	slot uint16
}

// slot is one message of a closed loop: it is free again when the message is acknowledged and everybody has heard it.
type slot struct {
	state atomic.Uint64 // number << 32 | what is still missing; 0: free
	due   atomic.Int64
}

// newSender makes a peer one who sends, to so many others.
func (r *run) newSender(p *peer, fan int) {
	s := &sender{p: p, index: uint16(len(p.room.writers)), fan: int64(fan), excused: map[uint32]struct{}{}}
	method, open, end := "broadcast", `{"info":{"type":"bench","message":"`, `"}}}`
	if r.o.Scenario == Sets {
		method, open, end = "set-metadata", `{"key":"k`+strconv.Itoa(int(s.index))+`","data":"`, `"}}`
	}
	s.head = replyHead // a request begins like its answer
	s.tail = []byte(`,"method":"` + method + `","params":` + open)
	s.rest = append(s.rest, '.')
	for len(s.rest)+len(mark)+2*stampBytes+2 < r.o.Size {
		s.rest = append(s.rest, 'x')
	}
	s.rest = append(s.rest, end...)
	p.sends = s
	p.room.writers = append(p.room.writers, s)
}

// loop gives the sender slots for a closed loop.
func (s *sender) loop(n int) {
	if s.slots != nil {
		return
	}
	s.slots, s.free = make([]slot, n), make(chan uint16, n)
	for i := range n {
		s.free <- uint16(i)
	}
}

// send sends one message that was due at a time.
func (s *sender) send(due int64, at uint16) {
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		s.p.run.errs.add("not sent: the socket has ended")
		return
	}
	n := s.sent
	s.sent++
	s.open = append(s.open, open{due, at})
	s.mu.Unlock()
	r := s.p.run
	r.books.sent.Add(1)
	ph := r.phase.Load()
	ph.sent.Add(1)
	ph.behind(r.now() - due)
	if s.slots != nil {
		missing := uint64(1)
		if r.o.Scenario != Sets {
			missing += uint64(s.fan)
		}
		s.slots[at].due.Store(due)
		s.slots[at].state.Store(uint64(n)<<32 | missing)
	}
	st := stamp{s.index, at, n, due}
	s.frame = strconv.AppendUint(append(s.frame[:0], s.head...), uint64(n)+firstMessage, 10)
	s.frame = st.append(append(s.frame, s.tail...))
	_ = s.p.sock.write(ws.OpText, s.frame, s.rest) // an error ends the socket, which is counted
}

// answered takes the answer to a message; why is "" if it is done.
func (s *sender) answered(n uint32, why string, at int64) {
	s.mu.Lock()
	i := int(n - s.base)
	if n < s.base || i >= len(s.open) || s.open[i].due == 0 {
		s.mu.Unlock()
		s.p.run.errs.add("an answer to nothing")
		return
	}
	call := s.open[i]
	s.open[i].due = 0
	for len(s.open) > 0 && s.open[0].due == 0 {
		s.open = s.open[1:]
		s.base++
	}
	if why != "" {
		s.excused[n] = struct{}{}
	}
	s.mu.Unlock()
	r := s.p.run
	if why != "" {
		r.books.excused.Add(1)
		r.errs.add(why)
		if s.slots != nil {
			s.step(call.slot, n, 1<<31)
		}
	} else {
		r.books.expected.Add(s.fan)
		ph := r.phase.Load()
		ph.acked.Add(1)
		ph.took1(acked, at, []int64{at - call.due})
		if s.slots != nil {
			s.step(call.slot, n, 1)
		}
	}
	r.books.answered.Add(1)
}

// step takes note that a message has come to so many of those it has to, and frees its slot after the last.
func (s *sender) step(at uint16, n uint32, done uint64) {
	if int(at) >= len(s.slots) {
		return
	}
	sl := &s.slots[at]
	for {
		was := sl.state.Load()
		missing := was & (1<<32 - 1)
		if missing == 0 || uint32(was>>32) != n {
			return // given up
		}
		is := uint64(0)
		if missing > done {
			is = was - done
		}
		if sl.state.CompareAndSwap(was, is) {
			if is == 0 {
				s.free <- at // each slot is in it once at most
			}
			return
		}
	}
}

// giveUp says that the socket has ended: what waits for an answer will get none.
func (s *sender) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for i, o := range s.open {
		if o.due != 0 {
			s.excused[s.base+uint32(i)] = struct{}{}
			s.p.run.books.excused.Add(1)
			s.p.run.books.answered.Add(1)
		}
	}
	s.open, s.base = nil, s.sent
}

// run sends in a closed loop until ctx ends. A message that somebody has not heard in time is given up, and accounted for at
// the end.
func (s *sender) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case at := <-s.free:
			s.send(s.p.run.now(), at)
		case <-s.p.gone:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			late := s.p.run.now() - int64(s.p.run.o.Timeout)
			for i := range s.slots {
				was := s.slots[i].state.Load()
				if was&(1<<32-1) != 0 && s.slots[i].due.Load() < late && s.slots[i].state.CompareAndSwap(was, 0) {
					s.p.run.errs.add("not heard by all in time")
					s.free <- uint16(i)
				}
			}
		}
	}
}

// pacers bounds how many goroutines keep a rate: one that a slow socket holds up does not hold up the others.
const pacers = 8

// send has all senders send until ctx ends.
func (r *run) send(ctx context.Context) {
	var senders []*sender
	for i := 0; ; i++ { // in an order that spreads the rooms
		before := len(senders)
		for _, rm := range r.rooms {
			if i < len(rm.writers) {
				senders = append(senders, rm.writers[i])
			}
		}
		if len(senders) == before {
			break
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if r.o.Rate == 0 {
		for _, s := range senders {
			s.loop(r.perSender())
			wg.Go(func() { s.run(ctx) })
		}
		return
	}
	due := r.schedule()
	for range min(pacers, len(senders)) {
		wg.Go(func() {
			for {
				i, at := due()
				if !pause(ctx, time.Duration(at-r.now())) {
					return
				}
				senders[i%int64(len(senders))].send(at, 0)
			}
		})
	}
}

// perSender is how many messages one sender of a closed loop has under way. Writes are counted in all: one a writer.
func (r *run) perSender() int {
	if r.o.Scenario == Sets {
		return 1
	}
	return r.o.InFlight
}

// schedule returns what gives out the numbers and due times of a constant rate.
func (r *run) schedule() func() (i, due int64) {
	var next atomic.Int64
	begin, gap := r.now(), float64(time.Second)/r.o.Rate
	return func() (int64, int64) {
		i := next.Add(1) - 1
		return i, begin + int64(float64(i)*gap)
	}
}
