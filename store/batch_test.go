package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
)

// gate is a hook in the server's place: it holds all that is sent until it is opened, then answers it. errOwn is the answer to
// what is sent as "refused".
type gate struct {
	open  chan struct{}
	mu    sync.Mutex
	sizes []int // of the batches, as they came
	done  []string
}

var errOwn = errors.New("its own error")

func (g *gate) answer(cmds ...redis.Cmder) {
	g.mu.Lock()
	g.sizes = append(g.sizes, len(cmds))
	g.mu.Unlock()
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, cmd := range cmds {
		value, _ := cmd.Args()[1].([]byte)
		if g.done = append(g.done, string(value)); string(value) == "refused" {
			cmd.SetErr(errOwn)
		}
	}
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		g.answer(cmd)
		return cmd.Err()
	}
}

func (g *gate) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		g.answer(cmds...)
		return nil
	}
}

// crowd is a lane whose batches wait at a gate, with all of them taken by calls of their own.
type crowd struct {
	*testing.T
	lane *lane
	gate *gate
	wg   sync.WaitGroup
}

// inCrowd runs a test in which time stands still and a call has come to its place when call returns.
func inCrowd(t *testing.T, run func(c *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
		defer func() { _ = client.Close() }()
		c := &crowd{T: t, gate: &gate{open: make(chan struct{})}, lane: &lane{client: client}}
		client.AddHook(c.gate)
		for range batchesAtATime {
			c.call(t.Context(), "first", nil)
		}
		run(c)
		close(c.gate.open)
		c.wg.Wait()
		if c.lane.out != 0 || len(c.lane.waiting) != 0 || c.lane.bytes != 0 {
			t.Errorf("at rest %d batches are out, %d calls of %d bytes wait", c.lane.out, len(c.lane.waiting), c.lane.bytes)
		}
	})
}

// call has a value sent; then is told how that ended.
func (c *crowd) call(ctx context.Context, value string, then func(error)) {
	c.wg.Go(func() {
		if err := c.lane.do(ctx, redis.NewCmd(ctx, "x", []byte(value))); then != nil {
			then(err)
		} else if err != nil {
			c.Errorf("%s: %v", value, err)
		}
	})
	synctest.Wait()
}

// after runs a check once all calls are answered.
func (c *crowd) after(check func(sizes []int, done []string)) {
	c.Cleanup(func() { check(c.gate.sizes, c.gate.done) })
}

func TestCallsThatComeMeanwhileGoTogether(t *testing.T) {
	t.Parallel()
	inCrowd(t, func(c *crowd) {
		for i := range batchMost + 10 {
			c.call(c.Context(), strconv.Itoa(i), nil)
		}
		c.after(func(sizes []int, done []string) {
			slices.Sort(sizes)
			if !slices.Equal(sizes, []int{1, 1, 10, batchMost}) || len(done) != batchMost+12 {
				c.Errorf("batches of %v, %d calls", sizes, len(done))
			}
		})
	})
}

func TestLargeValuesGoInSmallerBatches(t *testing.T) {
	t.Parallel()
	inCrowd(t, func(c *crowd) {
		value := string(make([]byte, batchBytes/2))
		for range 5 {
			c.call(c.Context(), value, nil)
		}
		c.after(func(sizes []int, done []string) {
			if slices.Sort(sizes); !slices.Equal(sizes, []int{1, 1, 1, 2, 2}) || len(done) != 7 {
				c.Errorf("batches of %v", sizes)
			}
		})
	})
}

// Who gives up while it waits has sent nothing, and the others are sent all the same.
func TestWhoGivesUpLeavesTheRest(t *testing.T) {
	t.Parallel()
	inCrowd(t, func(c *crowd) {
		ctx, cancel := context.WithCancel(c.Context())
		var gaveUp error
		c.call(c.Context(), "a", nil)
		c.call(ctx, "gone", func(err error) { gaveUp = err })
		c.call(c.Context(), "b", nil)
		cancel()
		synctest.Wait()
		if was, ok := sentOf(gaveUp); !ok || was || !errors.Is(gaveUp, context.Canceled) {
			c.Errorf("who gave up got %v", gaveUp)
		}
		c.after(func(_ []int, done []string) {
			if slices.Sort(done); !slices.Equal(done, []string{"a", "b", "first", "first"}) {
				c.Errorf("sent were %q", done)
			}
		})
	})
}

func TestACrowdIsBounded(t *testing.T) {
	t.Parallel()
	inCrowd(t, func(c *crowd) {
		value := string(make([]byte, waitingBytes/2))
		c.call(c.Context(), value, nil)
		c.call(c.Context(), value, nil)
		refused := errors.New("not yet")
		c.call(c.Context(), "one byte too many", func(err error) { refused = err })
		if was, ok := sentOf(refused); !ok || was || !errors.Is(refused, errCrowded) {
			c.Errorf("beyond the bytes: %v", refused)
		}
	})
	inCrowd(t, func(c *crowd) {
		for range waitingMost {
			c.lane.waiting = append(c.lane.waiting, &waiting{gone: true})
		}
		refused := errors.New("not yet")
		c.call(c.Context(), "one call too many", func(err error) { refused = err })
		if was, ok := sentOf(refused); !ok || was || !errors.Is(refused, errCrowded) {
			c.Errorf("beyond the calls: %v", refused)
		}
	})
}

// Each call of a batch has its own answer.
func TestCallsOfABatchFailForThemselves(t *testing.T) {
	t.Parallel()
	inCrowd(t, func(c *crowd) {
		var one, sender error
		c.call(c.Context(), "refused", func(err error) { one = err })
		c.call(c.Context(), "a", nil)
		c.call(c.Context(), "refused", func(err error) { sender = err }) // which sends them all
		c.after(func(_ []int, done []string) {
			if !errors.Is(one, errOwn) || !errors.Is(sender, errOwn) || len(done) != 5 {
				c.Errorf("%d sent, of which failed with %v and %v", len(done), one, sender)
			}
		})
	})
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
	hand := func(batch ...*waiting) {
		l.mu.Lock()
		l.hand(nil, batch)
	}
	hand(a, b)
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
	hand(b, c)
	if batch := <-a.turn; len(batch) != 1 || l.out != 1 {
		t.Errorf("where all are gone, %d of those who wait; %d out", len(batch), l.out)
	}
	if hand(b); l.out != 0 {
		t.Errorf("where nobody is left %d are out", l.out)
	}
}

// round is of fibers that have commands sent by a lane which is answered by a gate.
type round struct {
	*crowd

	round fiber.Round
	pool  *fiber.Pool[fiberCall]
}

type fiberCall struct {
	ctx   context.Context //nolint:containedctx // the call's
	value string
	then  func(error)
}

// inRound is inCrowd for fibers, with nothing under way.
func inRound(t *testing.T, run func(c *round)) {
	t.Helper()
	inCrowd(t, func(c *crowd) {
		r := &round{crowd: c}
		r.lane = &lane{client: c.lane.client}
		r.pool = fiber.NewPool(func(f *fiber.Fiber, k fiberCall) {
			ctx := f.Context(k.ctx)
			k.then(r.lane.do(ctx, redis.NewCmd(ctx, "x", []byte(k.value))))
		})
		c.wg.Go(func() {
			<-c.gate.open
			r.pool.Close()
		})
		run(r)
	})
}

// fiber has a value sent by a fiber of the round.
func (c *round) fiber(ctx context.Context, value string) {
	c.pool.Run(&c.round, fiberCall{ctx, value, func(err error) {
		if err != nil {
			c.Errorf("%s: %v", value, err)
		}
	}})
}

// fill has all batches under way, so that what comes next waits.
func (c *round) fill() {
	for range batchesAtATime {
		c.fiber(c.Context(), "first")
		c.round.End()
	}
}

// What the fibers of a round send goes together at its end, and nobody waits for the answer there.
func TestFibersOfARoundGoTogether(t *testing.T) {
	t.Parallel()
	inRound(t, func(c *round) {
		sent := func(when string, want ...int) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(c.gate.sizes[batchesAtATime:], want) {
				c.Errorf("%s: batches of %v, want %v", when, c.gate.sizes[batchesAtATime:], want)
			}
		}
		for _, n := range []int{5, 3, 2} {
			for i := range n {
				c.fiber(c.Context(), strconv.Itoa(i))
			}
			if n == 5 {
				sent("before the end")
			}
			c.round.End()
			synctest.Wait()
		}
		sent("while none is answered", 5, 3)
		c.crowd.lane = c.lane
		c.call(c.Context(), "a goroutine's", nil)
		c.after(func(sizes []int, done []string) {
			if !slices.Equal(sizes[batchesAtATime:], []int{5, 3, 3}) || len(done) != batchesAtATime+11 {
				c.Errorf("batches of %v, %d calls", sizes, len(done))
			}
		})
	})
}

// A fiber whose time ends while it waits has sent nothing; the others have.
func TestAFiberWithoutTimeSendsNothing(t *testing.T) {
	t.Parallel()
	inRound(t, func(c *round) {
		c.fill()
		short, cancel := context.WithTimeout(c.Context(), time.Second)
		c.Cleanup(cancel)
		long, cancelLong := context.WithTimeout(c.Context(), time.Minute)
		c.Cleanup(cancelLong)
		late := errors.New("not yet")
		c.pool.Run(&c.round, fiberCall{short, "late", func(err error) { late = err }})
		c.fiber(long, "a")
		c.round.End()
		<-short.Done()
		c.after(func(_ []int, done []string) {
			if was, ok := sentOf(late); !ok || was || !errors.Is(late, context.DeadlineExceeded) {
				c.Errorf("it got %v", late)
			}
			if want := []string{"a", "first", "first", "first", "first"}; !slices.Equal(slices.Sorted(slices.Values(done)), want) {
				c.Errorf("sent were %q", done)
			}
		})
	})
}

// A batch has calls whose times end at about the same time.
func TestCallsOfABatchHaveAsLong(t *testing.T) {
	t.Parallel()
	inRound(t, func(c *round) {
		c.fill()
		for i := range 6 {
			ctx, cancel := context.WithTimeout(c.Context(), time.Hour)
			c.Cleanup(cancel)
			c.fiber(ctx, strconv.Itoa(i))
			<-time.After(batchSpread / 2)
		}
		c.round.End()
		c.after(func(sizes []int, _ []string) {
			if !slices.Equal(sizes[2*batchesAtATime:], []int{3, 3}) {
				c.Errorf("batches of %v", sizes)
			}
		})
	})
}

// Who is to send a batch is told while it can't give up: whoever comes to the lock next finds it told.
func TestWhoIsToSendIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for range 20_000 {
		l := &lane{out: 1}
		w := &waiting{turn: make(chan []*waiting, 1)}
		handed := false
		go func() { // until it has handed the batch
			l.mu.Lock()
			handed = true
			l.hand(nil, []*waiting{w})
		}()
		for {
			l.mu.Lock()
			was, told := handed, len(w.turn)
			l.mu.Unlock()
			if was && told == 0 {
				t.Fatal("it could have given up, and the batch been lost")
			}
			if was {
				break
			}
			runtime.Gosched()
		}
	}
}
