package redisurl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// count is a script that must not be executed twice by one call.
var count = redis.NewScript(`return redis.call('INCR', KEYS[1])`)

// place is a topology, and what disturbs the server that the keys {k}… are on.
type place struct {
	name   string
	url    string
	server *redistest.Server
	others []*redistest.Server // who have to be gone as well for nobody to tell where else to go
}

func places(t *testing.T, f func(t *testing.T, p place)) {
	t.Helper()
	for name, open := range map[string]func(t *testing.T) place{
		redistest.NameReal: func(t *testing.T) place {
			s := redistest.Real(t)
			return place{url: s.URL, server: s}
		},
		redistest.NameSentinel: func(t *testing.T) place {
			s := redistest.Sentinel(t, redistest.Calm())
			return place{url: s.URL, server: s.Master(t), others: s.Sentinels}
		},
		redistest.NameCluster: func(t *testing.T) place {
			c := redistest.Cluster(t, redistest.Calm())
			return place{url: c.URL, server: c.Owner(t, c.Slot(t, "{k}"))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t)
			p.name = name
			f(t, p)
		})
	}
}

// sentOf returns whether err is of a command that was sent; ok is false if it does not say.
func sentOf(err error) (sent, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return false, false
	}
	return e.Sent(), true
}

// ways are the ways to send the script.
var ways = map[string]func(ctx context.Context, c redis.UniversalClient, key string) error{
	"alone": func(ctx context.Context, c redis.UniversalClient, key string) error {
		return count.EvalSha(ctx, c, []string{key}).Err()
	},
	"in a pipeline": func(ctx context.Context, c redis.UniversalClient, key string) error {
		p := c.Pipeline()
		cmd := count.EvalSha(ctx, p, []string{key})
		if _, err := p.Exec(ctx); err == nil {
			return errors.New("the pipeline did not fail")
		}
		return cmd.Err()
	},
}

func loaded(t *testing.T, p place, w *wire) redis.UniversalClient {
	t.Helper()
	if err := count.Load(t.Context(), p.server.Client(t)).Err(); err != nil {
		t.Fatal(err)
	}
	c := open(t, p.url, w)
	if err := c.Get(t.Context(), "{k}").Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return c
}

func ran(t *testing.T, p place, key string) int {
	t.Helper()
	n, err := p.server.Client(t).Get(t.Context(), key).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return n
}

func TestAScriptWhoseReplyIsLostRunsOnce(t *testing.T) {
	t.Parallel()
	places(t, func(t *testing.T, p place) {
		w := &wire{}
		c := loaded(t, p, w)
		for how, as := range map[string]error{"closed": closed, "timeout": timeout} {
			for way, do := range ways {
				w.lose.Store(&loss{"evalsha", as})
				before, key := w.lost.Load(), fmt.Sprintf("{k}/%s/%s", how, way)
				err := do(t.Context(), c, key)
				if w.lose.Store(nil); w.lost.Load() == before {
					t.Fatalf("%s: no reply was lost: %v", key, err)
				}
				if sent, ok := sentOf(err); !sent || !ok {
					t.Errorf("%s: %v", key, err)
				}
				if n := ran(t, p, key); n != 1 {
					t.Errorf("%s: ran %d times", key, n)
				}
				if err := count.EvalSha(t.Context(), c, []string{key}).Err(); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
		}
	})
}

func TestWhatNeverGotAConnectionWasNotSent(t *testing.T) {
	t.Parallel()
	places(t, func(t *testing.T, p place) {
		w, c := &wire{}, loaded(t, p, nil)
		for how, as := range map[string]error{"closed": closed, "timeout": timeout} {
			for way, do := range ways {
				fresh := open(t, p.url, w)
				w.lose.Store(&loss{"hello", as}) // which a connection begins with
				key := fmt.Sprintf("{k}/%s/%s", how, way)
				err := do(t.Context(), fresh, key)
				w.lose.Store(nil)
				if sent, ok := sentOf(err); sent || !ok {
					t.Errorf("%s: %v", key, err)
				}
				if n := ran(t, p, key); n != 0 {
					t.Errorf("%s: ran %d times", key, n)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for way, do := range ways {
			err := do(ctx, c, "{k}")
			if sent, ok := sentOf(err); sent || !ok && way == "alone" || !errors.Is(err, context.Canceled) {
				t.Errorf("given up before, %s: %v", way, err)
			}
		}
		p.server.Kill(t)
		for _, s := range p.others {
			s.Kill(t)
		}
		for _, client := range []redis.UniversalClient{c, open(t, p.url, nil)} {
			for way, do := range ways {
				if sent, ok := sentOf(do(t.Context(), client, "{k}")); sent || !ok {
					t.Errorf("nobody is there, %s: %v, %v", way, sent, ok)
				}
			}
		}
	})
}

// A call takes as long as its context lets it, whatever stands still.
func TestNoCallOutlastsItsContext(t *testing.T) {
	t.Parallel()
	places(t, func(t *testing.T, p place) {
		type frozen struct {
			way  string
			c    redis.UniversalClient
			sent bool
		}
		var all []frozen
		for way := range ways {
			all = append(all, frozen{way, loaded(t, p, nil), true}, frozen{way, open(t, p.url, nil), false})
		}
		p.server.Freeze(t)
		const within = 700 * time.Millisecond
		for _, f := range all {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			begun := time.Now()
			err := ways[f.way](ctx, f.c, "{k}")
			cancel()
			if took := time.Since(begun); took > within+time.Second {
				t.Errorf("%s: took %v", f.way, took)
			}
			// A cluster's client that knows its slots may have been about to ask for them anew.
			if sent, ok := sentOf(err); !ok || sent != f.sent && (sent || p.name != "cluster") {
				t.Errorf("%s: %v; sent: %v", f.way, err, f.sent)
			}
		}
		begun := time.Now()
		if err := ways["alone"](t.Context(), all[0].c, "{k}"); err == nil {
			t.Error("answered")
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("without a deadline: %v", took)
		}
	})
}

// While a slot moves, a script whose keys are not all on one side is tried again, and once more at the new place.
func TestAScriptWaitsForASlotThatMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.Cluster(t, redistest.Calm())
	slot := cluster.Slot(t, "{k}")
	from := cluster.Owner(t, slot)
	to := cluster.Nodes[0]
	if to == from {
		to = cluster.Nodes[1]
	}
	c := open(t, cluster.URL, nil)
	for i := range 3 {
		if err := c.Set(t.Context(), "{k}"+strconv.Itoa(i), 0, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	two := redis.NewScript(`return redis.call('INCR', KEYS[1])`)
	do := func() (int, error) { return two.Eval(t.Context(), c, []string{"{k}1", "{k}absent"}).Int() }
	move := cluster.BeginMove(t, slot, to)
	_, err := do()
	if !redis.HasErrorPrefix(err, "TRYAGAIN") {
		t.Errorf("while it moves: %v", err)
	}
	done := make(chan struct{})
	go func() { // ends with the move
		defer close(done)
		move.Finish(t)
	}()
	n, err := do()
	<-done
	if err != nil || n != 1 {
		t.Errorf("then: %d, %v", n, err)
	}
	if n, err := do(); err != nil || n != 2 {
		t.Errorf("at the new place: %d, %v", n, err)
	}
}
