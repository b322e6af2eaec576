package httpapi

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/node"
)

const (
	// silence is after how long without a word from it a WebSocket is sent a ping.
	silence = 25 * time.Second
	// maxUnanswered is how many pings may stay unanswered, each for as long as that, before it is given up. A dead path is
	// so noticed within 75 s and a turn; TCP alone would take minutes, or for ever where a proxy lies in between.
	maxUnanswered = 2
	// pulseTurns is how many turns of the wheel there are in a silence.
	pulseTurns = 25
)

var pingFrame = ws.MustCompileFrame(ws.NewPingFrame(nil))

// pulse finds connections whose other side is gone without a word. It is a wheel of slots, one of which has its turn at a
// time: whoever was heard since it was put there is put into the slot of its next silence, the others are sent a ping. One
// goroutine turns the wheel for all, while there are any.
type pulse struct {
	every time.Duration // a turn
	now   atomic.Int64  // turns so far

	wg     *sync.WaitGroup // its goroutine's
	sender *Sender         // of the pings

	mu    sync.Mutex
	slots [pulseTurns + 1]map[*conn]struct{}
	count int
	end   chan struct{} // ends the goroutine
}

// beat is a connection's part of it.
type beat struct {
	heard atomic.Int64 // the turn in which something came last

	// Guarded by the wheel.
	slot       int
	asked      int64 // the turn of its last ping
	unanswered int
}

func (p *pulse) init(silence time.Duration, wg *sync.WaitGroup, sender *Sender) {
	p.every, p.wg, p.sender = silence/pulseTurns, wg, sender
	for i := range p.slots {
		p.slots[i] = map[*conn]struct{}{}
	}
}

func (p *pulse) add(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard(c)
	p.put(c, p.now.Load()+pulseTurns)
	if p.count++; p.count == 1 {
		end := make(chan struct{})
		p.end = end
		p.wg.Go(func() { p.run(end) })
	}
}

func (p *pulse) put(c *conn, turn int64) {
	c.beat.slot = int(turn % int64(len(p.slots)))
	p.slots[c.beat.slot][c] = struct{}{}
}

func (p *pulse) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.slots[c.beat.slot], c)
	if p.count--; p.count == 0 {
		close(p.end)
	}
}

// heard takes note that something came.
func (p *pulse) heard(c *conn) { c.beat.heard.Store(p.now.Load()) }

// run turns the wheel until the last connection has gone.
func (p *pulse) run(end <-chan struct{}) {
	t := time.NewTicker(p.every)
	defer t.Stop()
	for {
		select {
		case <-end:
			return
		case <-t.C:
			p.turn()
		}
	}
}

// turn gives the next slot its turn.
func (p *pulse) turn() {
	p.mu.Lock()
	now := p.now.Add(1)
	slot := &p.slots[now%int64(len(p.slots))]
	due := *slot
	*slot = map[*conn]struct{}{}
	var silent, dead []*conn
	for c := range due {
		b := &c.beat
		heard := b.heard.Load()
		if heard >= b.asked {
			b.unanswered = 0
		}
		next := heard + pulseTurns
		switch {
		case next > now:
		case b.unanswered < maxUnanswered:
			b.unanswered++
			b.asked = now
			silent = append(silent, c)
			next = now + pulseTurns
		default:
			dead = append(dead, c)
			next = now + pulseTurns // should it still be there
		}
		p.put(c, next)
	}
	p.mu.Unlock()
	p.sender.Begin()
	defer p.sender.End()
	for _, c := range silent {
		c.prompt(pingFrame)
	}
	for _, c := range dead {
		c.Close(node.CloseTooSlow, "no ping was answered: reconnect and resume")
	}
}
