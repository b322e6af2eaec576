// Package fiber does short tasks in the goroutine that has something for them, one after the other, for as long as they need
// not wait. A task that waits for an answer gives the goroutine back, and goes on in the one that brings the answer. So many
// short tasks that come together cost no switch of goroutines each, and what they send can be sent together, at the end of
// their round.
//
// A task holds up all the others of its round: before it does what may block, or for long, it calls Leave, and has a goroutine of
// its own until it ends. It must hold no lock while it waits. The package bounds nothing and orders nothing; nor is it a way to do work
// on several processors, which rounds of several goroutines are.
package fiber

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hearthstore/hearth/internal/warm"
)

// kept is how many fibers without a task are kept at most, with a few KiB each.
const kept = 256

// Round is a goroutine's, for as long as it has tasks to go on with. The zero value is ready for use.
type Round struct{ enders []Ender }

// Ender has something to do when a round ends, whatever number of tasks has asked for it.
type Ender interface{ EndRound(r *Round) }

// Finally has e called when the round ends, once, and reports whether nobody has asked for that before.
func (r *Round) Finally(e Ender) bool {
	if slices.Contains(r.enders, e) {
		return false
	}
	r.enders = append(r.enders, e)
	return true
}

// End ends the round, after which it can be used for the next one.
func (r *Round) End() {
	for i := 0; i < len(r.enders); i++ { // one may ask for another, or for itself
		e := r.enders[i]
		r.enders[i] = nil
		e.EndRound(r)
	}
	r.enders = r.enders[:0]
}

// move is what a fiber gives its goroutine back for.
type move int

const (
	ended  move = iota // its task has
	waits              // until Wake
	leaves             // for a goroutine of its own
)

// States of a fiber.
const (
	running int32 = iota
	waiting       // who takes it out of that has to go on with it
	woken         // before it waited
)

// Fiber is what does a task. Its methods are called by the task, but for Wake. A nil Fiber stands for a goroutine.
type Fiber struct {
	end   func()          // is called when a task has ended
	wg    *sync.WaitGroup // of the goroutines of those that left
	next  func() (move, bool)
	stop  func()
	yield func(move) bool
	state atomic.Int32
	round *Round        // nil while it has a goroutine of its own
	ctx   *fiberContext // used again by the next call, and the next task; nil at first, and after Leave
}

// run goes on with the fiber until it gives the goroutine back.
func (f *Fiber) run(r *Round) {
	for {
		f.round = r
		switch m, _ := f.next(); m {
		case ended:
			if f.ctx != nil {
				*f.ctx = fiberContext{}
			}
			f.round = nil // who still has the fiber has nothing to leave
			f.end()
			return
		case leaves:
			if f.ctx != nil { // what is called from now on may keep it for as long as it likes
				f.ctx.fiber, f.ctx = nil, nil
			}
			f.wg.Go(func() { f.run(nil) })
			return
		case waits:
			if f.state.CompareAndSwap(running, waiting) {
				return
			}
			f.state.Store(running)
		}
	}
}

// Inline reports whether others wait until the task gives the goroutine back.
func (f *Fiber) Inline() bool { return f != nil && f.round != nil }

// Leave gives the task a goroutine of its own, in which it may block, until it ends.
func (f *Fiber) Leave() {
	if f.Inline() {
		f.yield(leaves)
	}
}

// Finally has e called when the present round ends, once, and reports whether nobody has asked for that before. Who has left has
// no round.
func (f *Fiber) Finally(e Ender) bool { return f.round.Finally(e) }

// Wait returns after Wake, in its round; e is called when the present one ends. There is one Wake for each Wait. Who has left
// can't wait so.
func (f *Fiber) Wait(e Ender) {
	f.round.Finally(e)
	f.yield(waits)
}

// Wake goes on with a task that waits, in a round of the calling goroutine, and returns when the task gives the goroutine
// back. One that is only about to wait goes on where it is.
func (f *Fiber) Wake(r *Round) {
	if f.state.CompareAndSwap(running, woken) {
		return
	}
	f.state.Store(running)
	f.run(r)
}

// fiberContext is a context that knows whose it is.
type fiberContext struct {
	context.Context //nolint:containedctx // it is one

	fiber *Fiber
}

type key struct{}

// Value implements context.Context.
func (c *fiberContext) Value(k any) any {
	if k == (key{}) {
		return c.fiber
	}
	return c.Context.Value(k)
}

// Context returns a context for what the task calls next, which may wait as the task does. It serves until the task calls for
// another one, ends or leaves; in the last case it goes on as its parent. So as long as a call is in a round no context may be derived
// from it that looks at it later, as one with a timer does.
func (f *Fiber) Context(parent context.Context) context.Context {
	if !f.Inline() {
		return parent
	}
	if f.ctx == nil {
		f.ctx = &fiberContext{}
	}
	*f.ctx = fiberContext{parent, f}
	return f.ctx
}

// From returns whose context it is; nil if the caller waits as a goroutine does, since it is one or has left.
func From(ctx context.Context) *Fiber {
	if f, _ := ctx.Value(key{}).(*Fiber); f.Inline() {
		return f
	}
	return nil
}

// Pool has tasks done by fibers that are used again.
type Pool[T any] struct {
	do   func(*Fiber, T)
	idle *warm.Shelf[*worker[T]]
	wg   sync.WaitGroup
}

// worker is a fiber with the task that it does.
type worker[T any] struct {
	Fiber

	task T
}

// NewPool returns a pool that does tasks by do, which must not panic.
func NewPool[T any](do func(*Fiber, T)) *Pool[T] {
	return &Pool[T]{do: do, idle: warm.NewShelf(kept, func(w *worker[T]) { w.stop() })}
}

// Run does a task in the calling goroutine, and returns when it ends, waits or leaves.
func (p *Pool[T]) Run(r *Round, task T) {
	w, ok := p.idle.Take()
	if !ok {
		w = p.hire()
	}
	w.task = task
	w.run(r)
}

func (p *Pool[T]) hire() *worker[T] {
	w := &worker[T]{Fiber: Fiber{wg: &p.wg}}
	w.end = func() {
		if !p.idle.Put(w) {
			w.stop()
		}
	}
	w.next, w.stop = iter.Pull(func(yield func(move) bool) {
		w.yield = yield
		for more := true; more; more = yield(ended) {
			p.do(&w.Fiber, w.task)
			var none T
			w.task = none
		}
	})
	return w
}

// Close lets go of all fibers, and returns when those that left have given their goroutines back. All tasks have to have
// ended, or to end without another Wake.
func (p *Pool[T]) Close() {
	p.idle.Close()
	p.wg.Wait()
}
