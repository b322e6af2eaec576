package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
)

// gate is a hook that lets commands to the server one batch after another, and notes how many went in each.
type gate struct {
	open  chan struct{}
	mu    sync.Mutex
	sizes []int
}

func (g *gate) pass(ctx context.Context, n int, send func() error) error {
	g.mu.Lock()
	g.sizes = append(g.sizes, n)
	g.mu.Unlock()
	select {
	case <-g.open:
		return send()
	case <-ctx.Done():
		return &unsentError{ctx.Err()}
	}
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "rpush" { // a connection's own
			return next(ctx, cmd)
		}
		err := g.pass(ctx, 1, func() error { return next(ctx, cmd) })
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "rpush" {
			return next(ctx, cmds)
		}
		err := g.pass(ctx, len(cmds), func() error { return next(ctx, cmds) })
		if _, was := sentOf(err); was {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

func (g *gate) passed() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]int(nil), g.sizes...)
}

// crowd is a lane whose batches wait at a gate, with both of them taken by calls of their own.
type crowd struct {
	*testing.T
	lane *lane
	gate *gate
	wg   sync.WaitGroup
}

func newCrowd(t *testing.T) *crowd {
	server := redistest.Mini(t)
	client := server.Client(t)
	c := &crowd{T: t, gate: &gate{open: make(chan struct{})}, lane: &lane{client: client}}
	client.AddHook(c.gate)
	for range batchesAtATime {
		c.call(t.Context(), "first", nil)
	}
	c.until(func() bool { return len(c.gate.passed()) == batchesAtATime })
	return c
}

// call appends a value to a list; then tells how that ended.
func (c *crowd) call(ctx context.Context, value string, then func(error)) {
	c.wg.Go(func() {
		cmd := redis.NewCmd(ctx, "rpush", "list", []byte(value))
		if err := c.lane.do(ctx, cmd); then != nil {
			then(err)
		} else if err != nil {
			c.Errorf("%s: %v", value, err)
		}
	})
}

func (c *crowd) until(ok func() bool) {
	c.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatal("not within 20s")
		}
	}
}

func (c *crowd) waits(n int) {
	c.Helper()
	c.until(func() bool {
		c.lane.mu.Lock()
		defer c.lane.mu.Unlock()
		return len(c.lane.waiting) == n
	})
}

func (c *crowd) release() {
	close(c.gate.open)
	c.wg.Wait()
	if c.lane.out != 0 || len(c.lane.waiting) != 0 || c.lane.bytes != 0 {
		c.Errorf("at rest %d batches are out, %d calls of %d bytes wait", c.lane.out, len(c.lane.waiting), c.lane.bytes)
	}
}

func TestCallsThatComeMeanwhileGoTogether(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	for i := range batchMost + 10 {
		c.call(t.Context(), strconv.Itoa(i), nil)
		c.waits(i + 1)
	}
	c.release()
	sizes := c.gate.passed()
	if len(sizes) != batchesAtATime+2 || sizes[batchesAtATime]+sizes[batchesAtATime+1] != batchMost+10 || sizes[batchesAtATime] != batchMost && sizes[batchesAtATime+1] != batchMost {
		t.Errorf("batches of %v", sizes)
	}
	list, err := c.lane.client.LRange(t.Context(), "list", batchesAtATime, batchesAtATime+batchMost-1).Result()
	if err != nil || len(list) != batchMost {
		t.Fatal(list, err)
	}
}

func TestLargeValuesGoInSmallerBatches(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	value := string(make([]byte, batchBytes/2))
	for i := range 5 {
		c.call(t.Context(), value, nil)
		c.waits(i + 1)
	}
	c.release()
	for _, n := range c.gate.passed() {
		if n > 2 {
			t.Errorf("%d went together", n)
		}
	}
}

// Who gives up while it waits has sent nothing, and the others are sent all the same; also if it was the one to send them.
func TestWhoGivesUpLeavesTheRest(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ctx, cancel := context.WithCancel(t.Context())
	var gaveUp error
	done := make(chan struct{})
	c.call(t.Context(), "a", nil)
	c.waits(1)
	c.call(ctx, "gone", func(err error) { gaveUp = err; close(done) })
	c.waits(2)
	c.call(t.Context(), "b", nil)
	c.waits(3)
	cancel()
	<-done
	if was, ok := sentOf(gaveUp); !ok || was || !errors.Is(gaveUp, context.Canceled) {
		t.Errorf("who gave up got %v", gaveUp)
	}
	c.release()
	list, err := c.lane.client.LRange(t.Context(), "list", 0, -1).Result()
	if err != nil || len(list) != batchesAtATime+2 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestACrowdIsBounded(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.lane.bytes = waitingBytes - 10
	c.call(t.Context(), "little", nil)
	c.waits(1)
	c.lane.mu.Lock()
	c.lane.bytes += 10
	c.lane.mu.Unlock()
	err := c.lane.do(t.Context(), redis.NewCmd(t.Context(), "rpush", "list", []byte("much")))
	if was, ok := sentOf(err); !ok || was || !errors.Is(err, errCrowded) {
		t.Errorf("refused with %v", err)
	}
	c.lane.mu.Lock()
	c.lane.bytes -= waitingBytes
	c.lane.mu.Unlock()
	c.release()
}

// Callers give up at any time: what they are told of their own call holds, and nobody else's is lost.
func TestWhoGivesUpKnowsWhatIsKnown(t *testing.T) {
	t.Parallel()
	server := redistest.Real(t)
	target, err := redisurl.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := target.Client()
	defer func() { _ = client.Close() }()
	l := &lane{client: client}
	var wg sync.WaitGroup
	var done, unsent, unknown atomic.Int64
	for range 64 {
		wg.Go(func() {
			value := []byte("value") // its caller's, who uses it again
			for range 200 {
				value[0]++
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				if rand.IntN(3) == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), rand.N(3*time.Millisecond))
				}
				err := l.do(ctx, redis.NewCmd(ctx, "eval", "return redis.call('INCR', KEYS[1])", 1, "n", value))
				cancel()
				switch was, ok := sentOf(err); {
				case err == nil:
					done.Add(1)
				case ok && !was:
					unsent.Add(1)
				default:
					unknown.Add(1)
				}
			}
		})
	}
	wg.Wait()
	n, err := client.Get(t.Context(), "n").Int64()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d done, %d not sent, %d unknown, %d executed", done.Load(), unsent.Load(), unknown.Load(), n)
	if n < done.Load() || n > done.Load()+unknown.Load() {
		t.Errorf("%d were executed; %d were answered, of %d nobody knows", n, done.Load(), unknown.Load())
	}
	if l.out != 0 || len(l.waiting) != 0 || l.bytes != 0 {
		t.Errorf("at rest %d batches are out, %d calls of %d bytes wait", l.out, len(l.waiting), l.bytes)
	}
	if done.Load() < 64*200/2 {
		t.Errorf("only %d were done", done.Load())
	}
}

// Each call of a batch has its own answer.
func TestCallsOfABatchFailForThemselves(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.call(t.Context(), "a", nil)
	c.waits(1)
	var failed error
	c.wg.Go(func() {
		failed = c.lane.do(t.Context(), redis.NewCmd(t.Context(), "evalsha", "0000000000000000000000000000000000000000", 0))
	})
	c.waits(2)
	c.call(t.Context(), "b", nil)
	c.waits(3)
	c.release()
	if !redis.HasErrorPrefix(failed, "NOSCRIPT") {
		t.Errorf("failed with %v", failed)
	}
	if n := c.lane.client.LLen(t.Context(), "list").Val(); n != batchesAtATime+2 {
		t.Errorf("%d were done", n)
	}
}

// A batch goes to somebody who is still there to send it, and without those who are not.
func TestABatchIsSentByWhoIsThere(t *testing.T) {
	t.Parallel()
	l := &lane{out: 1}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	fresh := func() *waiting { return &waiting{turn: make(chan []*waiting, 1)} }
	a, b := fresh(), fresh()
	if err := l.leave(over, b); !b.gone || !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves a batch that is under way: gone %t, %v", b.gone, err)
	} else if _, known := sentOf(err); known {
		t.Error("it knows what became of it")
	}
	l.hand([]*waiting{a, b})
	if batch := <-a.turn; len(batch) != 1 || batch[0] != a || len(b.turn) != 0 {
		t.Errorf("of two, one gone, a batch of %d", len(batch))
	}
	c := fresh()
	if was, known := sentOf(l.lead(over, c, []*waiting{a, c})); !known || was || !c.gone {
		t.Errorf("who is to send and has no time: gone %t, sent %t, known %t", c.gone, was, known)
	}
	if batch := <-a.turn; len(batch) != 1 || batch[0] != a {
		t.Errorf("its batch is %d", len(batch))
	}
	l.waiting = []*waiting{a}
	l.hand([]*waiting{b, c})
	if batch := <-a.turn; len(batch) != 1 || l.out != 1 {
		t.Errorf("where all are gone, %d of those who wait; %d out", len(batch), l.out)
	}
	if l.hand([]*waiting{b}); l.out != 0 {
		t.Errorf("where nobody is left %d are out", l.out)
	}
}
