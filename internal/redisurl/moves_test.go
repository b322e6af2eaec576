package redisurl

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// mover is how a client's moves are seen from outside.
type mover interface {
	Moved() (times uint64, next <-chan struct{})
}

func moverOf(t *testing.T, c redis.UniversalClient) mover {
	t.Helper()
	m, ok := c.(mover)
	if !ok {
		t.Fatalf("%T does not say when it moves", c)
	}
	return m
}

// A master is cut off and lives; clients come as a user whom the cut spares. The announcement is heard although no command
// needs a connection, and commands go to the new master from then on.
func TestAnAnnouncementIsHeardWithoutCommands(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t, redistest.Directive("user", "app", "on", ">pw", "~*", "&*", "+@all"))
	c := open(t, strings.Replace(s.URL, "://", "://app:pw@", 1), nil)
	if err := c.Set(t.Context(), "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	old := s.Master(t)
	m := moverOf(t, c)
	times, next := m.Moved()
	if times > 0 {
		t.Errorf("moved %d times already", times)
	}
	admin := old.Client(t)
	for _, cmd := range [][]any{{"ACL", "SETUSER", "default", "off"}, {"CLIENT", "KILL", "USER", "default"}} {
		_ = admin.Do(t.Context(), cmd...).Err() // its own connection is cut as well
	}
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	select {
	case <-next:
	case <-limit.C:
		t.Fatal("nothing was heard of the new master")
	}
	now := s.AwaitFailover(t, old)
	for begun := time.Now(); ; {
		port, err := c.ConfigGet(t.Context(), "port").Result()
		if err == nil && strings.HasSuffix(now.Addr, ":"+port["port"]) {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("commands go to %v, %v", port, err)
		}
	}
}

// A server that refuses to write tells that it is the master no more; that counts once in a while.
func TestAReadOnlyServerCounts(t *testing.T) {
	t.Parallel()
	master, server := redistest.Real(t), redistest.Real(t)
	c := open(t, server.URL, nil)
	m := moverOf(t, c)
	set := func() error { return c.Set(t.Context(), "k", 1, 0).Err() }
	if err := set(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(master.Addr, ":")
	if err := server.Client(t).ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := set(); !redis.HasErrorPrefix(err, "READONLY") {
			t.Fatal(err)
		}
	}
	pipe := c.Pipeline()
	cmd := pipe.Set(t.Context(), "k", 1, 0)
	if _, err := pipe.Exec(t.Context()); err == nil || !redis.HasErrorPrefix(cmd.Err(), "READONLY") {
		t.Fatal(cmd.Err())
	}
	if times, _ := m.Moved(); times != 1 {
		t.Errorf("counted %d times", times)
	}
}

func TestWhatCountsAsAMove(t *testing.T) {
	t.Parallel()
	const readOnly = "READONLY You can't write against a read only replica."
	for name, tt := range map[string]struct {
		named bool
		do    func(m *moves, dial func(server string) bool)
		times uint64
	}{
		"the first server":         {true, func(_ *moves, dial func(string) bool) { dial("a") }, 0},
		"the same again":           {true, func(_ *moves, dial func(string) bool) { dial("a"); dial("a") }, 0},
		"another master":           {true, func(_ *moves, dial func(string) bool) { dial("a"); dial("b") }, 1},
		"another of the same name": {false, func(_ *moves, dial func(string) bool) { dial("a"); dial("b") }, 0},
		"another of the same name, after the one refused to write": {false, func(m *moves, dial func(string) bool) {
			dial("a")
			m.answered(replyError(readOnly))
			dial("b")
			dial("a")
		}, 2},
		"announced and dialed": {true, func(m *moves, dial func(string) bool) { dial("a"); m.announced("b"); dial("b") }, 1},
		"announced by three":   {true, func(m *moves, _ func(string) bool) { m.announced("b"); m.announced("b"); m.announced("b") }, 1},
		"announced when known": {true, func(m *moves, dial func(string) bool) { dial("a"); m.announced("a") }, 0},
		"dialed by a sentinel that knows it last": {true, func(m *moves, dial func(string) bool) {
			dial("a")
			m.announced("b")
			dial("a")
			m.announced("b")
			dial("b")
		}, 2},
		"another error": {true, func(m *moves, _ func(string) bool) { m.answered(replyError("OOM")); m.answered(nil) }, 0},
	} {
		m := newMoves(tt.named)
		tt.do(m, func(server string) bool {
			times, _ := m.Moved()
			return m.dialed(server, times)
		})
		if times, _ := m.Moved(); times != tt.times {
			t.Errorf("%s: counted %d times, not %d", name, times, tt.times)
		}
	}
}

// A connection to the old master that was being opened when the new one was announced would be kept.
func TestAMasterThatIsReplacedWhileItIsDialed(t *testing.T) {
	t.Parallel()
	m := newMoves(true)
	if !m.dialed("a", 0) {
		t.Error("the first is refused")
	}
	before, next := m.Moved()
	m.announced("b")
	select {
	case <-next:
	default:
		t.Error("nobody is told")
	}
	if m.dialed("a", before) {
		t.Error("the old one is kept")
	}
	if now, _ := m.Moved(); !m.dialed("b", now) || m.dialed("a", before) || !m.dialed("b", before) {
		t.Error("afterwards")
	}
}

type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}
