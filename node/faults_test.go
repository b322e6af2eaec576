package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// await calls met until it holds.
func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !met(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// meddler stands between a node and its server: it may do something else with a script, by its verb.
type meddler struct {
	mu     sync.Mutex
	verbs  map[string]string // sum → verb
	meddle map[string]func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error
	runs   map[string]int
}

func (m *meddler) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (m *meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (m *meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "script" { // the store loads it
			err := next(ctx, cmd)
			m.learn(c.Val(), fmt.Sprint(cmd.Args()[2]))
			return err
		}
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		sum := fmt.Sprint(cmd.Args()[1])
		m.mu.Lock()
		verb := m.verbs[sum]
		m.runs[verb]++
		f := m.meddle[verb]
		m.mu.Unlock()
		if f == nil {
			return next(ctx, cmd)
		}
		return f(ctx, cmd, next)
	}
}

// learn notes which verb a script is: that of its header's line.
func (m *meddler) learn(sum, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, verb := range []string{"join", "tick", "hand_over", "begin"} {
		if strings.Contains(text, "\n-- "+verb+": ") {
			m.verbs[sum] = verb
		}
	}
}

// on makes f do what a verb does; nil undoes that.
func (m *meddler) on(verb string, f func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.meddle[verb] = f
}

func (m *meddler) count(verb string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs[verb]
}

// ward is a node under care: on an embedded server, with a meddler between both.
type ward struct {
	*testing.T
	*Node
	server  *redistest.Server
	raw     *redis.Client // beside the node
	meddler *meddler
	st      *store.Store // without the meddler
}

func newWard(t *testing.T, l hearth.Limits, partitions int) *ward {
	t.Helper()
	w := &ward{T: t, server: redistest.Mini(t)}
	w.raw = w.server.Client(t)
	w.meddler = &meddler{verbs: map[string]string{}, meddle: map[string]func(context.Context, redis.Cmder, redis.ProcessHook) error{}, runs: map[string]int{}}
	client := w.server.Client(t)
	client.AddHook(w.meddler)
	open := func(c *redis.Client) *store.Store {
		st, err := store.New(t.Context(), c, store.Options{Partitions: partitions, Limits: l})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	w.st = open(w.raw)
	w.Node = New(Options{Client: client, Store: open(client), Encode: func(string, func([]byte) []byte) []byte { return nil }})
	t.Cleanup(w.Close)
	return w
}

// socket is a member's.
type socket struct{ closed chan CloseCode }

func (s *socket) Send([]byte)     {}
func (s *socket) Snapshot([]byte) {}
func (s *socket) Close(code CloseCode, _ string) {
	select {
	case s.closed <- code:
	default:
	}
}

// is waits for the socket to be closed.
func (s *socket) is(t *testing.T, want CloseCode) {
	t.Helper()
	select {
	case code := <-s.closed:
		if code != want {
			t.Errorf("closed with %d, not %d", code, want)
		}
	case <-time.After(patience):
		t.Fatalf("not closed with %d", want)
	}
}

func (w *ward) tryEnter(room, peer string) (*Member, *socket, error) {
	s := &socket{closed: make(chan CloseCode, 4)}
	p := &auth.Principal{Room: room, User: "u-" + peer, Role: "host"}
	m, err := w.Join(w.Context(), p, JoinParams{Room: room, Peer: peer}, s)
	if err == nil {
		m.Begin()
		w.Cleanup(m.Drop)
	}
	return m, s, err
}

func (w *ward) enter(room, peer string) (*Member, *socket) {
	w.Helper()
	m, s, err := w.tryEnter(room, peer)
	if err != nil {
		w.Fatalf("%s: %v", peer, err)
	}
	return m, s
}

// key is one of the room's partition.
func (w *ward) key(room, kind string) string {
	return strings.TrimSuffix(w.st.Channel(room), "e:"+room) + kind
}

// inc is the incarnation by which a peer is there for the store; "" if it has no socket or is not there.
func (w *ward) inc(room, peer string) (inc string, there bool) {
	w.Helper()
	rec, err := w.raw.HGet(w.Context(), w.key(room, "c:"+room), peer).Result()
	if errors.Is(err, redis.Nil) {
		return "", false
	}
	if err != nil {
		w.Fatal(err)
	}
	return strings.Split(rec, "\n")[5], true
}

func (w *ward) isAway(room, peer string) bool {
	inc, there := w.inc(room, peer)
	return there && inc == ""
}

// compareNow looks after the room's partition, and compares.
func (w *ward) compareOnce(room string) {
	w.Helper()
	l := w.leaseOf(room)
	l.mu.Lock()
	inc := l.current
	l.mu.Unlock()
	if err := l.compare(w.Context(), inc); err != nil {
		w.Fatal(err)
	}
}

// leaves sets what is left of a lease by the node's own clock.
func (i *incarnation) leaves(d time.Duration) { i.until.Store(int64(time.Since(began) + d)) }

// stuck is what becomes of a call that is not answered.
func stuck(ctx context.Context, cmd redis.Cmder, _ redis.ProcessHook) error {
	<-ctx.Done()
	cmd.SetErr(ctx.Err())
	return ctx.Err()
}

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
	if m.inc.id == first || !m.Welcome.TakenOver {
		t.Errorf("it came back by %s after %s, taken over %t", m.inc.id, first, m.Welcome.TakenOver)
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
	inc.leaves(leaseMargin + time.Second)
	if m, _ = w.enter("r", "ann"); m.inc != inc {
		t.Errorf("another incarnation began")
	}
	if !inc.fresh(w.Limits().NodeLease) {
		t.Errorf("%s of its lease is left", inc.left())
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
	w.compareOnce("r")
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
	w.compareOnce("r")
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
	w.compareOnce("r")
	if !missed() || len(s.closed) > 0 {
		t.Errorf("at the first sign: missed %t, closed %t", missed(), len(s.closed) > 0)
	}
	// It was there all the same.
	if err := errors.Join(w.raw.HSet(t.Context(), w.key("r", "c:r"), "ann", rec).Err(),
		w.raw.SAdd(t.Context(), w.key("r", "node:"+ann.inc.id), "r/ann").Err()); err != nil {
		t.Fatal(err)
	}
	w.compareOnce("r")
	if missed() {
		t.Error("it is missed still")
	}
	remove()
	w.compareOnce("r")
	w.compareOnce("r")
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
