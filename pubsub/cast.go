package pubsub

import (
	"sync"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
)

// Bounds of a batch and of what waits to become one.
const (
	// few is how many subscribers a room has at most that is a short task.
	few = 16
	// MaxBatch is how many changes a batch has at most.
	MaxBatch = 64
	// maxBatchBytes bounds the texts of a batch of several.
	maxBatchBytes = 60 << 10
	// maxHeard and maxHeardBytes bound what is heard of a room while a batch is handed on; who hears more waits for that.
	maxHeard      = 1024
	maxHeardBytes = 1 << 20
)

// A room that is busy gathers: after a batch it rests for restTimes as long as it took to hand it on, unless nothing waits.
// So one that has much to tell many tells it in fewer and larger pieces, which costs a fraction, and it leaves most of a
// processor to the others. A rest is no shorter than minRest, else there is none, and no longer than maxRest; it ends when a
// whole batch waits.
const (
	restTimes = 4
	minRest   = time.Millisecond
	maxRest   = 50 * time.Millisecond
)

// Batch is changes of one session that follow each other, at least one, in order. Subscribers keep neither it nor Messages.
type Batch struct {
	Messages []*Message
	// Value is the subscribers' own, nil for the first of them: they are called one after the other.
	Value any
}

// BatchSubscriber is a Subscriber that takes several changes at once.
type BatchSubscriber interface {
	Subscriber
	// DeliverBatch takes the place of a Deliver for each of the batch's changes.
	DeliverBatch(b *Batch)
}

// inbox is what was heard of a room and has not been taken yet. A goroutine takes it, all of it at a time, and ends when
// nothing waits: what is heard while it hands on becomes the next batch.
type inbox struct {
	mu    sync.Mutex // after the room's
	texts []string
	spare []string
	bytes int
	taken bool        // a goroutine takes it, or will after the rest
	rest  *time.Timer // nil before the first rest
}

// What has to be done when something was put into an inbox.
const (
	nobody = iota // somebody takes it, or will soon
	begin         // a goroutine has to begin to take
	wake          // one has to begin instead of who rests
	full          // more waits than should
)

// put adds a text and returns what has to be done.
func (in *inbox) put(text string) (todo int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.texts = append(in.texts, text)
	in.bytes += len(text)
	switch {
	case !in.taken:
		in.taken = true
		return begin
	case in.batch() && in.rest != nil && in.rest.Stop():
		return wake
	case len(in.texts) >= maxHeard || in.bytes >= maxHeardBytes:
		return full
	}
	return nobody
}

// batch reports whether a whole batch waits. in.mu is held.
func (in *inbox) batch() bool { return len(in.texts) >= MaxBatch || in.bytes >= maxBatchBytes }

// after has f called after a rest, unless put says wake before; it reports false, and does not, if a whole batch waits.
func (in *inbox) after(rest time.Duration, f func()) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.batch():
		return false
	case in.rest == nil:
		in.rest = time.AfterFunc(rest, f)
	default:
		in.rest.Reset(rest)
	}
	return true
}

// take empties the inbox. give takes the slice back.
func (in *inbox) take() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	texts := in.texts
	in.texts, in.spare, in.bytes = in.spare, nil, 0
	return texts
}

func (in *inbox) give(texts []string) {
	clear(texts)
	in.mu.Lock()
	defer in.mu.Unlock()
	if cap(texts) <= MaxBatch { // else one burst would be kept for ever
		in.spare = texts[:0]
	}
}

// done reports whether nothing waits, and then lets the next put begin.
func (in *inbox) done() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.taken = len(in.texts) > 0
	return !in.taken
}

func (in *inbox) empty() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.texts) == 0
}

// heard takes a change as it was published, in a round of whoever reads, and reports false if the room is far behind.
func (r *room) heard(round *fiber.Round, t *turns, text string) (keepsUp bool) {
	r.looked.Store(int64(r.hub.now()))
	switch r.inbox.put(text) {
	case begin:
		r.hub.wg.Add(1)
		r.begin(round, t)
	case wake: // instead of who rests, and is counted
		r.begin(round, t)
	case full:
		return false
	}
	return true
}

// begin has somebody take what was heard. A room of many is not left to those whose tasks wait for each other.
func (r *room) begin(round *fiber.Round, t *turns) {
	if r.many.Load() {
		r.hub.workers.Go(r)
	} else {
		t.mu.Lock()
		t.rooms = append(t.rooms, r)
		t.mu.Unlock()
		round.Finally(t)
	}
}

// turns are small rooms that have heard something by a connection in a round. Whoever reads gives them their turns at its end, in a
// burst, so that nobody has to be woken for that; what are more than a few rooms is left to the crew, which may have other processors.
type turns struct {
	hub *Hub

	mu    sync.Mutex // the end of one reader's round may be in the middle of the next one's
	rooms []*room
	spare []*room
}

// atOnce is how many rooms have their turn by whoever reads.
const atOnce = 16

// EndRound implements fiber.Ender.
func (t *turns) EndRound(*fiber.Round) {
	t.mu.Lock()
	rooms := t.rooms
	t.rooms, t.spare = t.spare, nil
	t.mu.Unlock()
	h, now := t.hub, min(len(rooms), atOnce)
	for _, r := range rooms[now:] {
		h.crew.Go(r)
	}
	h.o.Burst.Begin()
	for _, r := range rooms[:now] {
		r.turn()
	}
	h.o.Burst.End()
	clear(rooms)
	if cap(rooms) <= maxHeard { // else one round would be kept for ever
		t.mu.Lock()
		t.spare = rooms[:0]
		t.mu.Unlock()
	}
}

// worked is work by a goroutine that is counted.
func (r *room) worked() {
	defer r.hub.wg.Done()
	r.work()
}

// turn is work by those whose tasks wait for each other: other rooms have their turns between two of its own. None waits for one
// that somebody has locked.
func (r *room) turn() {
	if !r.mu.TryLock() {
		r.hub.workers.Go(r)
		return
	}
	began := r.hub.now()
	r.drain()
	r.mu.Unlock()
	if r.rests(began) {
		r.hub.wg.Done()
	} else {
		r.hub.crew.Go(r)
	}
}

// work takes what was heard until nothing waits, or the room has earned a rest.
func (r *room) work() {
	for done := false; !done; {
		began := r.hub.now()
		r.drainAll()
		done = r.rests(began)
	}
}

// rests reports whether nothing waits, or the room has earned a rest by what it has done since then.
func (r *room) rests(began time.Duration) bool {
	if r.inbox.done() {
		return true
	}
	if rest := min(restTimes*(r.hub.now()-began), maxRest); rest >= minRest {
		r.hub.wg.Add(1) // the hub's Close waits for who rests
		if r.inbox.after(rest, r.worked) {
			return true
		}
		r.hub.wg.Done()
	}
	return false
}

// drainAll takes what was heard so far, in a burst.
func (r *room) drainAll() {
	r.mu.Lock()
	r.hub.o.Burst.Begin() // which may not wait for the room
	r.drain()
	r.mu.Unlock()
	r.hub.o.Burst.End()
}

// drain takes what was heard so far. r.mu is held: whoever looks at or changes the room finds no batch half handed on.
func (r *room) drain() {
	texts := r.inbox.take()
	for _, text := range texts {
		r.hearNow(text)
	}
	r.flush()
	r.inbox.give(texts)
}

// hear takes a change at once.
func (r *room) hear(text string) {
	r.looked.Store(int64(r.hub.now()))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hearNow(text)
	r.flush()
}

// hearNow takes a change, which may wait in the batch until flush. r.mu is held.
func (r *room) hearNow(text string) {
	m, err := r.hub.decode(text)
	if err != nil {
		r.hub.o.Log.Error("malformed change", "room", r.name, "error", err)
		return
	}
	if !r.goesOn(m) || len(r.batch.Messages) == MaxBatch || r.batchBytes+len(text) > maxBatchBytes {
		r.flush() // which may find that the log has to be read
	}
	switch {
	case r.repairing:
		if len(r.held) >= maxHeld {
			r.held, r.again = nil, true
		}
		r.held = append(r.held, m)
	case r.goesOn(m):
		if len(r.batch.Messages) == 0 {
			r.before = r.pos
		}
		r.pos = m.Cursor
		r.batch.Messages = append(r.batch.Messages, m)
		r.batchBytes += len(text)
	default:
		r.take(m)
	}
}

// goesOn reports whether m follows in the middle of a session: a batch has nothing else. r.mu is held.
func (r *room) goesOn(m *Message) bool {
	return r.known && !r.told && !r.ended && m.Seq > 1 && !m.Last && r.follows(m)
}

// flush hands the batch on to all. It is what accept does for one change after the other; the changes of a batch follow
// each other, so who stands where it begins is given it whole. r.mu is held.
func (r *room) flush() {
	b := &r.batch
	if len(b.Messages) == 0 {
		return
	}
	var given int
	for _, s := range r.subs {
		switch {
		case s.over:
		case !s.active:
			for _, m := range b.Messages {
				s.keep(m)
			}
		case s.batches != nil && !s.between && s.at == r.before:
			s.at, s.engaged = r.pos, true
			given++
			s.batches.DeliverBatch(b)
		default:
			for _, m := range b.Messages {
				if !s.over {
					r.offer(s, m)
				}
			}
		}
	}
	r.hub.Stats.Delivered.Add(int64(given * len(b.Messages)))
	clear(b.Messages)
	b.Messages, b.Value = b.Messages[:0], nil
	r.before, r.batchBytes = hearth.Cursor{}, 0
}
