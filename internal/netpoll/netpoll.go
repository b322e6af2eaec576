// Package netpoll tells when sockets can be read, so that nobody has to stand by each of them: an idle connection costs
// an entry here instead of a goroutine with its stack and buffers. It is there on Linux, by epoll; elsewhere New says
// ErrUnsupported, and a goroutine has to read. It knows nothing of what is read.
package netpoll

import (
	"errors"

	"github.com/hearthstore/hearth/internal/fiber"
)

// ErrUnsupported is what New returns where there is no poller.
var ErrUnsupported = errors.New("netpoll: not on this system")

// ErrNothing is what Reader.Read returns if nothing is there yet.
var ErrNothing = errors.New("netpoll: nothing to read")

// Waiter is told that something has come to its socket: bytes, or its end.
type Waiter interface {
	// Ready is called by one goroutine of the poller's, always the same, in a round with all whom that tells at the same time. It must not
	// block.
	// It may come when what it tells of has been read.
	Ready(r *fiber.Round)
}
