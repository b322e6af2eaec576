package warm

import (
	"slices"
	"sync"
	"time"
)

// Shelf keeps what may be used again, a bounded number of it. What was not needed for a while it lets go of.
type Shelf[T any] struct {
	most int
	drop func(T)

	mu     sync.Mutex
	idle   []T         // the last that was put at the end
	least  int         // how many have been there all the time since the last look
	timer  *time.Timer // of the next look; nil before the first
	ticks  bool        // there will be one
	closed bool
}

// NewShelf returns a shelf for most things. drop lets go of one; it is called by any goroutine, and must not use the shelf.
func NewShelf[T any](most int, drop func(T)) *Shelf[T] { return &Shelf[T]{most: most, drop: drop} }

// Take takes the one that was put last; false if there is none.
func (s *Shelf[T]) Take() (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	n := len(s.idle)
	if n == 0 {
		return none, false
	}
	one := s.idle[n-1]
	s.idle[n-1], s.idle = none, s.idle[:n-1]
	s.least = min(s.least, n-1)
	return one, true
}

// Put keeps one, or reports that it doesn't.
func (s *Shelf[T]) Put(one T) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= s.most {
		return false
	}
	s.idle = append(s.idle, one)
	switch {
	case s.ticks:
	case s.timer == nil:
		s.ticks, s.timer = true, time.AfterFunc(coolEvery, s.cool)
	default:
		s.ticks = true
		s.timer.Reset(coolEvery)
	}
	return true
}

// cool lets go of those that were not needed since the last look.
func (s *Shelf[T]) cool() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.idle[:s.least] {
		s.drop(one)
	}
	s.idle = slices.Delete(s.idle, 0, s.least)
	s.least = len(s.idle)
	if s.ticks = s.least > 0; s.ticks {
		s.timer.Reset(coolEvery)
	}
}

// Close lets go of all that are there, and keeps none from then on.
func (s *Shelf[T]) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, one := range s.idle {
		s.drop(one)
	}
	s.idle, s.least = nil, 0
}
