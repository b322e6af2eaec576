package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/node"
)

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
