package redispipe

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
)

// wire is a connection of a pipe, whose lock guards it.
type wire struct {
	pipe    *Pipe
	conn    *Conn
	times   uint64 // how often the server had moved when it was made
	buf     []byte // for what is sent
	out     []byte // of it, what is still to be written: by whoever set writing
	writing bool
	encoded uint64    // bytes that were put into out, ever
	written uint64    // of these, those that the server may have got
	flying  fifo      // what was put into out and not answered, in that order
	heard   time.Time // when something came last
	last    bool      // nothing more is sent by it
	over    bool      // it is closed
	why     error

	// Of whoever reads.
	scan scanner
	done []*call
}

// keepOut is how large a buffer is kept for what is sent next.
const keepOut = 64 << 10

// load puts what is queued into out, which is empty, and returns the calls that fail by that. The pipe's lock is held.
func (w *wire) load() (failed []*call) {
	p := w.pipe
	out := w.buf[:0]
	n, now := 0, time.Now()
	for _, c := range p.queue {
		if len(out) >= inOneWrite || w.flying.len() >= flyingMost {
			break
		}
		n++
		p.bytes -= c.size
		more, err := AppendCommand(out, c.Args()...)
		if err != nil {
			c.ends(unsent(err))
			failed = append(failed, c)
			continue
		}
		c.at, c.sent = w.encoded+uint64(len(out)), now
		w.flying.push(c)
		out = more
	}
	clear(p.queue[:n])
	if n == len(p.queue) {
		p.queue = p.queue[:0]
	} else {
		p.queue = p.queue[n:]
	}
	w.encoded += uint64(len(out))
	w.out = out
	if cap(out) <= keepOut {
		w.buf = out
	}
	return failed
}

// rest closes the connection if it has done all that it was to do. The pipe's lock is held.
func (w *wire) rest() {
	if w.last && !w.writing && w.flying.empty() {
		w.pipe.broke(w, errClosed)
	}
}

// Read implements Reader.
func (w *wire) Read(r *fiber.Round, b []byte) (n int, err error) {
	p := w.pipe
	done := w.done[:0]
	p.mu.Lock()
	full := w.flying.len() >= flyingMost
	for {
		var size int
		if size, err = w.scan.next(b[n:]); size == 0 || err != nil {
			break
		}
		c := w.flying.pop()
		if c == nil { // what nobody has asked for; or it is over
			err = errProtocol
			break
		}
		if !c.gone {
			c.ends(c.take(b[n : n+size]))
			done = append(done, c)
		}
		n += size
	}
	w.heard = time.Now() // also a part of an answer
	w.rest()
	if full { // now there is space for what waits
		p.flush(r) // which unlocks
	} else { // what fibers send goes at the end of the round
		p.mu.Unlock()
	}
	tell(r, done)
	clear(done)
	w.done = done
	return n, err
}

// take reads a call's answer.
func (c *call) take(b []byte) error {
	value, _, err := parse(b)
	switch value := value.(type) {
	case Error:
		return value
	case nil:
		if err == nil {
			err = redis.Nil
		}
		return err
	}
	c.SetVal(value)
	return nil
}

// Broken implements Reader.
func (w *wire) Broken(r *fiber.Round, err error) {
	p := w.pipe
	p.mu.Lock()
	failed := p.broke(w, err)
	p.flush(r) // which unlocks
	tell(r, failed)
}

// fifo is calls in a row.
type fifo struct {
	calls []*call
	first int
}

func (f *fifo) push(c *call) {
	if f.first > 64 && f.first > len(f.calls)/2 { // there may always be some
		n := copy(f.calls, f.calls[f.first:])
		clear(f.calls[n:])
		f.calls, f.first = f.calls[:n], 0
	}
	f.calls = append(f.calls, c)
}

// pop returns the first, or nil.
func (f *fifo) pop() *call {
	if f.empty() {
		return nil
	}
	c := f.calls[f.first]
	f.calls[f.first] = nil
	if f.first++; f.empty() {
		f.calls, f.first = f.calls[:0], 0
	}
	return c
}

func (f *fifo) all() []*call { return f.calls[f.first:] }
func (f *fifo) len() int     { return len(f.calls) - f.first }
func (f *fifo) empty() bool  { return f.len() == 0 }
