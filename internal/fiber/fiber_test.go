package fiber

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// ender is an Ender of its own.
type ender struct{ do func(*Round) }

func (e *ender) EndRound(r *Round) { e.do(r) }

var nobody = &ender{func(*Round) {}}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A task is done in the goroutine that has it: until it waits, and from then on in the one that wakes it.
func TestWait(t *testing.T) {
	var did []string
	var fibers []*Fiber
	end := &ender{func(*Round) { did = append(did, "the round ends") }}
	p := NewPool(func(f *Fiber, name string) {
		did = append(did, name+" begins")
		if name != "quick" {
			fibers = append(fibers, f)
			f.Wait(end)
			did = append(did, name+" goes on")
			f.Wait(&ender{func(r *Round) {
				r.Finally(&ender{func(*Round) { did = append(did, name+" has ended its round") }})
			}})
		}
		did = append(did, name+" is done")
	})
	defer p.Close()
	var first, second Round
	p.Run(&first, "a")
	p.Run(&first, "quick")
	p.Run(&first, "b")
	did = append(did, "all wait")
	first.End()
	fibers[1].Wake(&second)
	fibers[0].Wake(&second)
	did = append(did, "all wait again")
	second.End()
	second.End() // has nothing any more
	fibers[0].Wake(&second)
	fibers[1].Wake(&second)
	want := []string{
		"a begins", "quick begins", "quick is done", "b begins", "all wait", "the round ends",
		"b goes on", "a goes on", "all wait again", "b has ended its round", "a has ended its round",
		"a is done", "b is done",
	}
	if !slices.Equal(did, want) {
		t.Errorf("%q", did)
	}
}

// The end of a round is told once to each who asked, and who asked first learns that; so again in the next round.
func TestFinally(t *testing.T) {
	ends := 0
	e := &ender{func(*Round) { ends++ }}
	var first []bool
	p := NewPool(func(f *Fiber, _ int) { first = append(first, f.Finally(e)) })
	defer p.Close()
	var round Round
	for range 2 {
		p.Run(&round, 0)
		p.Run(&round, 0)
		round.End()
	}
	if want := []bool{true, false, true, false}; ends != 2 || !slices.Equal(first, want) {
		t.Errorf("asked first: %v, told %d times", first, ends)
	}
}

// Who is woken before it waits goes on where it is.
func TestWakeBeforeWait(t *testing.T) {
	done := 0
	p := NewPool(func(f *Fiber, _ int) {
		for range 3 {
			woken := make(chan struct{})
			go func() { // until Wake has returned
				defer close(woken)
				var r Round
				f.Wake(&r)
				r.End()
			}()
			<-woken
			f.Wait(nobody)
			done++
		}
	})
	defer p.Close()
	var r Round
	for i := range 3 {
		if p.Run(&r, i); done != 3*(i+1) {
			t.Fatalf("went on %d times", done)
		}
	}
}

// Who has left may block without holding anybody up.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		var inline []bool
		var fiber *Fiber
		p := NewPool(func(f *Fiber, _ int) {
			fiber = f
			inline = append(inline, f.Inline())
			f.Wait(nobody)
			ctx := f.Context(t.Context())
			inline = append(inline, f.Inline(), From(ctx) == f)
			f.Leave()
			f.Leave() // has no effect
			<-blocked
			inline = append(inline, f.Inline(), From(ctx) == f)
		})
		for range 2 { // the second time by the same one
			var r Round
			inline = nil
			p.Run(&r, 0)
			fiber.Wake(&r)
			blocked <- struct{}{}
			synctest.Wait()
			if !slices.Equal(inline, []bool{true, true, true, false, false}) {
				t.Errorf("in a round: %v", inline)
			}
		}
		var none *Fiber
		if none.Leave(); none.Inline() {
			t.Error("a goroutine is in a round")
		}
		p.Close()
	})
}

// Fibers are used again, and those that are not needed let go of. Close waits for those that have left.
func TestReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = kept + 10
		used := map[*Fiber]int{}
		p := NewPool(func(f *Fiber, wait bool) {
			if used[f]++; wait {
				f.Wait(nobody)
			}
		})
		var r Round
		for range 2 {
			for range many {
				p.Run(&r, true)
			}
			for f := range used {
				if f.state.Load() == waiting {
					f.Wake(&r)
				}
			}
		}
		if len(used) != many+10 {
			t.Errorf("%d fibers for %d tasks at once, twice", len(used), many)
		}
		clear(used)
		for range 100 { // one is enough
			<-time.After(100 * time.Millisecond)
			p.Run(&r, false)
		}
		if len(used) != 1 {
			t.Errorf("%d are used in turns", len(used))
		}
		over := false
		late := NewPool(func(f *Fiber, _ int) {
			f.Leave()
			<-time.After(time.Second)
			over = true
		})
		late.Run(&r, 0)
		if late.Close(); !over {
			t.Error("who has left was not waited for")
		}
		p.Close()
		p.Run(&r, false) // and is not kept
		synctest.Wait()
	})
}

// Whoever still has a fiber whose task has ended does no harm by it.
func TestWhoHasEndedHasNothingToLeave(t *testing.T) {
	var kept *Fiber
	p := NewPool(func(f *Fiber, _ string) { kept = f })
	defer p.Close()
	var r Round
	p.Run(&r, "one")
	if kept.Inline() {
		t.Error("it is in a round")
	}
	kept.Leave()
	p.Run(&r, "another")
}

func TestContext(t *testing.T) {
	type other struct{}
	parent, cancel := context.WithTimeout(context.WithValue(t.Context(), other{}, 1), time.Hour)
	defer cancel()
	if From(parent) != nil {
		t.Error("a context that is no fiber's")
	}
	p := NewPool(func(f *Fiber, _ int) {
		ctx := f.Context(parent)
		child, end := context.WithCancel(context.WithValue(ctx, other{}, 2))
		defer end()
		if From(ctx) != f || From(child) != f || ctx.Value(other{}) != 1 {
			t.Error("it doesn't tell whose it is, or what its parent does")
		}
		if at, ok := child.Deadline(); !ok || time.Until(at) > time.Hour {
			t.Error("it doesn't end as its parent does")
		}
		cancel()
		<-child.Done()
	})
	defer p.Close()
	var r Round
	p.Run(&r, 0)
}

// What a task was given before it left goes on as the parent, whatever the fiber does next; who has left is given the parent itself.
func TestContextOfWhoHasLeft(t *testing.T) {
	parent := t.Context()
	var kept context.Context
	left := make(chan context.Context, 1)
	p := NewPool(func(f *Fiber, leave bool) {
		ctx := f.Context(parent)
		if !leave {
			if From(ctx) != f || From(kept) != nil {
				t.Error("whose a context is")
			}
			return
		}
		f.Leave()
		if f.Context(parent) != parent || From(ctx) != nil {
			t.Error("who has left waits as a fiber does")
		}
		left <- ctx
	})
	var r Round
	p.Run(&r, true)
	kept = <-left
	p.wg.Wait() // it is on the shelf again
	p.Run(&r, false)
	if kept.Done() != parent.Done() || kept.Err() != nil {
		t.Error("it goes on otherwise than its parent")
	}
	p.Close()
}

// Each task is done once and to its end, whatever tasks do and by whom they are woken.
func TestAnyOrder(t *testing.T) {
	const rounds, tasks, wakers = 20, 200, 3
	wake := make(chan *Fiber, rounds*tasks) // nobody waits to send
	var steps atomic.Int64
	var all sync.WaitGroup
	all.Add(rounds * tasks)
	var mu sync.Mutex
	done := map[int]int{}
	p := NewPool(func(f *Fiber, task int) {
		rnd := rand.New(rand.NewPCG(uint64(task), 1))
		for range rnd.IntN(6) {
			switch rnd.IntN(7) {
			case 0:
				f.Leave()
			case 1, 2, 3:
				if f.Inline() {
					f.Wait(&ender{func(*Round) { wake <- f }})
				}
			default:
				if f.Inline() {
					wake <- f
					f.Wait(nobody)
				}
			}
			steps.Add(1)
		}
		mu.Lock()
		done[task]++
		mu.Unlock()
		all.Done()
	})
	var wg sync.WaitGroup
	for range wakers {
		wg.Go(func() {
			var r Round
			for f := range wake {
				f.Wake(&r)
				r.End()
			}
		})
	}
	var r Round
	for i := range rounds {
		for k := range tasks {
			p.Run(&r, i*tasks+k)
		}
		r.End()
	}
	all.Wait()
	close(wake)
	wg.Wait()
	p.Close()
	for task := range rounds * tasks {
		if done[task] != 1 {
			t.Errorf("task %d was done %d times", task, done[task])
		}
	}
	if steps.Load() < rounds*tasks {
		t.Errorf("%d steps", steps.Load())
	}
}

// BenchmarkAnswer does tasks that wait for an answer, by goroutines and by fibers.
func BenchmarkAnswer(b *testing.B) {
	const together = 16
	b.Run("goroutines", func(b *testing.B) {
		var wg sync.WaitGroup
		answers := make(chan chan struct{}, together)
		for b.Loop() {
			for range together {
				wg.Go(func() {
					c := make(chan struct{}, 1)
					answers <- c
					<-c
				})
			}
			for range together {
				(<-answers) <- struct{}{}
			}
			wg.Wait()
		}
	})
	b.Run("fibers", func(b *testing.B) {
		var waiting []*Fiber
		p := NewPool(func(f *Fiber, _ int) {
			waiting = append(waiting, f)
			f.Wait(nobody)
		})
		defer p.Close()
		var r Round
		for b.Loop() {
			for i := range together {
				p.Run(&r, i)
			}
			r.End()
			for _, f := range waiting {
				f.Wake(&r)
			}
			waiting = waiting[:0]
			r.End()
		}
	})
}
