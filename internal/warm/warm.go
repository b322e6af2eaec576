// Package warm has short tasks done by goroutines that are used again: a new one begins with a small stack, which a deep call
// has to copy over and over as it grows. It waits for no task.
package warm

import (
	"sync"
	"time"
)

const (
	// kept is how many goroutines wait for tasks at most, with a few KiB each; those beyond end with their task.
	kept = 64
	// coolEvery is how long those wait at least and twice that at most that are not needed.
	coolEvery = time.Second
)

// Pool does each task at once, however many there are.
type Pool[T any] struct {
	do   func(T)
	idle *Shelf[chan T] // of goroutines that wait
	wg   sync.WaitGroup
}

// NewPool returns a pool that does tasks by do.
func NewPool[T any](do func(T)) *Pool[T] {
	return &Pool[T]{do: do, idle: NewShelf(kept, func(c chan T) { close(c) })}
}

// Go has a goroutine do a task at once.
func (p *Pool[T]) Go(task T) {
	if c, ok := p.idle.Take(); ok {
		c <- task
		return
	}
	p.wg.Go(func() { p.work(task) })
}

func (p *Pool[T]) work(task T) {
	next := make(chan T, 1)
	for more := true; more; {
		p.do(task)
		var none T
		task = none //nolint:ineffassign,wastedassign // nothing may live on by it
		if !p.idle.Put(next) {
			return
		}
		task, more = <-next
	}
}

// Close lets go of all goroutines and returns when they have ended, after their tasks. No task may be given to the pool while
// it is called, or after.
func (p *Pool[T]) Close() {
	p.idle.Close()
	p.wg.Wait()
}
