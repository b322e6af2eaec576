package node

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

var operator = &auth.Principal{Management: true}

// revokers are nodes that ask the store what is revoked so often.
func revokers(t *testing.T, s *redistest.Server, every time.Duration, meddlers ...*meddler) []*Node {
	t.Helper()
	nodes := make([]*Node, max(2, len(meddlers)))
	for i := range nodes {
		client := s.Client(t)
		if i < len(meddlers) {
			client.AddHook(meddlers[i])
		}
		st, err := store.New(t.Context(), client, store.Options{Prefix: s.Prefix, Partitions: 2})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(st.Close)
		nodes[i] = New(Options{Client: client, Store: st, Encode: func(string, func([]byte) []byte) []byte { return nil }, revokedEvery: every})
		t.Cleanup(nodes[i].Close)
	}
	return nodes
}

// revokes has a node revoke a token.
func revokes(t *testing.T, n *Node, jti string) {
	t.Helper()
	if _, _, err := n.Revoke(t.Context(), operator, hearth.Revocation{TokenID: jti}); err != nil {
		t.Fatal(err)
	}
}

func refuses(n *Node, jti string) bool {
	return hearth.ReasonOf(n.Accept(&auth.Principal{TokenID: jti})) == hearth.ReasonUnauthenticated
}

// silently revokes a token as if nobody heard of it.
func silently(t *testing.T, s *redistest.Server, n *Node, jti string) {
	t.Helper()
	key := n.store.RevokedChannel()
	till := time.Now().Add(time.Hour).UnixMilli()
	id := hearth.RevocationID(jti, "")
	r := s.Client(t)
	err := errors.Join(
		r.ZAdd(t.Context(), strings.TrimSuffix(key, "revoked")+"lapses", redis.Z{Score: float64(till), Member: id}).Err(),
		r.HSet(t.Context(), key, "version", hearth.NewNonce(), id, "j 1 "+strconv.FormatInt(till, 10)+" "+jti).Err())
	if err != nil {
		t.Fatal(err)
	}
}

// A node hears of what others revoke, and of one change that it missed by the next.
func TestRevocationsAreHeard(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		n := revokers(t, s, time.Hour)
		await(t, "subscribed", func() bool {
			client := s.Client(t)
			subs, err := client.PubSubNumSub(t.Context(), n[0].store.RevokedChannel()).Result()
			return err == nil && subs[n[0].store.RevokedChannel()] == 2
		})
		told := make(chan struct{}, 100)
		n[1].WatchRevoked(func() { told <- struct{}{} })
		for _, jti := range []string{"a", "b"} {
			revokes(t, n[0], jti)
			await(t, "heard", func() bool { return refuses(n[1], jti) })
			<-told
		}
		if err := n[0].Unrevoke(t.Context(), operator, hearth.RevocationID("a", "")); err != nil {
			t.Fatal(err)
		}
		await(t, "heard that it was taken back", func() bool { return !refuses(n[1], "a") })
		silently(t, s, n[0], "c")
		revokes(t, n[0], "d")
		for _, jti := range []string{"b", "c", "d"} {
			for i := range n {
				await(t, "known", func() bool { return refuses(n[i], jti) })
			}
		}
		if len(told) == 0 {
			t.Error("not told of what was found by asking")
		}
	})
}

// What is told while a subscription is broken is found as soon as it stands again.
func TestRevocationsBetweenSubscriptions(t *testing.T) {
	s := redistest.Real(t)
	n := revokers(t, s, time.Hour)
	revokes(t, n[0], "a")
	await(t, "heard", func() bool { return refuses(n[1], "a") })
	silently(t, s, n[0], "b")
	if err := s.Client(t).Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		await(t, "known", func() bool { return refuses(n[i], "b") })
	}
}

// still is a node whose goroutines do not run.
func still(t *testing.T, m *meddler) *Node {
	t.Helper()
	s := redistest.Mini(t)
	client := s.Client(t)
	client.AddHook(m)
	st, err := store.New(t.Context(), client, store.Options{Prefix: s.Prefix, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	n := &Node{store: st, roles: auth.DefaultRoles(), ctx: t.Context()}
	n.revoked.init(n, time.Hour)
	return n
}

func newMeddler() *meddler {
	return &meddler{
		verbs: map[string]string{}, runs: map[string]int{},
		meddle: map[string]func(context.Context, redis.Cmder, redis.ProcessHook) error{},
	}
}

// Who has revoked a token finds it revoked, though nothing was heard yet, and also if it was not the only change.
func TestWhoRevokesKnowsIt(t *testing.T) {
	m := newMeddler()
	n := still(t, m)
	revokes(t, n, "a")
	if !refuses(n, "a") || m.count("revoked") != 1 {
		t.Errorf("refused: %t; asked %d times", refuses(n, "a"), m.count("revoked"))
	}
	if _, _, err := n.store.Revoke(t.Context(), hearth.Revocation{User: "u"}); err != nil { // as another node does
		t.Fatal(err)
	}
	revokes(t, n, "b")
	if !refuses(n, "b") || n.Accept(&auth.Principal{User: "u"}) == nil {
		t.Error("what is not the only change is not known")
	}
	if err := n.Unrevoke(t.Context(), operator, hearth.RevocationID("b", "")); err != nil || refuses(n, "b") {
		t.Error("taken back and refused", err)
	}
}

// An answer that is older than what was followed meanwhile is not taken.
func TestAnswersOfBefore(t *testing.T) {
	m := newMeddler()
	n := still(t, m)
	first := true
	m.on("hgetall", func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		err := next(ctx, cmd)
		if first {
			first = false
			revokes(t, n, "a") //nolint:contextcheck // another call than the one that is meddled with
		}
		return err
	})
	if _, _, err := n.store.Revoke(t.Context(), hearth.Revocation{TokenID: "b"}); err != nil { // as another node does
		t.Fatal(err)
	}
	if err := n.revoked.ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !refuses(n, "a") || !refuses(n, "b") {
		t.Error("forgotten by an older answer")
	}
}

// More changes than can wait make the node ask.
func TestTooManyRevocationsToWait(t *testing.T) {
	n := still(t, newMeddler())
	for i := range maxRevokedHeard + 1 {
		if len(n.revoked.doubt) > 0 {
			t.Fatalf("in doubt after %d", i)
		}
		n.revoked.hear("a\nb\n0\nj 1 2 x")
	}
	if len(n.revoked.doubt) != 1 {
		t.Error("not in doubt")
	}
	n = still(t, newMeddler())
	if n.revoked.hear("what no script says"); len(n.revoked.doubt) != 1 {
		t.Error("not in doubt")
	}
}

// A node is not ready, and lets nobody in, before it knows what is revoked.
func TestNotReadyBeforeItIsKnown(t *testing.T) {
	s := redistest.Mini(t)
	m := newMeddler()
	m.on("revoked", func(context.Context, redis.Cmder, redis.ProcessHook) error { return errors.New("not yet") })
	n := revokers(t, s, 10*time.Millisecond, m)
	await(t, "the other is ready", func() bool { return n[1].Ready(t.Context()) == nil })
	await(t, "it hears", n[0].hub.Healthy)
	if err := n[0].Ready(t.Context()); hearth.ReasonOf(err) != hearth.ReasonUnavailable || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("ready: %v", err)
	}
	if err := n[0].Accept(operator); hearth.ReasonOf(err) != hearth.ReasonUnavailable {
		t.Errorf("accepted: %v", err)
	}
	m.on("revoked", nil)
	await(t, "ready", func() bool { return n[0].Ready(t.Context()) == nil })
	if err := n[0].Accept(operator); err != nil {
		t.Error(err)
	}
}
