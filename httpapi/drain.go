package httpapi

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

const (
	// drainTick is how often a stopping node closes those whose turn has come.
	drainTick = 50 * time.Millisecond
	// drainRate is how many connections a second it closes at least: a node that has few doesn't take its whole time.
	drainRate = 50
)

// guest is what is open on a node that stops: a WebSocket or a stream. Its methods don't block.
type guest interface {
	// farewell tells it after how long to come back: it will have been closed by then.
	farewell(back time.Duration)
	// dismiss closes it.
	dismiss()
}

// Drain ends all that is open in an orderly way: the node is not ready any more and takes no new WebSockets and streams;
// those that are open are told by on-drain when to come back; then they are closed in random order, WebSockets with 1001,
// evenly over three quarters of within, or faster if they are few (drainRate), so that the other nodes are not met by all
// of them at once. Until its turn comes a connection works as ever, a join included. Drain returns when all have ended, or
// ctx has. Their peers are then on their way to grace: see node.Node.Wait.
func (s *Server) Drain(ctx context.Context, within time.Duration) error {
	sendAway(ctx, s.refuse(), within*3/4)
	return s.Close(ctx)
}

// refuse makes the server take no new connections, and returns those that it has.
func (s *Server) refuse() []guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	out := make([]guest, 0, len(s.conns)+len(s.streams))
	for c := range s.conns {
		out = append(out, c)
	}
	for st := range s.streams {
		out = append(out, st)
	}
	return out
}

// stopping reports whether the node takes no new connections any more.
func (s *Server) stopping() bool { return s.draining.Load() }

// errStopping is what a new connection is told.
func errStopping() error {
	return &hearth.Error{Reason: hearth.ReasonUnavailable, Detail: "the node is stopping", RetryAfter: time.Second}
}

// sendAway dismisses the guests one after the other, the last after `most` or sooner, or until ctx ends.
func sendAway(ctx context.Context, guests []guest, most time.Duration) {
	n := len(guests)
	if n == 0 {
		return
	}
	rand.Shuffle(n, func(i, j int) { guests[i], guests[j] = guests[j], guests[i] }) //nolint:gosec // only spread
	most = min(most, time.Duration(n)*time.Second/drainRate)
	began := time.Now()
	for i, g := range guests {
		turn := most * time.Duration(i+1) / time.Duration(n)
		g.farewell(turn + drainTick + rand.N(drainTick)) //nolint:gosec // only spread
	}
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for gone := 0; gone < n; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := n
		if past := time.Since(began); past < most {
			due = int(float64(n) * float64(past) / float64(most))
		}
		for ; gone < due; gone++ {
			guests[gone].dismiss()
		}
	}
}

func drainParams(back time.Duration) func(dst []byte) []byte {
	return func(dst []byte) []byte {
		return append(strconv.AppendInt(append(dst, `{"reconnect_after_ms":`...), back.Milliseconds(), 10), '}')
	}
}

func (c *conn) farewell(back time.Duration) {
	c.prompt(EncodeNotification("on-drain", drainParams(back)))
}

func (c *conn) dismiss() {
	c.Close(node.CloseGoingAway, "the node is going away: reconnect and resume")
}

func (st *feed) farewell(back time.Duration) {
	st.Snapshot(&node.Notice{Method: "on-drain", Params: drainParams(back)(nil)})
}

func (st *feed) dismiss() { st.End(nil) }
