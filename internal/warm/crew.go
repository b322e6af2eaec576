package warm

import (
	"slices"
	"sync"
)

// perWorker is how many tasks may wait for each goroutine of a crew before another one begins.
const perWorker = 4

// inOneGo is how many tasks are done between begin and end at most.
const inOneGo = 16

// Crew does short tasks, in about the order in which they come, by few goroutines: one that has done its task does the next
// one. To wake a goroutine costs as much as many a task. A task that takes long is no task for a crew.
type Crew[T any] struct {
	do         func(T)
	begin, end func()
	pool       *Pool[*Crew[T]]

	mu     sync.Mutex
	tasks  []T
	first  int // of those that wait
	active int // goroutines
}

// NewCrew returns a crew that does tasks by do. begin and end are called before and after a goroutine does some, one after the
// other: as many as wait, but no more than inOneGo.
func NewCrew[T any](do func(T), begin, end func()) *Crew[T] {
	return &Crew[T]{do: do, begin: begin, end: end, pool: NewPool((*Crew[T]).work)}
}

// Go has a task done soon.
func (c *Crew[T]) Go(task T) {
	c.mu.Lock()
	if c.first > kept && c.first > len(c.tasks)/2 { // there may always be some that wait
		c.tasks = slices.Delete(c.tasks, 0, c.first)
		c.first = 0
	}
	c.tasks = append(c.tasks, task)
	more := len(c.tasks)-c.first > c.active*perWorker
	if more {
		c.active++
	}
	c.mu.Unlock()
	if more {
		c.pool.Go(c)
	}
}

// work does tasks until none waits.
func (c *Crew[T]) work() {
	for task, ok := c.next(); ok; {
		c.begin()
		for n := 1; ; n++ {
			c.do(task)
			if n == inOneGo {
				break
			}
			if task, ok = c.next(); !ok {
				break
			}
		}
		c.end()
		if ok {
			task, ok = c.next()
		}
	}
}

func (c *Crew[T]) next() (task T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == len(c.tasks) {
		c.active--
		if c.tasks, c.first = c.tasks[:0], 0; cap(c.tasks) > 16*kept { // one burst is not kept for ever
			c.tasks = nil
		}
		return task, false
	}
	var none T
	task, c.tasks[c.first] = c.tasks[c.first], none
	c.first++
	return task, true
}

// Close returns when all tasks are done. No task may be given to the crew while it is called, or after.
func (c *Crew[T]) Close() { c.pool.Close() }
