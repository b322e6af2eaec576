package httpapi

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/node"
)

// newPulse returns a wheel that only the test turns, with some connections whose writes go through at once.
func newPulse(t *testing.T, n int) (*pulse, []*conn) {
	t.Helper()
	p, wg := &pulse{}, &sync.WaitGroup{}
	p.init(1000*time.Hour, wg, testSender)
	out := make([]*conn, n)
	for i := range out {
		s := newSink()
		close(s.gate)
		out[i] = &conn{}
		out[i].init(s, testSender, new(atomic.Int64))
		p.add(out[i])
	}
	t.Cleanup(func() {
		for _, c := range out {
			p.remove(c)
		}
		wg.Wait() // its goroutine ends with the last of them
		for i, slot := range p.slots {
			if len(slot) > 0 {
				t.Errorf("slot %d keeps %d that are gone", i, len(slot))
			}
		}
	})
	return p, out
}

// sent returns how many pings a connection was sent, and whether a close frame.
func (c *conn) sent(t *testing.T) (pings int, closed bool) {
	t.Helper()
	s, ok := c.nc.(*sink)
	if !ok {
		t.Fatal("no sink")
	}
	eventually(t, "the outbox is empty", func() bool {
		c.outbox.mu.Lock()
		defer c.outbox.mu.Unlock()
		return c.state == resting
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writes {
		pings += bytes.Count(w, pingFrame)
		closed = closed || w[0] == 0x80|byte(ws.OpClose)
	}
	return pings, closed
}

func TestPulse(t *testing.T) {
	p, conns := newPulse(t, 4)
	busy, silent, answers, once := conns[0], conns[1], conns[2], conns[3]
	answered := 0
	closedAt := 0
	for turn := 1; turn <= 10*pulseTurns; turn++ {
		p.turn()
		p.heard(busy)
		if pings, _ := answers.sent(t); pings > answered {
			answered = pings
			p.heard(answers)
		}
		if turn == 2*pulseTurns+1 { // with one ping unanswered, the next on its way
			p.heard(once)
		}
		if _, closed := silent.sent(t); closed && closedAt == 0 {
			closedAt = turn
		}
	}
	for name, tt := range map[string]struct {
		c      *conn
		pings  int
		closed bool
	}{
		"busy": {busy, 0, false}, "silent": {silent, maxUnanswered, true}, "answers": {answers, 10, false},
		"once": {once, 2 * maxUnanswered, true},
	} {
		if pings, closed := tt.c.sent(t); pings != tt.pings || closed != tt.closed {
			t.Errorf("%s: %d pings, closed %v", name, pings, closed)
		}
	}
	if closedAt != (maxUnanswered+1)*pulseTurns {
		t.Errorf("the silent one is closed in turn %d", closedAt)
	}
	if !answers.open() || silent.open() {
		t.Error("the wrong one is closed")
	}
}

// What the wheel costs in a turn goes by who is due, not by who is there.
func TestPulseOfMany(t *testing.T) {
	p, conns := newPulse(t, 5*pulseTurns)
	for i, c := range conns {
		p.mu.Lock()
		delete(p.slots[c.beat.slot], c)
		p.put(c, int64(1+i%pulseTurns)) // as if each had come in a turn of its own
		p.mu.Unlock()
	}
	for range 3 * pulseTurns {
		p.turn()
		for _, c := range conns {
			p.heard(c)
		}
		most := 0
		for _, s := range p.slots {
			most = max(most, len(s))
		}
		if most > 10 { // the first of them have two
			t.Fatalf("%d are due in one turn", most)
		}
	}
	for _, c := range conns {
		if pings, closed := c.sent(t); pings != 0 || closed {
			t.Errorf("%d pings, closed %v", pings, closed)
		}
	}
}

// A client that is alive answers by itself; one that is gone without a word is closed, and its peer's place given up.
func TestDeadPath(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, silence: 100 * time.Millisecond})
	ann := c.join(0, "r", "ann", "guest", nil)
	bob := c.connect(0, "r", "bob", "guest")
	bob.mute = true
	bob.ok("join", nil)
	ann.hears("on-peer-join", "peer_id", "bob")
	bob.closed(node.CloseTooSlow)
	eventually(t, "bob's place is given up", func() bool { return c.nodes[0].node.Members() == 1 })
	if !ann.wait(func() bool { return ann.pings > 5 }) {
		t.Errorf("ann was sent %d pings", ann.pings)
	}
	ann.open()
}
