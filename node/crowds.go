package node

import (
	"strconv"
	"sync"
	"time"

	"github.com/hearthstore/hearth/auth"
)

// countEvery is how often a session's members are told how many peers there are, at most.
const countEvery = time.Second

// crowds tells the members of large rooms how many peers there are, instead of each who comes and goes. A member that
// hears of a change of the count is put on its session's list; the list is told together, by one frame, at once if nobody
// was told for countEvery, else when that is over. One goroutine does it for all sessions of the node.
type crowds struct {
	encode func(method string, params func(dst []byte) []byte) []byte
	wake   chan struct{}

	mu    sync.Mutex
	large map[string]*crowd // by session_id; one is kept for countEvery after its last change
}

// crowd is one session's part of it.
type crowd struct {
	room  string
	seq   uint64 // of the change that gave the count
	count int
	next  time.Time // when its members may be told again
	told  []*Member // who is to be told then
}

func (c *crowds) init(encode func(method string, params func(dst []byte) []byte) []byte) {
	c.encode, c.wake, c.large = encode, make(chan struct{}, 1), map[string]*crowd{}
}

// changed takes note that a member has heard of a count. m.mu may be held.
func (c *crowds) changed(m *Member, seq uint64, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.large[m.session]
	if s == nil {
		s = &crowd{room: m.room}
		c.large[m.session] = s
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	if seq >= s.seq {
		s.seq, s.count = seq, count
	}
	if !m.counted {
		m.counted = true
		s.told = append(s.told, m)
	}
}

// tell tells those whose time has come, and returns in how long the next one's comes.
func (c *crowds) tell(now time.Time) (wait time.Duration, more bool) {
	type batch struct {
		frame   []byte
		members []*Member
	}
	var due []batch
	c.mu.Lock()
	for session, s := range c.large {
		if !s.next.After(now) {
			if len(s.told) == 0 {
				delete(c.large, session)
				continue
			}
			due = append(due, batch{c.frame(session, s), s.told})
			for _, m := range s.told {
				m.counted = false
			}
			s.told, s.next = nil, now.Add(countEvery)
		}
		if d := s.next.Sub(now); !more || d < wait {
			wait, more = d, true
		}
	}
	c.mu.Unlock()
	for _, b := range due {
		for _, m := range b.members {
			m.notify(b.frame)
		}
	}
	return wait, more
}

func (c *crowds) frame(session string, s *crowd) []byte {
	return c.encode("session-info", func(dst []byte) []byte {
		dst = append(append(append(dst, `{"session_id":"`...), session...), `","room_id":"`...)
		dst = append(append(dst, s.room...), `","peer_count":`...)
		return append(strconv.AppendInt(dst, int64(s.count), 10), `,"track_count":0}`...)
	})
}

// notify sends a notification that is no change of the session.
func (m *Member) notify(frame []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.over {
		m.sink.Send(frame)
	}
}

// ListenPeers makes the member hear of each join, update and leave in a large room, or not any more. In a room that is not
// large everybody does. Peers that came before are not told: see FindPeers.
func (m *Member) ListenPeers(all bool) error {
	if err := m.node.allow(m.Caller(""), auth.Read); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view.allPeers = all
	return nil
}
