package httpapi

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/node"
)

// lastCall is a hook: the next script of room r, once meanwhile is set, is not answered, and that happens before its caller is told.
type lastCall struct {
	onCalls
	meanwhile atomic.Pointer[func()]
}

// ProcessHook implements redis.Hook.
func (l *lastCall) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !aboutRoom(cmd.Args(), "r") {
			return next(ctx, cmd)
		}
		f := l.meanwhile.Swap(nil)
		if f == nil {
			return next(ctx, cmd)
		}
		(*f)()
		return errors.New("away")
	}
}

// ends has the membership of a peer's socket end by something else while its next call is under way.
func (l *lastCall) ends(t *testing.T, n *testNode, peer string) {
	t.Helper()
	conn := n.socket(t, peer)
	f := func() { conn.member.Lost() } // called by whoever reads what the peer sends
	l.meanwhile.Store(&f)
}

// A leave that fails is answered, whatever else ends the membership meanwhile: that comes after the reply.
func TestReplyToALeaveThatFails(t *testing.T) {
	hook := &lastCall{}
	c := newCluster(t, setup{nodes: 1, hook: hook})
	bob := c.join(0, "r", "bob", "guest", nil)
	hook.ends(t, c.nodes[0], "bob")
	if reply := bob.call("leave", object{}); at(t, reply, "error.data.reason") == absent {
		t.Error(reply)
	}
	bob.closed(node.CloseLost)
}

// So is the join of a client of 100ms that was given its membership back.
func TestReplyToAJoinAnewThatFails(t *testing.T) {
	hook := &lastCall{}
	c := newCluster(t, setup{nodes: 1, limits: patient, hook: hook})
	c.hmsJoin(0, "r", "ann", "guest").drop()
	c.gone(0)
	ann := c.comesBack(0, "guest")
	hook.ends(t, c.nodes[0], "ann")
	if reply := ann.call("join", object{}); at(t, reply, "error.data.reason") == absent {
		t.Error(reply)
	}
	ann.closed(node.CloseLost)
}
