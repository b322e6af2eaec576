package httpapi

import (
	"sync"
	"time"
)

// arrivals is how a test waits for what comes on a connection that a goroutine reads. Its lock guards what has come, too.
type arrivals struct {
	mu    sync.Mutex
	ended bool
	news  chan struct{} // replaced, after the old one was closed, whenever something came
}

func newArrivals() arrivals { return arrivals{news: make(chan struct{})} }

// got notes what came, with the lock held, and wakes who waits.
func (a *arrivals) got(what func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	what()
	close(a.news)
	a.news = make(chan struct{})
}

// wait returns once ok, which is called with the lock held, is so; false if the connection ends or patience does before.
func (a *arrivals) wait(ok func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		a.mu.Lock()
		good, ended, news := ok(), a.ended, a.news
		a.mu.Unlock()
		if good || ended {
			return good
		}
		select {
		case <-news:
		case <-deadline.C:
			return false
		}
	}
}
