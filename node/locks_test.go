package node

import (
	"log/slog"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// What a node hears late of a holding that is over is not what a later call waits for.
func TestWaitIsNotEndedByAnEarlierHolding(t *testing.T) {
	ctx := t.Context()
	st, err := store.New(ctx, redistest.Mini(t).Client(t), store.Options{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	n := &Node{store: st, roles: auth.DefaultRoles(), ctx: ctx, log: slog.New(slog.DiscardHandler)}
	n.leases = newLeases(n)
	n.sweeper.init(n)
	inc, err := n.leases[0].incarnation(ctx)
	if err != nil {
		t.Fatal(err)
	}
	join := func(id string) *Member {
		t.Helper()
		q := store.JoinRequest{Room: "r", Peer: hearth.Peer{ID: id, User: id, Role: "guest"}, Conn: hearth.NewConnSecret(), Incarnation: inc.id}
		j, err := st.Join(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		p := &auth.Principal{Room: "r", User: id, Role: "guest"}
		return &Member{node: n, session: j.ID, principal: p, room: "r", conn: hearth.ConnID{Secret: q.Conn, Peer: id}, view: view{role: "guest"}, inc: inc}
	}
	ann, bob := join("ann"), join("bob")
	q := AcquireParams{Lock: "l", TTL: time.Minute}
	take := func(m *Member) Held {
		t.Helper()
		held, _, err := m.Acquire(ctx, "", q, 0)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	release := func(m *Member, h Held) {
		t.Helper()
		if err := n.ReleaseLock(ctx, m.Caller(""), hearth.Holding{Name: "l", Token: h.Token}); err != nil {
			t.Fatal(err)
		}
	}
	acquired := func(token uint64) *change {
		lock := &hearth.LockChange{Name: "l", State: hearth.LockAcquired, Token: token}
		return &change{Event: hearth.Event{Kind: hearth.KindLock, Peer: "ann", Lock: lock}}
	}
	old := take(ann)
	release(ann, old)
	his := take(bob)
	_, wait, err := ann.Acquire(ctx, "", q, time.Minute)
	if err != nil || wait == nil {
		t.Fatalf("%v, %v", wait, err)
	}
	ann.given(acquired(old.Token))
	release(bob, his)
	now, err := st.RenewLock(ctx, "r", ann.fence(), hearth.Holding{Name: "l", Token: his.Token + 2}, 0, "ann")
	if err != nil {
		t.Fatal(err)
	}
	ann.given(acquired(now.Token))
	if held, err := wait.End(ctx); err != nil || held.Token != now.Token {
		t.Errorf("given %d, %v, not %d; the one before was %d", held.Token, err, now.Token, old.Token)
	}

	// One of the old holding alone ends no wait, and two calls that give up together leave the queue.
	release(ann, now)
	his = take(bob)
	_, first, err := ann.Acquire(ctx, "", q, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := ann.Acquire(ctx, "", q, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	ann.given(acquired(now.Token))
	for _, w := range []*Wait{first, second} {
		if held, err := w.End(ctx); hearth.ReasonOf(err) != hearth.ReasonLockHeld {
			t.Errorf("given %d, %v", held.Token, err)
		}
	}
	_, locks, err := st.Locks(ctx, "r", "")
	if err != nil || len(locks) != 1 || locks[0].Token != his.Token || locks[0].Waiters != 0 {
		t.Errorf("%+v, %v", locks, err)
	}
	if len(ann.waits) != 0 {
		t.Errorf("%d waits are left", len(ann.waits))
	}
}
