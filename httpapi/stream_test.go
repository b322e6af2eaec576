package httpapi

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

func TestStreamEndsWithItsToken(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "host", nil)
	k := c.watch(1, "r", c.soon(auth.Principal{Management: true}, 2*time.Second), "")
	k.begins()
	ann.ok("set-metadata", object{"data": 1})
	e := k.next("on-metadata-change", "values.0.data", "1")
	k.over()
	eventually(t, "no streams", func() bool { return c.nodes[1].Streams() == 0 })
	ann.ok("set-metadata", object{"data": 2})
	c.watch(0, "r", c.server(), e.id).next("on-metadata-change", "values.0.data", "2")
}

func TestStreamEndsWhenItsRoleMayNotRead(t *testing.T) {
	c := newCluster(t, setup{roles: rolesOfAll(t)})
	ann := c.join(0, "r", "ann", "has.read", nil)
	c.join(0, "r", "bob", "has.read", nil)
	bob, ours := c.watch(1, "r", c.token("r", "bob", "has.read"), ""), c.watch(1, "r", c.token("r", "ann", "has.read"), "")
	bob.begins()
	ours.begins()
	c.do("PATCH", "/v1/rooms/r/peers/bob", c.server(), `{"role":"nothing"}`).is(200)
	bob.over()
	if len(bob.inbox) > 0 {
		t.Errorf("it ended with %v", bob.inbox)
	}
	ours.next("on-peer-update", "peer_id", "bob", "role", "nothing")
	events := "/v1/rooms/r/events"
	c.do("GET", events, c.token("r", "bob", "has.read"), "", "Accept", eventStream).problem(403, "forbidden")
	c.do("GET", events, c.token("r", "bob", "has.read"), "", "Accept", "application/json").problem(403, "forbidden")
	ann.open()
}

// A stream lives for longer than the server gives an answer, and its connection is good for another request.
func TestStreamOutlivesTheServersTimeouts(t *testing.T) {
	const short = 300 * time.Millisecond
	c := newCluster(t, setup{write: short, heartbeat: 20 * time.Millisecond})
	ann := c.join(0, "r", "ann", "host", nil)
	began := time.Now()
	k := c.watch(1, "r", c.server(), "")
	k.begins()
	if !k.wait(func() bool { return time.Since(began) > 3*short }) {
		t.Fatal("the stream ended")
	}
	ann.ok("set-metadata", object{"data": 1})
	k.next("on-metadata-change")
}

// endless is a reader for whom more waits whenever something was written.
type endless struct {
	http.ResponseWriter
	st     *feed
	writes int
	cancel func()
}

func (e *endless) Write(b []byte) (int, error) {
	if e.writes++; e.writes == 3 {
		e.cancel()
	}
	if e.writes < 100 {
		e.st.Send(&node.Notice{Method: "on-broadcast", Params: []byte("{}")})
	}
	return len(b), nil
}
func (e *endless) SetWriteDeadline(time.Time) error { return nil }
func (e *endless) FlushError() error                { return nil }

// A token expires, and a node stops, in the middle of whatever is going on.
func TestStreamInWhichSomethingAlwaysWaitsEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	st := &feed{wake: make(chan struct{}, 1), cancel: cancel}
	e := &endless{st: st, cancel: cancel}
	if err := st.run(ctx, &writer{w: e, rc: http.NewResponseController(e)}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if e.writes != 3 {
		t.Errorf("%d writes", e.writes)
	}
}
