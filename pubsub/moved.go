package pubsub

import (
	"strings"
	"time"
)

// mover is a client whose commands may come to go to another server than before, without the subscriptions: a failover to
// another master, which leaves the old one alive.
type mover interface {
	// Moved returns how often that was, and what is closed the next time.
	Moved() (times uint64, next <-chan struct{})
}

func (h *Hub) moved() (times uint64, next <-chan struct{}) {
	if h.mover == nil {
		return 0, nil
	}
	return h.mover.Moved()
}

// follow has the connection made anew when commands go to another server: what is published there it would not hear, and
// what it still hears is of a log that is given up.
func (l *link) follow() {
	for {
		times, next := l.hub.moved()
		l.overtaken(times)
		select {
		case <-l.ctx.Done():
			return
		case <-next:
		}
	}
}

// overtaken replaces a connection that was begun before the server was, gives an attempt up that may be to the old one, and
// ends the pause before the next.
func (l *link) overtaken(times uint64) {
	l.mu.Lock()
	conn, giveUp, late := l.conn, l.giveUp, l.moves < times
	l.mu.Unlock()
	switch {
	case !late:
		return
	case conn != nil:
		l.hub.Stats.Followed.Add(1)
		l.replace(conn, "commands go to another server")
	default:
		giveUp()
	}
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// rest waits for d, or until the server has been replaced, and reports whether it was.
func (l *link) rest(d time.Duration) (moved bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.ctx.Done():
	case <-t.C:
	case <-l.hurry:
		return true
	}
	return false
}

// seldom is when something was said last, by its cause.
type seldom map[string]time.Duration

const (
	sayEvery  = 10 * time.Second // how often the same is said at most
	maxCauses = 32
)

// fresh reports whether it is time to say it (again).
func (s seldom) fresh(cause string, now time.Duration) bool {
	if last, ok := s[cause]; ok && now-last < sayEvery {
		return false
	}
	if len(s) >= maxCauses {
		clear(s)
	}
	s[cause] = now
	return true
}

// codeOf is the word that the server's errors begin with. What comes after it may be a channel.
func codeOf(err error) string {
	code, _, _ := strings.Cut(err.Error(), " ")
	return code
}
