package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

func (n *Node) waits(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// While a stopping node waits, comparisons with the store may find more that are to be handed over.
func TestHandOversComeWhileOthersAreWaitedFor(t *testing.T) {
	n := newNode(t, Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				n.handOver("r", fmt.Sprint("p", i), "secret")
				n.waits(t)
			}
		})
	}
	wg.Wait()
	n.handover.mu.Lock()
	defer n.handover.mu.Unlock()
	if n.handover.owed != 0 {
		t.Errorf("owed: %d, waiting: %v", n.handover.owed, n.handover.waiting)
	}
}

// A socket may outlive the time that a stopping node gives it.
func TestAHandOverThatComesAfterTheNodeIsClosed(t *testing.T) {
	n := newNode(t, Options{})
	n.Close()
	for range 2 {
		n.handOver("r", "p", "secret")
		n.waits(t)
	}
}
