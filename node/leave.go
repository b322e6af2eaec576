package node

import (
	"context"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// lateJoin is for how long a join that was not answered may still arrive at the store.
const lateJoin = 30 * time.Second

// leaveLater ends a membership whose socket is gone, however often the store has to be asked: a leave that is lost would
// leave a ghost. The fence makes repeats harmless. Before `doubt` is over, that there is no such member proves nothing.
func (n *Node) leaveLater(room string, w store.Writer, reason hearth.LeaveReason, doubt time.Duration) {
	began := time.Now()
	n.owed.Add(1)
	n.wg.Go(func() {
		defer n.owed.Done()
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			ctx, cancel := context.WithTimeout(n.ctx, CallTimeout)
			_, err := n.store.Leave(ctx, room, w, reason)
			cancel()
			switch hearth.ReasonOf(err) {
			case "":
				return
			case hearth.ReasonNotMember, hearth.ReasonSessionEnded, hearth.ReasonNoSession:
				if time.Since(began) >= doubt {
					return
				}
			default:
				n.log.Warn("a leave is not confirmed", "room", room, "peer", w.Peer, "error", err)
			}
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	})
}

// Wait returns when every leave that is owed has been confirmed, or ctx ends. Nothing may join meanwhile.
func (n *Node) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // ends with the leaves, which Close ends at the latest
		n.owed.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
