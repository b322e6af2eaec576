package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
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

// meddler stands between a node and its server: it may do something else with a script, by its verb, or another command, by its
// name.
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
		verb := cmd.Name()
		m.mu.Lock()
		if verb == "evalsha" {
			verb = m.verbs[fmt.Sprint(cmd.Args()[1])]
		}
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
	for _, verb := range []string{"join", "tick", "hand_over", "begin", "revoked"} {
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
		t.Cleanup(st.Close)
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
func (s *socket) Echo([]byte)     {}
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

// compareOnce compares the sockets in the partition of "r" with the members that the store knows.
func (w *ward) compareOnce() {
	w.Helper()
	l := w.leaseOf("r")
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
