//go:build unix

package httpapi

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/tcptest"
	"github.com/hearthstore/hearth/node"
	"github.com/hearthstore/hearth/store"
)

// stage is a member of a room whose store answers by heart: what a call costs here and not there. Its socket takes what it is
// sent and sends nothing.
type stage struct {
	onCalls
	conn   *conn
	script atomic.Pointer[string] // the last that ran about the room
	answer atomic.Pointer[[]any]  // what it is answered; nil: by the server
	calls  atomic.Int64           // that were answered so
}

const stageRoom = "stage"

// answerable is a redis.Cmd, whatever it is wrapped in.
type answerable interface {
	redis.Cmder
	SetVal(value any)
}

// ProcessHook implements redis.Hook.
func (s *stage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		answer := s.answer.Load()
		c, ok := cmd.(answerable)
		if !ok || !aboutRoom(c.Args(), stageRoom) {
			return next(ctx, cmd)
		}
		if answer == nil {
			sum, _ := c.Args()[1].(string)
			s.script.Store(&sum)
			return next(ctx, cmd)
		}
		if c.Args()[1] != any(*s.script.Load()) {
			return next(ctx, cmd)
		}
		s.calls.Add(1)
		c.SetVal(*answer)
		return nil
	}
}

// onCalls is the rest of a redis.Hook that looks at single commands alone.
type onCalls struct{}

func (onCalls) DialHook(next redis.DialHook) redis.DialHook { return next }

func (onCalls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// aboutRoom reports whether a command is a script of a room's.
func aboutRoom(args []any, room string) bool {
	if len(args) < 4 || args[0] != "evalsha" {
		return false
	}
	key, ok := args[3].(string)
	return ok && strings.HasSuffix(key, "}:s:"+room)
}

func newStage(tb testing.TB) *stage {
	tb.Helper()
	server := redistest.Mini(tb)
	client := server.Client(tb)
	s := &stage{}
	client.AddHook(s)
	poller := redistest.Poller(tb)
	st, err := store.New(tb.Context(), client, store.Options{Prefix: server.Prefix, Poller: poller})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(st.Close)
	n := node.New(node.Options{Client: client, Store: st, Encode: EncodeNotification, Poller: poller})
	verifier, err := auth.NewVerifier(auth.Config{AccessKey: testKey, Secret: testSecret})
	if err != nil {
		tb.Fatal(err)
	}
	srv := New(Options{Node: n, Verifier: verifier, silence: time.Hour, Poller: poller})
	p := &auth.Principal{Room: stageRoom, User: "ann", Role: "guest", Until: time.Now().Add(time.Hour)}
	ours, _ := tcptest.Pair(tb)
	s.conn = newConn(srv, ours, nil, p, "ann")
	s.conn.shut()
	tb.Cleanup(func() {
		s.answer.Store(nil)
		s.conn.cancel()
		s.conn.member.Drop()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			tb.Error(err)
		}
		n.Close()
	})
	s.conn.handle([]byte(`{"jsonrpc":"2.0","id":1,"method":"join","params":{"listen":["*"]}}`))
	if s.conn.member == nil {
		tb.Fatal("it has not joined")
	}
	return s
}

// learn has the store answer a call by heart, which it has answered once itself.
func (s *stage) learn(call hotCall) {
	s.conn.handle([]byte(call.text))
	s.answer.Store(&call.answer)
}

// hotCalls are the calls that come often, with what the store answers to them.
func hotCalls() map[string]hotCall {
	const value = `{"x":1,"y":2,"text":"some words that somebody wrote","list":[1,2,3],"more":{"deep":true}}`
	wrote := []any{"ok", "session", "42 1700000000000"}
	head := []any{"ok", "session", "epoch", int64(1700000000000), int64(42), "nonce", int64(1)}
	return map[string]hotCall{
		"broadcast":    {`{"jsonrpc":"2.0","id":17,"method":"broadcast","params":{"info":{"type":"chat","message":` + value + `}}}`, wrote, 1},
		"set-metadata": {`{"jsonrpc":"2.0","id":17,"method":"set-metadata","params":{"key":"deck","data":` + value + `}}`, wrote, 1},
		"get-metadata": {
			`{"jsonrpc":"2.0","id":17,"method":"get-metadata","params":{"key":"deck"}}`,
			append(slices.Clip(head), "42 1700000000000 ann - -\n"+value), 1,
		},
		"ping": {`{"jsonrpc":"2.0","id":17,"method":"ping","params":{}}`, wrote, 0},
	}
}

type hotCall struct {
	text   string
	answer []any
	calls  int64 // of the store, by each
}

// BenchmarkCall is the whole way of a call here: from the text of a message to the store's, and from its answer to the frame.
func BenchmarkCall(b *testing.B) {
	s := newStage(b)
	for name, call := range hotCalls() {
		b.Run(name, func(b *testing.B) {
			s.learn(call)
			defer s.answer.Store(nil)
			before := s.calls.Load()
			text := []byte(call.text)
			b.ReportAllocs()
			for b.Loop() {
				s.conn.handle(text)
			}
			if n := s.calls.Load() - before; n < int64(b.N)*call.calls {
				b.Errorf("%d calls of the store of %d", n, b.N)
			}
		})
	}
}
