package redispipe

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
)

// bothWays runs a test with a poller, and with goroutines that read.
func bothWays(t *testing.T, test func(t *testing.T, poller *netpoll.Poller)) {
	t.Parallel()
	t.Run("goroutine", func(t *testing.T) { test(t, nil) })
	t.Run("poller", func(t *testing.T) {
		if p := redistest.Poller(t); p != nil {
			test(t, p)
		}
	})
}

// Callers give up at any time, and connections are cut off: what each is told of its own call holds, it is never told what another one
// is answered, and nothing is executed twice.
func TestWhatIsToldHolds(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		server := redistest.Real(t)
		client, plain := server.Client(t), server.Client(t)
		p := New(client, poller, 1)[0]
		defer p.Close()
		var done, unsent, unknown atomic.Int64
		do := func(ctx context.Context, value []byte) {
			value = strconv.AppendUint(value[:0], rand.Uint64(), 10) // its caller's, who uses it again
			want := string(value)
			cmd := redis.NewCmd(ctx, "eval", "redis.call('INCR', KEYS[1]) return ARGV[1]", 1, "n", value)
			err := p.Do(ctx, cmd)
			var e interface{ Sent() bool }
			switch isOf := errors.As(err, &e); {
			case err == nil:
				if got := cmd.Val(); got != want {
					t.Errorf("asked for %s, answered %v", want, got)
				}
				done.Add(1)
			case isOf && !e.Sent():
				unsent.Add(1)
			default:
				unknown.Add(1)
			}
		}
		within := func() (context.Context, context.CancelFunc) {
			if rand.IntN(3) == 0 {
				return context.WithTimeout(t.Context(), rand.N(3*time.Millisecond))
			}
			return context.WithTimeout(t.Context(), time.Hour)
		}
		var callers, knives sync.WaitGroup
		const goroutines, rounds, calls = 32, 8, 200
		for range goroutines {
			callers.Go(func() {
				value := make([]byte, 0, 32)
				for range calls {
					ctx, cancel := within()
					do(ctx, value)
					cancel()
				}
			})
		}
		pool := fiber.NewPool(func(f *fiber.Fiber, ended *sync.WaitGroup) {
			defer ended.Done()
			ctx, cancel := within()
			defer cancel()
			do(f.Context(ctx), nil)
		})
		for range rounds {
			callers.Go(func() {
				var ended sync.WaitGroup
				var round fiber.Round
				for range calls {
					ended.Add(4)
					for range 4 {
						pool.Run(&round, &ended)
					}
					round.End()
					ended.Wait()
				}
			})
		}
		over := make(chan struct{})
		knives.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for last := int64(0); ; {
				select {
				case <-over:
					return
				case <-tick.C:
				}
				if n := done.Load(); n-last >= 300 { // some have to come through, however slow it is
					last = n
					plain.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes")
				}
			}
		})
		callers.Wait()
		close(over)
		knives.Wait()
		pool.Close()
		n, err := plain.Get(t.Context(), "n").Int64()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d done, %d not sent, %d unknown, %d executed", done.Load(), unsent.Load(), unknown.Load(), n)
		if n < done.Load() || n > done.Load()+unknown.Load() {
			t.Errorf("%d were executed; %d were answered, of %d nobody knows", n, done.Load(), unknown.Load())
		}
		if done.Load() < goroutines*calls/2 {
			t.Errorf("only %d were done", done.Load())
		}
	})
}

// What is larger than a socket takes at once arrives whole, and so does its answer, between small ones.
func TestLargeValues(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		p := New(redistest.Real(t).Client(t), poller, 1)[0]
		defer p.Close()
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				for range 3 {
					want := strings.Repeat(strconv.Itoa(i), 1+i%2*(1<<20))
					cmd := redis.NewCmd(t.Context(), "echo", want)
					if err := p.Do(t.Context(), cmd); err != nil || cmd.Val() != want {
						t.Errorf("%d bytes: %v", len(want), err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// countingHook sees what passes the client's hooks.
type countingHook struct{ commands atomic.Int64 }

func (h *countingHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *countingHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.commands.Add(1)
		return next(ctx, cmd)
	}
}

func (h *countingHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A pipe connects as its client would, with its credentials and to its database; its commands pass the client's hooks, not its
// connections.
func TestAPipeIsItsClients(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		server := redistest.Real(t)
		admin := server.Client(t)
		if err := admin.Do(t.Context(), "acl", "setuser", "ann", "on", ">secret", "~*", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
		ann := func() (string, string) { return "ann", "secret" }
		client := redis.NewClient(&redis.Options{Addr: server.Addr, CredentialsProvider: ann, DB: 3, ClientName: "its-name", MaxRetries: -1})
		defer func() { _ = client.Close() }()
		hook := &countingHook{}
		client.AddHook(hook)
		pipes := New(client, poller, 2)
		for i, p := range pipes {
			cmd := redis.NewCmd(t.Context(), "set", "k"+strconv.Itoa(i), "v")
			if err := p.Do(t.Context(), cmd); err != nil || cmd.Val() != "OK" {
				t.Errorf("pipe %d: %v, %v", i, cmd.Val(), err)
			}
		}
		if n, stats := hook.commands.Load(), client.PoolStats(); n != 2 || stats.TotalConns != 0 {
			t.Errorf("%d commands passed the hook, by %d connections of the client's", n, stats.TotalConns)
		}
		if list, err := admin.ClientList(t.Context()).Result(); err != nil || strings.Count(list, " name=its-name ") != 2 {
			t.Errorf("they are not called as its are: %v", err)
		}
		if n, err := client.DBSize(t.Context()).Result(); n != 2 || err != nil {
			t.Errorf("%d keys in its database: %v", n, err)
		}
		if err := pipes[0].Do(t.Context(), redis.NewCmd(t.Context(), "get", "none")); !errors.Is(err, redis.Nil) {
			t.Errorf("what is not there: %v", err)
		}
		if err := pipes[0].Do(t.Context(), redis.NewCmd(t.Context(), "evalsha", "none", 0)); !redis.HasErrorPrefix(err, "NOSCRIPT") {
			t.Errorf("an error: %v", err)
		}
		for _, p := range pipes {
			p.Close()
		}

		wrong := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "ann", Password: "wrong", MaxRetries: -1})
		defer func() { _ = wrong.Close() }()
		p := New(wrong, poller, 1)[0]
		defer p.Close()
		var e interface{ Sent() bool }
		if err := p.Do(t.Context(), redis.NewCmd(t.Context(), "ping")); !errors.As(err, &e) || e.Sent() || !redis.HasErrorPrefix(err, "WRONGPASS") {
			t.Errorf("a wrong password: %v", err)
		}
	})
}

// A client of several servers, or whose credentials can't be asked for, is used as it is.
func TestAClientIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	server := redistest.Real(t)
	none := func(context.Context) (string, string, error) { return "", "", nil }
	client := redis.NewClient(&redis.Options{Addr: server.Addr, CredentialsProviderContext: none})
	defer func() { _ = client.Close() }()
	p := New(client, nil, 1)[0]
	defer p.Close()
	if err := p.Do(t.Context(), redis.NewCmd(t.Context(), "set", "k", "v")); err != nil || client.PoolStats().TotalConns != 1 {
		t.Errorf("%v, by %d connections of the client's", err, client.PoolStats().TotalConns)
	}
	if _, _, err := Dial(t.Context(), redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr}}), ""); err == nil {
		t.Error("a connection to one of several servers")
	}
}

// A server that takes connections and says nothing has been sent nothing.
func TestAServerThatSaysNothing(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client := redis.NewClient(&redis.Options{Addr: l.Addr().String(), DialTimeout: 100 * time.Millisecond, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	p := New(client, nil, 1)[0]
	defer p.Close()
	var e interface{ Sent() bool }
	if err := p.Do(t.Context(), redis.NewCmd(t.Context(), "set", "k", "v")); !errors.As(err, &e) || e.Sent() {
		t.Errorf("it got %v", err)
	}
}

// What the product's client says of a call that failed is what the pipe knows.
func TestBelowTheProductsClient(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		server := redistest.Real(t)
		target, err := redisurl.Parse("redis://" + server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		client := target.Client()
		defer func() { _ = client.Close() }()
		p := New(client, poller, 1)[0]
		defer p.Close()
		ping := func() error { return p.Do(t.Context(), redis.NewCmd(t.Context(), "echo", "x")) }
		if err := ping(); err != nil {
			t.Fatal(err)
		}
		server.Kill(t)
		for {
			err := ping()
			var e interface{ Sent() bool }
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if !e.Sent() {
				if text := err.Error(); strings.Count(text, "sent") != 1 {
					t.Errorf("it says %q", text)
				}
				return
			}
		}
	})
}

// The client's server may be none by now; that is told as what was not sent.
func TestAServerThatIsGone(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		server := redistest.Real(t)
		p := New(server.Client(t), poller, 1)[0]
		defer p.Close()
		ping := func() error { return p.Do(t.Context(), redis.NewCmd(t.Context(), "ping")) }
		if err := ping(); err != nil {
			t.Fatal(err)
		}
		server.Kill(t)
		for unsent := 0; unsent < 3; { // what is sent before its end is known is another matter
			err := ping()
			var e interface{ Sent() bool }
			if !errors.As(err, &e) {
				t.Fatal(err)
			} else if !e.Sent() {
				unsent++
			}
		}
		server.Start(t)
		if err := ping(); err != nil {
			t.Errorf("once it is back: %v", err)
		}
	})
}
