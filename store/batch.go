package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
)

const (
	// batchesAtATime is how many batches of a lane are under way: while one is answered the next one gathers.
	batchesAtATime = 2
	// batchMost and batchBytes are how many calls go out together at most, and how many bytes of values; one call may have more.
	batchMost, batchBytes = 128, 1 << 20
	// batchSpread is by how much the times of a batch's calls differ at most: it has as long as its last one.
	batchSpread = 200 * time.Millisecond
	// waitingMost and waitingBytes are how many calls wait for a lane's next batch at most, and bytes of values. The next one is
	// refused.
	waitingMost, waitingBytes = 16 << 10, 32 << 20
)

// lane gathers calls that come while others are under way, and sends them together: one write and one read of a connection
// for all of them. It has no goroutine of its own: whoever finds a batch free sends at once, and hands on to those who wait.
// Fibers send together what all of a round have to send.
//
// What a call is answered doesn't depend on which others go with it, and what was sent is known for each of them. A caller who
// gives up leaves the rest to the others.
type lane struct {
	client redis.UniversalClient

	mu      sync.Mutex
	out     int        // batches under way
	waiting []*waiting // in the order in which they came
	bytes   int        // of their values
}

// waiting is one call that waits for a batch.
type waiting struct {
	cmd  *redis.Cmd
	size int
	end  time.Time       // when its time is over
	turn chan []*waiting // the batch that this call has to send, itself in it; nil once it was sent
	gone bool            // its caller has given up

	// Of a fiber's call, which is woken instead of told by turn, and does not give up.
	fiber *fiber.Fiber
	batch []*waiting
}

// do sends a command and returns when it was answered, or its caller gives up.
func (l *lane) do(ctx context.Context, cmd *redis.Cmd) error {
	f := fiber.From(ctx)
	l.mu.Lock()
	if f == nil && l.out < batchesAtATime {
		l.out++
		l.mu.Unlock()
		defer l.next()
		return l.client.Process(ctx, cmd) //nolint:wrapcheck // failure does
	}
	w := &waiting{cmd: cmd, fiber: f}
	w.end, _ = ctx.Deadline()
	for i, arg := range cmd.Args() {
		if b, ok := arg.([]byte); ok {
			w.size += len(b)
			if f == nil { // another call may send it, and its caller be gone by then: nothing of it may be the caller's
				cmd.Args()[i] = slices.Clone(b)
			}
		}
	}
	if len(l.waiting) >= waitingMost || len(l.waiting) > 0 && l.bytes+w.size > waitingBytes {
		l.mu.Unlock()
		return &unsentError{errCrowded}
	}
	l.waiting, l.bytes = append(l.waiting, w), l.bytes+w.size
	if f == nil {
		w.turn = make(chan []*waiting, 1)
	}
	l.mu.Unlock()
	if f != nil {
		return l.wait(ctx, w)
	}
	select {
	case batch := <-w.turn:
		if batch == nil {
			return cmd.Err() //nolint:wrapcheck // failure does
		}
		return l.lead(ctx, w, batch)
	case <-ctx.Done():
		return l.leave(ctx, w)
	}
}

// wait is what a fiber does in do. It does not give up while its call waits for others: they have begun before, so their time
// ends before its own does, and then it is its turn.
func (l *lane) wait(ctx context.Context, w *waiting) error {
	w.fiber.Wait(l)
	if w.batch == nil {
		return w.cmd.Err() //nolint:wrapcheck // failure does
	}
	w.fiber.Leave() // for as long as the server takes
	return l.lead(ctx, w, w.batch)
}

// EndRound implements fiber.Ender: it sends what fibers have to send, as far as batches are free.
func (l *lane) EndRound(r *fiber.Round) {
	l.mu.Lock()
	for len(l.waiting) > 0 && l.out < batchesAtATime {
		l.out++
		l.hand(r, nil) // which unlocks
		l.mu.Lock()
	}
	l.mu.Unlock()
}

// lead sends a batch that has come to a call to send.
func (l *lane) lead(ctx context.Context, w *waiting, batch []*waiting) error {
	var round fiber.Round
	defer round.End()
	switch {
	case ctx.Err() != nil: // the rest of the batch is not to blame
		l.mu.Lock()
		w.gone = true
		l.hand(&round, batch)
		return &unsentError{ctx.Err()}
	case len(batch) == 1:
		defer l.next()
		return l.client.Process(ctx, w.cmd) //nolint:wrapcheck // failure does
	}
	defer func() { // whatever becomes of it: who isn't told waits for ever
		l.next()
		l.tell(&round, batch, w)
	}()
	pipe := l.client.Pipeline()
	for _, w := range batch {
		_ = pipe.Process(ctx, w.cmd) // it is sent by Exec
	}
	// Its deadline is the latest of the batch. Who gives up before gives up for itself alone.
	_, _ = pipe.Exec(ctx) // each command has its own error
	return w.cmd.Err()    //nolint:wrapcheck // failure does
}

// tell tells all of a batch but its sender that it was sent: goroutines first, which go on by themselves.
func (l *lane) tell(r *fiber.Round, batch []*waiting, sender *waiting) {
	for _, w := range batch {
		if w.fiber == nil && w != sender {
			w.turn <- nil
		}
	}
	for _, w := range batch {
		if w.fiber != nil && w != sender {
			w.fiber.Wake(r)
		}
	}
}

// leave ends the waiting of a caller who gives up. If the call is in a batch by then, nobody knows what becomes of it.
func (l *lane) leave(ctx context.Context, w *waiting) error {
	l.mu.Lock()
	if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting, l.bytes = slices.Delete(l.waiting, i, i+1), l.bytes-w.size
		l.mu.Unlock()
		return &unsentError{ctx.Err()}
	}
	var batch []*waiting
	select {
	case batch = <-w.turn:
	default:
		w.gone = true
	}
	gone := w.gone
	l.mu.Unlock()
	switch {
	case gone:
		return ctx.Err() //nolint:wrapcheck // failure does
	case batch == nil: // it was answered at the last moment
		return w.cmd.Err() //nolint:wrapcheck // failure does
	}
	return l.lead(ctx, w, batch)
}

// next gives the place of a batch that was answered to those who wait.
func (l *lane) next() {
	var round fiber.Round
	l.mu.Lock()
	l.hand(&round, nil) // which unlocks
	round.End()
}

// hand has a batch sent by the call of it that has the most time and is still there. If none is, the next ones that wait are a
// batch, and if there are none there is one batch less under way. l.mu is held, and free when it returns.
func (l *lane) hand(r *fiber.Round, batch []*waiting) {
	leader := l.pick(&batch)
	if leader != nil && leader.fiber == nil {
		leader.turn <- batch // before it can give up: leave looks for it
		leader = nil
	}
	l.mu.Unlock()
	if leader != nil { // which must not run with the lock held
		leader.batch = batch
		leader.fiber.Wake(r)
	}
}

// pick returns the call that has to send a batch, or the next one.
func (l *lane) pick(batch *[]*waiting) *waiting {
	for {
		*batch = slices.DeleteFunc(*batch, func(w *waiting) bool { return w.gone })
		if len(*batch) > 0 {
			return slices.MaxFunc(*batch, func(a, b *waiting) int { return a.end.Compare(b.end) })
		}
		n, size := 0, 0
		for n < min(len(l.waiting), batchMost) {
			w := l.waiting[n]
			if n > 0 && (size+w.size > batchBytes || w.end.Sub(l.waiting[0].end) > batchSpread) {
				break
			}
			size += w.size
			n++
		}
		if n == 0 {
			l.out--
			return nil
		}
		*batch = slices.Clone(l.waiting[:n])
		l.waiting, l.bytes = slices.Delete(l.waiting, 0, n), l.bytes-size
	}
}

// unsentError is of a call that was not sent.
type unsentError struct{ cause error }

func (e *unsentError) Error() string { return "not sent: " + e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }
func (e *unsentError) Sent() bool    { return false }

// errCrowded says that too many calls wait already.
var errCrowded = errors.New("too many calls wait for the store")
