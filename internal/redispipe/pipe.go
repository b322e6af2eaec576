package redispipe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
)

const (
	// waitingMost and waitingBytes are how many calls wait to be sent at most, and bytes of values. The next one is refused.
	waitingMost, waitingBytes = 16 << 10, 32 << 20
	// flyingMost is how many calls are sent at most that were not answered. The next one waits.
	flyingMost = 4 << 10
	// inOneWrite is how many bytes of commands are sent in one write, about; one command may have more.
	inOneWrite = 256 << 10
	// silence is how long the server may take to answer what was sent, and to take it. After that the connection is given up.
	silence = 3 * time.Second
	// lookEvery is how often those who have waited too long are looked for, while anybody waits.
	lookEvery = 250 * time.Millisecond
)

// Pipe sends the calls of many to one server by one connection, which it makes when it is needed. Who has something to send sends
// it, and fibers send together what all of a round have to send: where a poller reads, there is no goroutine while all goes well;
// elsewhere one reads, and each write is one's.
//
// What a call is answered doesn't depend on which others are under way. One that fails without an answer says whether it was sent,
// by an error with a method Sent; it is not sent again.
type Pipe struct {
	client redis.UniversalClient
	poller *netpoll.Poller
	dial   func(ctx context.Context) (*Conn, error) // nil: the client's own connections are used
	mover  mover                                    // nil: the server stays
	ctx    context.Context                          //nolint:containedctx // the pipe's own life, ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	queue   []*call // what is to be sent, in the order in which it came
	bytes   int     // of its values
	wire    *wire   // by which it is sent; nil: one has to be made
	wires   []*wire // that one, and those by which answers are still to come
	dialing bool
	look    *time.Timer // looks while looking
	looking bool
	closed  bool
}

// mover is a client whose server may come to be another one: Moved returns how often that was so.
type mover interface {
	Moved() (times uint64, next <-chan struct{})
}

// New returns some pipes to the server of a client. Commands that are sent by them pass the client's hooks, but not its
// connections. A client of several servers, or one whose credentials come as a stream, is used as it is. Close or Drain has to be called
// for each.
func New(client redis.UniversalClient, poller *netpoll.Poller, some int) []*Pipe {
	var dial func(ctx context.Context) (*Conn, error)
	if c, ok := client.(optioned); ok && !provided(c.Options()) {
		client.AddHook(hook{})
		dial = func(ctx context.Context) (*Conn, error) {
			conn, _, err := Dial(ctx, client, "")
			return conn, err
		}
	}
	pipes := make([]*Pipe, some)
	for i := range pipes {
		pipes[i] = newPipe(client, poller, dial)
	}
	return pipes
}

func newPipe(client redis.UniversalClient, poller *netpoll.Poller, dial func(ctx context.Context) (*Conn, error)) *Pipe {
	p := &Pipe{client: client, poller: poller, dial: dial}
	p.mover, _ = client.(mover)
	p.ctx, p.cancel = context.WithCancel(context.Background()) // its own life; no caller's call is it
	return p
}

// provided reports whether the client's credentials come from a function that this package doesn't ask.
func provided(o *redis.Options) bool {
	return o.CredentialsProviderContext != nil || o.StreamingCredentialsProvider != nil
}

// call is a command on its way.
type call struct {
	*redis.Cmd

	pipe *Pipe
	size int           // of its values
	end  time.Time     // when its time is over; zero for never
	at   uint64        // where it begins in what is sent by its connection
	sent time.Time     // when it was put there
	err  error         // what became of it, once it is told
	over bool          // it was answered, or has failed
	gone bool          // its caller has given up: nobody is to be told
	done chan struct{} // gets one value when it is over; nil for a fiber's
	of   *fiber.Fiber  // whose it is; nil for a goroutine's
}

// hook has calls sent by their pipes, behind all hooks that the client had before.
type hook struct{}

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c, ok := cmd.(*call); ok {
			return c.pipe.send(ctx, c)
		}
		return next(ctx, cmd)
	}
}

// Do sends a command and returns when it was answered, or its caller gives up. A fiber gives up by its context's deadline alone.
func (p *Pipe) Do(ctx context.Context, cmd *redis.Cmd) error {
	if p.dial == nil {
		fiber.From(ctx).Leave()
		return p.client.Process(ctx, cmd) //nolint:wrapcheck // the client's
	}
	return p.client.Process(ctx, &call{Cmd: cmd, pipe: p}) //nolint:wrapcheck // a hook's, or send's
}

func (p *Pipe) send(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return unsent(err)
	}
	c.of = fiber.From(ctx)
	c.end, _ = ctx.Deadline()
	for _, arg := range c.Args() {
		if b, ok := arg.([]byte); ok {
			c.size += len(b)
		}
	}
	p.mu.Lock()
	if err := p.accept(c); err != nil {
		p.mu.Unlock()
		return unsent(err)
	}
	if c.of != nil {
		p.mu.Unlock()
		c.of.Wait(p)
		return c.err
	}
	c.done = make(chan struct{}, 1)
	var round fiber.Round
	p.flush(&round) // which unlocks
	round.End()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return p.leave(ctx, c)
	}
}

// accept queues a call. p.mu is held.
func (p *Pipe) accept(c *call) error {
	switch {
	case p.closed:
		return errClosed
	case len(p.queue) >= waitingMost || len(p.queue) > 0 && p.bytes+c.size > waitingBytes:
		return errCrowded
	}
	p.queue, p.bytes = append(p.queue, c), p.bytes+c.size
	if !p.looking {
		p.looking = true
		p.wg.Add(1)
		if p.look == nil {
			p.look = time.AfterFunc(lookEvery, p.inspect)
		} else {
			p.look.Reset(lookEvery)
		}
	}
	return nil
}

// leave is what a caller does who gives up.
func (p *Pipe) leave(ctx context.Context, c *call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.over { // at the last moment
		return c.err
	}
	if i := slices.Index(p.queue, c); i >= 0 {
		p.queue, p.bytes = slices.Delete(p.queue, i, i+1), p.bytes-c.size
		return unsent(ctx.Err())
	}
	c.gone = true
	return unknown(ctx.Err())
}

// EndRound implements fiber.Ender.
func (p *Pipe) EndRound(r *fiber.Round) {
	p.mu.Lock()
	p.flush(r)
}

// flush sends what is queued, as far as the server takes it without being waited for; a goroutine sends the rest, and what comes
// meanwhile. p.mu is held, and free when it returns.
func (p *Pipe) flush(r *fiber.Round) {
	var failed []*call
	for w := p.current(); w != nil && !w.writing && len(p.queue) > 0 && w.flying.len() < flyingMost; w = p.current() {
		failed = append(failed, w.load()...)
		w.writing = true
		p.mu.Unlock()
		n, err := w.conn.WriteNow(w.out)
		p.mu.Lock()
		w.written += uint64(n)
		w.out = w.out[n:]
		if len(w.out) > 0 && err == nil && !w.over {
			p.wg.Go(func() { p.push(w) }) // ends with the write
			break
		}
		w.out, w.writing = nil, false
		if err != nil {
			failed = append(failed, p.broke(w, err)...)
		}
		w.rest()
	}
	p.mu.Unlock()
	tell(r, failed)
}

// push writes what the server has not taken at once.
func (p *Pipe) push(w *wire) {
	err := w.conn.Write(w.out, silence)
	p.mu.Lock()
	w.written += uint64(len(w.out)) // if it failed, nobody knows how much
	w.out, w.writing = nil, false
	var failed []*call
	if err != nil {
		failed = p.broke(w, err)
	}
	w.rest()
	var round fiber.Round
	p.flush(&round) // which unlocks
	tell(&round, failed)
	round.End()
}

// current returns by what is sent, if it is there, and sees to it that it will be. p.mu is held.
func (p *Pipe) current() *wire {
	if w := p.wire; w != nil && p.mover != nil {
		if times, _ := p.mover.Moved(); times != w.times { // it may be to another server than what the client sends
			p.wire, w.last = nil, true
			w.rest()
		}
	}
	if p.wire == nil && len(p.queue) > 0 && !p.dialing && !p.closed {
		p.dialing = true
		p.wg.Go(p.connect) // ends when that has succeeded, or failed
	}
	return p.wire
}

// connect makes a connection. If that fails, so do all who wait for it.
func (p *Pipe) connect() {
	var times uint64
	if p.mover != nil {
		times, _ = p.mover.Moved()
	}
	w := &wire{pipe: p, times: times}
	conn, err := p.dial(p.ctx)
	if err == nil {
		w.conn = conn
		p.wg.Add(1) // until it broke
		conn.Start(p.poller, w)
	}
	p.mu.Lock()
	p.dialing = false
	if err == nil && w.over {
		err = w.why
	}
	var failed []*call
	switch {
	case err != nil:
		failed = p.refuse(err)
	case p.closed:
		p.broke(w, errClosed)
	default:
		p.wire, p.wires = w, append(p.wires, w)
	}
	var round fiber.Round
	p.flush(&round) // which unlocks
	tell(&round, failed)
	round.End()
}

// refuse empties the queue of calls, which all fail. p.mu is held.
func (p *Pipe) refuse(err error) []*call {
	failed := p.queue
	for _, c := range failed {
		c.ends(unsent(err))
	}
	p.queue, p.bytes = nil, 0
	return failed
}

// broke gives up a connection, and returns the calls that fail by that; what was not sent by it is sent by the next. p.mu is held.
func (p *Pipe) broke(w *wire, err error) (failed []*call) {
	if w.over {
		return nil
	}
	w.over, w.why = true, err
	if p.wire == w {
		p.wire = nil
	}
	if i := slices.Index(p.wires, w); i >= 0 {
		p.wires = slices.Delete(p.wires, i, i+1)
	}
	go func() { // ends when nobody reads it any more, which may be who calls; closing one of TLS may take long
		w.conn.Wait()
		p.wg.Done()
	}()
	written := w.written
	if w.writing { // somebody just writes the rest
		written = w.encoded
	}
	var again []*call
	for _, c := range w.flying.all() {
		switch {
		case c.gone:
		case c.at < written:
			c.ends(unknown(err))
			failed = append(failed, c)
		case p.closed:
			c.ends(unsent(err))
			failed = append(failed, c)
		default:
			again = append(again, c)
			p.bytes += c.size
		}
	}
	p.queue = append(again, p.queue...)
	w.flying = fifo{}
	return failed
}

// inspect looks for who has waited too long.
func (p *Pipe) inspect() {
	p.mu.Lock()
	now := time.Now()
	var failed []*call
	p.queue = slices.DeleteFunc(p.queue, func(c *call) bool {
		if !c.late(now) {
			return false
		}
		p.bytes -= c.size
		c.ends(unsent(context.DeadlineExceeded))
		failed = append(failed, c)
		return true
	})
	for _, w := range slices.Clone(p.wires) {
		flying := w.flying.all()
		if len(flying) > 0 && now.Sub(flying[0].sent) >= silence && now.Sub(w.heard) >= silence && !w.conn.Pending() { // else it is we who are late
			failed = append(failed, p.broke(w, errSilent)...)
			continue
		}
		for _, c := range flying {
			if !c.gone && c.late(now) {
				c.ends(unknown(context.DeadlineExceeded))
				c.gone = true
				failed = append(failed, c)
			}
		}
	}
	if p.looking = len(p.queue) > 0 || slices.ContainsFunc(p.wires, func(w *wire) bool { return !w.flying.empty() }); p.looking {
		p.wg.Add(1)
		p.look.Reset(lookEvery)
	}
	defer p.wg.Done()
	var round fiber.Round
	p.flush(&round) // which unlocks
	tell(&round, failed)
	round.End()
}

// Close has all calls fail, and returns when no more are told of anything.
func (p *Pipe) Close() { p.close(func(w *wire) []*call { return p.broke(w, errClosed) }) }

// Drain has all calls fail that were not sent, and returns when the others were answered, or have waited too long for that.
func (p *Pipe) Drain() {
	p.close(func(w *wire) []*call {
		w.last = true
		w.rest()
		return nil
	})
}

func (p *Pipe) close(end func(w *wire) []*call) {
	p.cancel()
	p.mu.Lock()
	p.closed = true
	failed := p.refuse(errClosed)
	p.wire = nil
	for _, w := range slices.Clone(p.wires) {
		failed = append(failed, end(w)...)
	}
	if len(p.wires) == 0 && p.looking && p.look.Stop() {
		p.looking = false
		p.wg.Done()
	}
	p.mu.Unlock()
	var round fiber.Round
	tell(&round, failed)
	round.End()
	p.wg.Wait()
}

// late reports whether a fiber's call has no time left. A goroutine looks for itself.
func (c *call) late(now time.Time) bool { return c.of != nil && !c.end.IsZero() && now.After(c.end) }

// ends notes what became of a call. The pipe's lock is held, and tell has to follow.
func (c *call) ends(err error) { c.err, c.over = err, true }

// tell tells callers what became of their calls: goroutines first, which go on by themselves. No lock is held.
func tell(r *fiber.Round, calls []*call) {
	for _, c := range calls {
		if c.of == nil {
			c.done <- struct{}{}
		}
	}
	for _, c := range calls {
		if c.of != nil {
			c.of.Wake(r)
		}
	}
}

// callError is of a call that was not answered.
type callError struct {
	cause error
	sent  bool
}

func unsent(cause error) error  { return &callError{cause, false} }
func unknown(cause error) error { return &callError{cause, true} }

func (e *callError) Error() string {
	if e.sent {
		return "sent and not answered: " + e.cause.Error()
	}
	return "not sent: " + e.cause.Error()
}

func (e *callError) Unwrap() error { return e.cause }

// Sent reports whether the server may have executed the command.
func (e *callError) Sent() bool { return e.sent }

var (
	errClosed  = errors.New("the store is closed")
	errCrowded = errors.New("too many calls wait for the store")
	errSilent  = errors.New("the server does not answer")
)
