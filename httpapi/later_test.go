package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/node"
)

// taskFunc is a task of a test's.
type taskFunc func(f *fiber.Fiber)

func (serve taskFunc) serve(f *fiber.Fiber) { serve(f) }

// What a call that is answered later fails with is told to its client, whoever is served by the fiber that its own call was done by.
func TestFailureOfALaterAnswer(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	bob := c.join(0, "r", "bob", "guest", nil)
	s := c.nodes[0]
	conn := s.socket(t, "bob")
	eventually(t, "it is parked", func() bool { return conn.sock.handle == nil || conn.sock.state.Load() == parked })
	k := &call{conn: conn, method: "lock-acquire", later: func() ([]byte, error) {
		return nil, hearth.Errorf(hearth.ReasonUnavailable, "the store is away")
	}}
	var round fiber.Round
	s.fibers.Run(&round, taskFunc(func(f *fiber.Fiber) { // somebody else's, who does not leave
		if conn.sock.handle != nil {
			conn.fiber = f
		}
		told := make(chan struct{})
		conn.calls.Go(func() {
			defer close(told)
			k.finishLater(json.RawMessage("99"), time.Now())
		})
		<-told
		if !f.Inline() {
			t.Error("it has left")
		}
	}))
	has(t, "the late answer", bob.replyTo("99"), "error.data.reason", "unavailable")
	bob.ok("ping", nil)
	if strings.Contains(c.logs.String(), "panic") {
		t.Error(c.logs.String())
	}
}

// A fault in a call that is answered later ends its connection, as one in any other call does, and no other.
func TestPanicInALaterAnswer(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	ann := c.join(0, "r", "ann", "guest", nil)
	bob := c.join(0, "r", "bob", "guest", nil)
	s := c.nodes[0]
	s.mu.Lock()
	for one := range s.conns {
		if one.wanted == "bob" {
			k := &call{conn: one, later: func() ([]byte, error) { panic("a fault") }}
			one.calls.Go(func() { k.finishLater(json.RawMessage("1"), time.Now()) })
		}
	}
	s.mu.Unlock()
	bob.closed(node.CloseInternal)
	ann.hears("on-peer-join")
	ann.hears("on-peer-leave", "peer_id", "bob", "reason", "timed_out")
	if !strings.Contains(c.logs.String(), "a fault") {
		t.Error("it is not logged")
	}
}

// A peer may refresh its token while its calls wait, and end.
func TestTokenIsRefreshedWhileALockIsWaitedFor(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	ann := c.join(0, "r", "ann", "guest", nil)
	bob := c.join(0, "r", "bob", "guest", nil)
	ann.ok("lock-acquire", object{"name": "l", "ttl_ms": 60000})
	token := c.token("r", "bob", "guest")
	for range 20 {
		waits := bob.later(`{"name":"l","ttl_ms":1000,"wait_ms":1}`)
		for range 5 {
			bob.ok("refresh-token", object{"token": token})
		}
		has(t, "the wait", bob.replyTo(waits), "error.data.reason", "lock_held")
	}
}
