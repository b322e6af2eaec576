// Package warm has short tasks done by goroutines that are used again: a new one begins with a small stack, which a deep call
// has to copy over and over as it grows. It bounds nothing, orders nothing and waits for no task.
package warm

import (
	"slices"
	"sync"
	"time"
)

const (
	// kept is how many goroutines wait for tasks at most, with a few KiB each; those beyond end with their task.
	kept = 64
	// coolEvery is how long those wait at least and twice that at most that are not needed.
	coolEvery = time.Second
)

// Pool does tasks. Do is set before the first.
type Pool[T any] struct {
	Do func(T)

	mu     sync.Mutex
	idle   []chan T    // of goroutines that wait, the last that began to wait at the end
	least  int         // how many have waited all the time since the last look
	timer  *time.Timer // of the next look; nil before the first
	ticks  bool        // there will be one
	closed bool
	wg     sync.WaitGroup
}

// Go has a goroutine do a task at once.
func (p *Pool[T]) Go(task T) {
	p.mu.Lock()
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		p.wg.Go(func() { p.work(task) })
		return
	}
	c := p.idle[n-1]
	p.idle[n-1], p.idle = nil, p.idle[:n-1]
	p.least = min(p.least, n-1)
	p.mu.Unlock()
	c <- task
}

func (p *Pool[T]) work(task T) {
	next := make(chan T, 1)
	for more := true; more; {
		p.Do(task)
		var none T
		task = none //nolint:ineffassign,wastedassign // nothing may live on by it
		if !p.wait(next) {
			return
		}
		task, more = <-next
	}
}

// wait reports whether a goroutine may wait for the next task.
func (p *Pool[T]) wait(next chan T) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= kept {
		return false
	}
	p.idle = append(p.idle, next)
	switch {
	case p.ticks:
	case p.timer == nil:
		p.ticks, p.timer = true, time.AfterFunc(coolEvery, p.cool)
	default:
		p.ticks = true
		p.timer.Reset(coolEvery)
	}
	return true
}

// cool lets go of those that were not needed since the last look.
func (p *Pool[T]) cool() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle[:p.least] {
		close(c)
	}
	p.idle = slices.Delete(p.idle, 0, p.least)
	p.least = len(p.idle)
	if p.ticks = p.least > 0; p.ticks {
		p.timer.Reset(coolEvery)
	}
}

// Close lets go of all goroutines and returns when they have ended, after their tasks. No task may be given to the pool while
// it is called, or after.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for _, c := range p.idle {
		close(c)
	}
	p.idle, p.least = nil, 0
	p.mu.Unlock()
	p.wg.Wait()
}
