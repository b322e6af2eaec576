package node

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

func TestOwnClock(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	m, s := w.enter("r", "ann")
	first := m.inc.id
	if _, _, err := m.Listen(t.Context(), hearth.Patterns{"k"}); err != nil {
		t.Fatal(err)
	}
	w.meddler.on("tick", stuck) // cut off
	await(t, "no tick is under way", func() bool { m.inc.leaves(leaseMargin - time.Millisecond); return !m.inc.reliable() })
	_, _, err := m.Listen(t.Context(), hearth.Patterns{"k"})
	if e := hearth.AsError(err); hearth.ReasonOf(err) != hearth.ReasonUnavailable || e.RetryAfter <= 0 {
		t.Errorf("shortly before the end: %v", err)
	}
	if _, err := w.Set(t.Context(), m.Caller(""), "k", []byte("1"), nil, hearth.Life{}); hearth.ReasonOf(err) != hearth.ReasonUnavailable {
		t.Errorf("a write shortly before the end: %v", err)
	}
	m.inc.leaves(0)
	s.is(t, CloseTryLater)
	m.Drop()
	w.meddler.on("tick", nil)
	m, _ = w.enter("r", "ann")
	if m.inc.id == first || !m.Resumed {
		t.Errorf("it came back by %s after %s, taken over %t", m.inc.id, first, m.Resumed)
	}
	if inc, _ := w.inc("r", "ann"); inc != m.inc.id {
		t.Errorf("the store has it at %s", inc)
	}
}

func TestARenewalConfirmedLateCountsFromItsSending(t *testing.T) {
	i := &incarnation{}
	sent := time.Now().Add(-10 * time.Second)
	i.renewed(sent, 15*time.Second)
	if left := i.left(); left > 5*time.Second || left < 0 && left > -patience {
		t.Errorf("%s is left", left)
	}
	i.renewed(sent.Add(-time.Second), 15*time.Second) // another one, confirmed out of order
	if until := time.Duration(i.until.Load()); until != sent.Add(15*time.Second).Sub(began) {
		t.Errorf("until %s", until)
	}
	i.ended.Store(true)
	if i.left() != 0 || i.reliable() {
		t.Error("it lives on after its end")
	}
}

// While nobody is here a lease is not renewed. Who joins then must not be closed at the end that it had.
func TestALeaseThatRanDownIsRenewedBeforeAJoin(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	m, _ := w.enter("r", "ann")
	inc := m.inc
	m.Drop()
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	lease := w.Limits().NodeLease
	tick := tickEvery(lease)
	for _, left := range []time.Duration{leaseMargin + time.Second, lease - 3*tick, lease - 2*tick + tick/4} {
		inc.leaves(left)
		if m, _ = w.enter("r", "ann"); m.inc != inc {
			t.Errorf("with %s left another incarnation began", left)
		}
		if inc.left() < lease-tick {
			t.Errorf("with %s left it was not renewed: %s", left, inc.left())
		}
		m.Drop()
		if err := w.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	inc.leaves(lease - tick) // as while somebody is here: a join costs one script
	before := w.meddler.count("tick")
	w.enter("r", "ann")
	if n := w.meddler.count("tick") - before; n != 0 {
		t.Errorf("a fresh lease was renewed %d times", n)
	}
}

func TestAJoinOfAnIncarnationThatHasLapsedIsRepeatedOnce(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	m, s := w.enter("r", "ann")
	lapse := func() {
		if err := w.raw.Del(t.Context(), w.key("r", "nodes")).Err(); err != nil {
			t.Error(err)
		}
	}
	lapse()
	bob, _ := w.enter("r", "bob")
	if bob.inc == m.inc {
		t.Error("bob joined by what has ended")
	}
	s.is(t, CloseLost) // ann's socket, of which the store doesn't hold anything any more
	before := w.meddler.count("join")
	w.meddler.on("join", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		lapse()
		return next(ctx, cmd)
	})
	if _, _, err := w.tryEnter("r", "cid"); hearth.ReasonOf(err) != hearth.ReasonUnavailable {
		t.Errorf("gave %v", err)
	}
	if n := w.meddler.count("join") - before; n != 2 {
		t.Errorf("tried %d times", n)
	}
	w.meddler.on("join", nil)
	if _, there := w.inc("r", "cid"); there {
		t.Error("cid is there all the same")
	}
	w.enter("r", "cid")
}

// A join that was on its way for longer than its caller waits does nothing; one that was late only because the store's clock was
// set is repeated.
func TestAJoinThatIsLate(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	w.enter("r", "ann")
	slow, ahead := 1, time.Duration(0)
	w.meddler.on("join", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		if slow > 0 {
			slow, ahead = slow-1, ahead+joinPatience+time.Second
			w.server.Mini.SetTime(time.Now().Add(ahead))
		}
		return next(ctx, cmd)
	})
	before := w.meddler.count("join")
	w.enter("r", "bob")
	if n := w.meddler.count("join") - before; n != 2 {
		t.Errorf("tried %d times after the clock was set", n)
	}
	before, slow = w.meddler.count("join"), 2
	_, _, err := w.tryEnter("r", "cid")
	if e := hearth.AsError(err); hearth.ReasonOf(err) != hearth.ReasonUnavailable || e.RetryAfter <= 0 {
		t.Errorf("gave %v", err)
	}
	if n := w.meddler.count("join") - before; n != 2 {
		t.Errorf("tried %d times", n)
	}
	if _, there := w.inc("r", "cid"); there {
		t.Error("cid is there all the same")
	}
	slow = 1
	if _, err := w.JoinLeased(t.Context(), &auth.Principal{Room: "r", User: "u", Role: "host"}, "", "", JoinParams{Room: "r"}, 0); err != nil {
		t.Errorf("over HTTP: %v", err)
	}
}

func TestAHandOverThatIsLostIsRepaired(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	ann, _ := w.enter("r", "ann")
	w.enter("r", "bob")
	w.meddler.on("hand_over", func(_ context.Context, cmd redis.Cmder, _ redis.ProcessHook) error {
		if c, ok := cmd.(*redis.Cmd); ok {
			c.SetVal([]any{"ok", int64(1)})
		}
		return nil
	})
	ann.Drop()
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.isAway("r", "ann") {
		t.Fatal("it was not lost")
	}
	w.meddler.on("hand_over", nil)
	w.compareOnce()
	await(t, "ann is handed over", func() bool { return w.isAway("r", "ann") })
	if w.isAway("r", "bob") {
		t.Error("so is bob, who has a socket")
	}
}

func TestAHandOverIsRepeatedUntilItIsConfirmed(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	ann, _ := w.enter("r", "ann")
	var tries atomic.Int64
	w.meddler.on("hand_over", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		switch tries.Add(1) {
		case 1:
			cmd.SetErr(errors.New("LOADING Redis is loading the dataset in memory"))
		case 2: // done, and the answer is lost
			_ = next(ctx, cmd)
			cmd.SetErr(context.DeadlineExceeded)
		default:
			return next(ctx, cmd)
		}
		return cmd.Err()
	})
	ann.Drop()
	if err := w.Wait(t.Context()); err != nil || tries.Load() < 3 || !w.isAway("r", "ann") {
		t.Errorf("%v, %d tries, away %t", err, tries.Load(), w.isAway("r", "ann"))
	}
}

// A join whose answer never came may be executed at any time after: by then it is refused, or found by a comparison.
func TestZombieJoin(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	w.enter("r", "bob")
	var args []any
	w.meddler.on("join", func(_ context.Context, cmd redis.Cmder, _ redis.ProcessHook) error {
		args = cmd.Args()
		cmd.SetErr(context.DeadlineExceeded)
		return cmd.Err()
	})
	if _, _, err := w.tryEnter("r", "eve"); hearth.ReasonOf(err) != hearth.ReasonOutcomeUnknown {
		t.Fatalf("gave %v", err)
	}
	w.meddler.on("join", nil)
	if err := w.Wait(t.Context()); err != nil { // its hand-over has met nobody
		t.Fatal(err)
	}
	if err := w.raw.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	if inc, there := w.inc("r", "eve"); !there || inc == "" {
		t.Fatal("it did not join")
	}
	w.compareOnce()
	await(t, "eve is handed over", func() bool { return w.isAway("r", "eve") })

	if err := w.raw.Del(t.Context(), w.key("r", "nodes")).Err(); err != nil { // the node was given up
		t.Fatal(err)
	}
	if reply, err := w.raw.Do(t.Context(), args...).Slice(); err != nil || reply[0] != "lapsed" {
		t.Errorf("%v, %v", reply, err)
	}
	if !w.isAway("r", "eve") {
		t.Error("it joined by an incarnation that has ended")
	}
}

func TestASocketWithoutAMemberIsClosedAtTheSecondSign(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	ann, s := w.enter("r", "ann")
	_, other := w.enter("r", "bob")
	missed := func() bool {
		ann.lease.mu.Lock()
		defer ann.lease.mu.Unlock()
		return ann.missed
	}
	rec, err := w.raw.HGet(t.Context(), w.key("r", "c:r"), "ann").Result()
	if err != nil {
		t.Fatal(err)
	}
	remove := func() {
		t.Helper()
		if err := w.raw.HDel(t.Context(), w.key("r", "c:r"), "ann").Err(); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	w.compareOnce()
	if !missed() || len(s.closed) > 0 {
		t.Errorf("at the first sign: missed %t, closed %t", missed(), len(s.closed) > 0)
	}
	// It was there all the same.
	if err := errors.Join(w.raw.HSet(t.Context(), w.key("r", "c:r"), "ann", rec).Err(),
		w.raw.SAdd(t.Context(), w.key("r", "node:"+ann.inc.id), "r/ann").Err()); err != nil {
		t.Fatal(err)
	}
	w.compareOnce()
	if missed() {
		t.Error("it is missed still")
	}
	remove()
	w.compareOnce()
	w.compareOnce()
	s.is(t, CloseLost)
	if len(other.closed) > 0 {
		t.Error("bob's socket is closed, too")
	}
}

func TestBrokenSocketsGoTogether(t *testing.T) {
	const many = 40
	w := newWard(t, hearth.Limits{}, 2)
	var members []*Member
	rooms := map[int]string{}
	for _, room := range []string{"a", "b", "c", "d", "e", "f"} {
		rooms[w.st.Partition(room)] = room
	}
	if len(rooms) != 2 {
		t.Fatal("choose other rooms")
	}
	for _, room := range rooms {
		for i := range many {
			m, _ := w.enter(room, "p"+strconv.Itoa(i))
			members = append(members, m)
		}
	}
	open := make(chan struct{})
	w.meddler.on("hand_over", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		<-open
		return next(ctx, cmd)
	})
	for _, m := range members {
		m.Drop()
		m.Drop() // a second time is nothing
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Wait(short); !errors.Is(err, context.Canceled) {
		t.Errorf("before they are confirmed: %v", err)
	}
	close(open)
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if !w.isAway(m.room, m.conn.Peer) {
			t.Errorf("%s is not handed over", m.conn.Peer)
		}
	}
	if n := w.meddler.count("hand_over"); n > 4 {
		t.Errorf("%d of 2 partitions by %d scripts", len(members), n)
	}
}

func TestOneThatCantBeHandedOverHoldsUpNoOther(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	bad, _ := w.enter("bad", "ann")
	good, _ := w.enter("good", "ann")
	key := w.key("bad", "c:bad")
	if err := errors.Join(w.raw.Del(t.Context(), key).Err(), w.raw.Set(t.Context(), key, "no hash", 0).Err()); err != nil {
		t.Fatal(err)
	}
	bad.Drop()
	good.Drop()
	if err := w.Wait(t.Context()); err != nil || !w.isAway("good", "ann") {
		t.Errorf("%v, away %t", err, w.isAway("good", "ann"))
	}
}

func TestAPartitionThatHangsHoldsUpNoOther(t *testing.T) {
	w := newWard(t, hearth.Limits{Grace: time.Millisecond, NodeLease: 5 * time.Second}, 2)
	rooms := map[int]string{}
	for _, room := range []string{"a", "b", "c", "d", "e", "f"} {
		rooms[w.st.Partition(room)] = room
	}
	w.enter(rooms[0], "ann")
	bob, _ := w.enter(rooms[1], "bob")
	w.meddler.on("tick", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		if cmd.Args()[3] == w.key(rooms[0], "due") {
			return stuck(ctx, cmd, next)
		}
		return next(ctx, cmd)
	})
	for range 2 {
		was := bob.inc.until.Load()
		await(t, "the other one is renewed", func() bool { return bob.inc.until.Load() > was })
	}
}

func TestWhatTheOwnerLeftIsSweptByWhoHasPeersThere(t *testing.T) {
	s, server, began := newSweeper(t)
	n := s.node
	s.alive = []string{"somebody else"}
	q := store.JoinRequest{Room: "r", Peer: hearth.Peer{ID: "ann", User: "u", Role: "guest"}, Conn: hearth.NewConnSecret(), Lease: 5 * time.Second}
	if _, err := n.store.Join(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	inc, err := n.leases[0].incarnation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.leases[0].members["conn"] = &Member{node: n, inc: inc}
	look := func() { s.lookNow(0, false); n.wg.Wait() }
	for i := range 3 { // looked after, and not swept by anybody
		server.Mini.SetTime(began.Add(time.Duration(i) * 3 * time.Second))
		if _, err := n.store.Tick(t.Context(), 0, "", 0); err != nil {
			t.Fatal(err)
		}
	}
	beat := strings.TrimSuffix(n.store.Channel("r"), "e:r") + "beat"
	server.Mini.HSet(beat, "swept", "0")
	look()
	if _, err := n.store.Room(t.Context(), "r"); hearth.ReasonOf(err) != hearth.ReasonNoSession {
		t.Errorf("the lease that is over has not ended: %v", err)
	}
	if server.Mini.HGet(beat, "swept") == "0" {
		t.Error("nobody has swept")
	}
}

// A node that stood still, and that the others gave up meanwhile, sends its clients to where they can come back.
func TestANodeThatWasGivenUpClosesItsSockets(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	m, s := w.enter("r", "ann")
	if err := w.raw.ZAdd(t.Context(), w.key("r", "nodes"), redis.Z{Score: 1, Member: m.inc.id}).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.Tick(t.Context(), 0, "", 100); err != nil {
		t.Fatal(err)
	}
	if err := w.st.Settle(t.Context(), store.DueItem{Kind: store.DueNode, Incarnation: m.inc.id}); err != nil {
		t.Fatal(err)
	}
	s.is(t, CloseLost)
}

// A node that is told by its own renewal acts on that, before anything tells of its peers.
func TestARenewalOfWhatHasLapsedEndsIt(t *testing.T) {
	w := newWard(t, hearth.Limits{}, 1)
	m, s := w.enter("r", "ann")
	if err := w.raw.ZRem(t.Context(), w.key("r", "nodes"), m.inc.id).Err(); err != nil {
		t.Fatal(err)
	}
	l := w.leaseOf("r")
	if told, err := l.renew(t.Context(), m.inc, 0); err != nil || !told.Lapsed && !m.inc.ended.Load() {
		t.Fatalf("told %+v, %v", told, err)
	}
	s.is(t, CloseLost)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == m.inc {
		t.Error("the incarnation goes on")
	}
}
