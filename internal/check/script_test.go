package check

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// rewriter changes the text of scripts between a client and the server, so that a store runs others than it has.
type rewriter struct {
	change func(text string) string

	mu   sync.Mutex
	sums map[string]string // of the store's text → of what the server runs
}

// clientWith returns a client of the server whose scripts are changed on their way.
func clientWith(t testing.TB, s *redistest.Server, change func(text string) string) *redis.Client {
	t.Helper()
	c := s.Client(t)
	c.AddHook(&rewriter{change: change, sums: map[string]string{}})
	return c
}

func (r *rewriter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (r *rewriter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.rewrite(cmd.Args())
		return next(ctx, cmd)
	}
}

func (r *rewriter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			r.rewrite(cmd.Args())
		}
		return next(ctx, cmds)
	}
}

// rewrite changes a command in place.
func (r *rewriter) rewrite(args []any) {
	if len(args) < 2 {
		return
	}
	name, _ := args[0].(string)
	text, _ := args[1].(string)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch strings.ToLower(name) {
	case "evalsha":
		if other, ok := r.sums[text]; ok {
			args[1] = other
		}
	case "eval":
		args[1] = r.change(text)
	case "script":
		if strings.EqualFold(text, "load") && len(args) == 3 {
			text, _ = args[2].(string)
			other := r.change(text)
			r.sums[sum(text)] = sum(other)
			args[2] = other
		}
	}
}

func sum(text string) string {
	h := sha1.Sum([]byte(text)) // as Redis names scripts
	return hex.EncodeToString(h[:])
}

// clock is what scripts take for Redis's clock: a key, which the test sets.
type clock struct {
	client *redis.Client
	key    string
}

// rewrite makes a script read the clock.
func (c *clock) rewrite(text string) string {
	return strings.ReplaceAll(text, "redis.call('TIME')", fmt.Sprintf("redis.call('HMGET', '%s', 's', 'u')", c.key))
}

// set moves the clock to a time in epoch milliseconds.
func (c *clock) set(ctx context.Context, ms int64) error {
	return c.client.HSet(ctx, c.key, "s", ms/1000, "u", ms%1000*1000).Err()
}

// epochBegin is when clocks of tests begin.
var epochBegin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
