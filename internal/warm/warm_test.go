package warm

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waiting is how many goroutines wait for a task.
func (p *Pool[T]) waiting() int {
	synctest.Wait()
	p.idle.mu.Lock()
	defer p.idle.mu.Unlock()
	return len(p.idle.idle)
}

// Tasks are done at the same time, however many there are; a bounded number of goroutines is kept, and they are used again.
func TestGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * kept
		var mu sync.Mutex
		done, doing, most := map[int]int{}, 0, 0
		var release chan struct{}
		p := NewPool(func(i int) {
			mu.Lock()
			doing++
			most = max(most, doing)
			mu.Unlock()
			<-release
			mu.Lock()
			doing--
			done[i]++
			mu.Unlock()
		})
		for from, to := 0, n; from <= n; from, to = to, to+kept {
			release, most = make(chan struct{}), 0
			for i := from; i < to; i++ {
				p.Go(i)
			}
			if got := p.waiting(); got != 0 {
				t.Errorf("%d goroutines wait while tasks are done", got)
			}
			close(release)
			if got := p.waiting(); got != kept || most != to-from {
				t.Errorf("%d of %d tasks were done at once; %d goroutines are kept, of %d", most, to-from, got, kept)
			}
		}
		p.Close()
		for i := range n + kept {
			if done[i] != 1 {
				t.Errorf("task %d was done %d times", i, done[i])
			}
		}
	})
}

// Those that are not needed end after a while, those that are stay.
func TestCool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := NewPool(func(wait bool) {
			if wait {
				<-release
			}
		})
		for range 10 {
			p.Go(true)
		}
		close(release)
		if got := p.waiting(); got != 10 {
			t.Fatalf("%d wait", got)
		}
		for range 100 { // one at a time is enough
			<-time.After(coolEvery / 20)
			p.Go(false)
		}
		if got := p.waiting(); got != 1 {
			t.Errorf("%d wait, of which one is needed", got)
		}
		<-time.After(2 * coolEvery)
		if got := p.waiting(); got != 0 || p.idle.ticks {
			t.Errorf("%d wait, of which none is needed; looked after: %t", got, p.idle.ticks)
		}
		p.Go(false)
		if got := p.waiting(); got != 1 || !p.idle.ticks {
			t.Errorf("%d wait after one more task; looked after: %t", got, p.idle.ticks)
		}
		p.Close()
	})
}

// Close waits for tasks that are being done.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		over := 0
		p := NewPool(func(int) { <-release; over++ })
		p.Go(1)
		synctest.Wait()
		go func() { close(release) }()
		p.Close()
		if over != 1 {
			t.Error("a task was not waited for")
		}
	})
}

//go:noinline
func deep(n int) byte {
	var b [512]byte
	b[n%len(b)] = byte(n)
	if n > 0 {
		b[0] += deep(n - 1)
	}
	return b[0] + b[n%len(b)]
}

// BenchmarkTask does tasks that go as deep as a request does, one at a time, by new goroutines and by kept ones.
func BenchmarkTask(b *testing.B) {
	done := make(chan struct{})
	task := func(int) {
		deep(10)
		done <- struct{}{}
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			go task(0)
			<-done
		}
	})
	b.Run("kept", func(b *testing.B) {
		p := NewPool(task)
		for b.Loop() {
			p.Go(0)
			<-done
		}
		p.Close()
	})
}
