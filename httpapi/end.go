package httpapi

import (
	"errors"
	"time"

	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/node"
)

const (
	// closeTimeout is how long the other side has to answer a close frame.
	closeTimeout = 2 * time.Second
	// maxDiscard bounds what is read of a connection that is being closed.
	maxDiscard = 4 << 20
	// discardStep is how much of that is read while others wait.
	discardStep = 64 << 10
)

// end ends the membership, and closes the connection by a code; 0 if its socket has ended already. It is the last that serve does but
// for what may be left to linger.
func (c *conn) end(code node.CloseCode, reason string) {
	c.srv.sender.gather(c.fiber) // who has waited is in another round by now
	if code != 0 {
		c.Close(code, reason)
	}
	c.uncork() // a fault may have kept the reader from that
	c.cancel()
	if c.later.Load() > 0 || c.member != nil && c.member.Busy() {
		c.fiber.Leave()
	}
	c.calls.Wait()
	if c.member != nil { // before the other side has time to answer the close
		c.member.Drop()
	}
	c.mu.Lock()
	c.over = true
	c.wind()
	c.mu.Unlock()
	if code == 0 {
		c.done()
		return
	}
	c.lingering = true
	c.linger()
}

// linger drops what still comes until the other side has closed, too, or it is time: unread input would make the kernel reset the
// connection, and the close frame could be lost with it. While nothing comes the connection is parked, if it can be.
func (c *conn) linger() {
	for {
		c.borrow()
		n, err := c.br.Discard(min(discardStep, maxDiscard-c.discarded))
		c.discarded += n
		switch {
		case errors.Is(err, netpoll.ErrNothing):
			if c.park() {
				return
			}
		case err == nil && c.discarded < maxDiscard:
			c.fiber.Leave()
		default:
			c.done()
			return
		}
	}
}

// done closes the socket.
func (c *conn) done() {
	if !c.quiet() {
		c.fiber.Leave()
	}
	c.hangUp()
	if c.implicit != nil {
		c.implicit.stop()
	}
	c.srv.forget(c)
}

func (c *conn) hangUp() {
	c.giveBack()
	c.shut()
	if c.sock.adopted {
		c.srv.alarms.set(&c.sock.alarm, &c.sock, time.Time{})
	}
	c.sock.unwatch()
	_ = c.nc.Close()
}

// turnAway closes a connection that nothing serves.
func (c *conn) turnAway(code node.CloseCode, reason string) {
	c.Close(code, reason)
	go func() { // ends within closeTimeout
		c.borrow()
		_, _ = c.br.Discard(maxDiscard)
		c.hangUp()
		c.cancel()
	}()
}
