package redisurl

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// readOnlyEvery is how often at most it counts that a server refuses to write: where that is for good nothing else is to be had.
const readOnlyEvery = 5 * time.Second

// errMoved is why a connection was given up right after it was opened.
var errMoved = errors.New("the master was replaced while it was being dialed")

// moves counts how often commands had to go to another server than before. The client library takes commands there, but
// leaves a subscription where it is.
type moves struct {
	named bool // servers are dialed by who is the master; else by a name, which may be of several who are all right

	mu       sync.Mutex
	times    uint64
	next     chan struct{} // closed at the next time
	server   string        // that was dialed last; "" if that is not the master any more
	told     string        // whom sentinels named last
	readOnly bool          // the server has refused to write
	refused  time.Time     // when that was counted last
}

func newMoves(named bool) *moves { return &moves{named: named, next: make(chan struct{})} }

// Moved returns how often commands have had to go to another server than before, and what is closed the next time. It is
// for who has a connection of its own that has to be to the same server: one that was opened at fewer times may not be.
func (m *moves) Moved() (times uint64, next <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.times, m.next
}

// count is called with m.mu held.
func (m *moves) count() {
	m.times++
	close(m.next)
	m.next = make(chan struct{})
}

// dialed takes note of a connection that was begun at some times. It is refused if the master was replaced meanwhile: the
// library closes connections to the old one at that moment, and would keep this one.
func (m *moves) dialed(server string, times uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case server == m.server:
		return true
	case m.named && m.times != times:
		return false
	case m.server != "" && (m.named || m.readOnly):
		m.count()
	}
	m.server, m.readOnly = server, false
	return true
}

// announced takes what a sentinel says. Several say the same, and the one that the library asks may say it last: so it
// counts for as long as another one is dialed.
func (m *moves) announced(server string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if server == m.server || m.server == "" && server == m.told {
		return
	}
	m.server, m.told = "", server
	m.count()
}

// answered takes a command's error: a master that was made a replica tells so.
func (m *moves) answered(err error) {
	if err == nil || !redis.HasErrorPrefix(err, "READONLY") {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readOnly = true
	if now := time.Now(); now.Sub(m.refused) >= readOnlyEvery {
		m.refused = now
		m.count()
	}
}

// follower is a client that says when it has gone on to another server.
type follower struct {
	*redis.Client
	*moves
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func follow(c *redis.Client, m *moves) *follower {
	c.AddHook(watcher{moves: m})
	return &follower{Client: c, moves: m, cancel: func() {}}
}

// DialServer connects to the server that commands now go to, for who has a connection of its own. It takes note of it as of the
// client's own ones.
func (f *follower) DialServer(ctx context.Context) (net.Conn, error) {
	o := f.Options()
	return watcher{moves: f.moves}.DialHook(o.Dialer)(ctx, o.Network, o.Addr)
}

// Close also ends what listens to the sentinels, and waits for that.
func (f *follower) Close() error {
	f.cancel()
	f.wg.Wait()
	return f.Client.Close()
}
