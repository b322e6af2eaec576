package redistest

import (
	"errors"
	"testing"

	"github.com/hearthstore/hearth/internal/netpoll"
)

// Poller returns a poller for what is read of the server; nil for the embedded one, whose connections goroutines read: what is run
// on each is so run in both ways.
func (s *Server) Poller(tb testing.TB) *netpoll.Poller {
	tb.Helper()
	if s.Mini != nil {
		return nil
	}
	return Poller(tb)
}

// Poller returns a poller of several goroutines; nil on a system without one.
func Poller(tb testing.TB) *netpoll.Poller {
	tb.Helper()
	p, err := netpoll.New(2)
	if errors.Is(err, netpoll.ErrUnsupported) {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}
