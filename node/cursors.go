package node

import (
	"sync"
	"time"

	"github.com/hearthstore/hearth"
)

// cursorEvery is how often a member that is shown nothing is told how far it is, at most.
const cursorEvery = 30 * time.Second

// cursors tells members how far they are when changes came and none was for them, so that who resumes after a long
// silence doesn't ask for more than the log has. A member is on the list from the first change that it was not shown until
// its time has come, cursorEvery later; if it was shown another one since, it knows by that. One goroutine does it for all
// members of the node, and a member whose room is silent costs nothing.
type cursors struct {
	every  time.Duration
	encode func(method string, params func(dst []byte) []byte) []byte
	wake   chan struct{}

	mu   sync.Mutex
	list []due // the first is due first: all wait equally long
}

type due struct {
	m  *Member
	at time.Time
}

// idle is a member's part of it; guarded by the member.
type idle struct {
	listed bool
	known  uint64 // the newest seq whose cursor its client has or was sent
}

func (i *idle) knows(seq uint64) { i.known = max(i.known, seq) }

func (c *cursors) init(every time.Duration, encode func(method string, params func(dst []byte) []byte) []byte) {
	c.every, c.encode, c.wake = every, encode, make(chan struct{}, 1)
}

// moved takes note that a change came that the member was not shown. m.mu is held.
func (c *cursors) moved(m *Member) {
	if m.idle.listed {
		return
	}
	m.idle.listed = true
	c.mu.Lock()
	c.list = append(c.list, due{m, time.Now().Add(c.every)})
	first := len(c.list) == 1
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// tell tells those whose time has come, and returns in how long the next one's comes.
func (c *cursors) tell(now time.Time) (wait time.Duration, more bool) {
	c.mu.Lock()
	n := 0
	for n < len(c.list) && !c.list[n].at.After(now) {
		n++
	}
	batch := c.list[:n:n]
	c.list = c.list[n:]
	if more = len(c.list) > 0; more {
		wait = c.list[0].at.Sub(now)
	} else {
		c.list = nil
	}
	c.mu.Unlock()
	var at hearth.Cursor // members of one room are mostly at the same
	var frame []byte
	for i := range batch {
		m := batch[i].m
		m.mu.Lock()
		m.idle.listed = false // by what comes from here on it is listed again
		m.mu.Unlock()
		if pos := m.sub.At(); pos != at {
			at, frame = pos, nil
		}
		m.mu.Lock()
		// If it was shown something since, it knows a newer one.
		if !m.over && at.Seq > m.idle.known {
			if frame == nil {
				frame = c.encode("on-cursor", func(dst []byte) []byte {
					return append(append(append(dst, `{"cursor":"`...), at.String()...), `"}`...)
				})
			}
			m.idle.knows(at.Seq)
			m.sink.Send(frame)
		}
		m.mu.Unlock()
	}
	return wait, more
}
