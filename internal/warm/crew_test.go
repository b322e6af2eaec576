package warm

import (
	"sync"
	"testing"
	"testing/synctest"
)

func nothing() {}

// A crew does all that it is given, by as many goroutines as there are tasks for, and each task once.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		done := map[int]int{}
		doing := 0
		release := make(chan struct{})
		c := NewCrew(func(i int) {
			mu.Lock()
			doing++
			mu.Unlock()
			<-release
			mu.Lock()
			doing--
			done[i]++
			mu.Unlock()
		}, nothing, nothing)
		const n = 10 * perWorker
		for i := range n {
			c.Go(i)
			synctest.Wait()
			// Each of those that do something has taken one, and as many as may wait for each are waiting.
			if want := i/(perWorker+1) + 1; doing != want {
				t.Fatalf("%d do %d tasks, want %d", doing, i+1, want)
			}
		}
		close(release)
		synctest.Wait()
		for i := range n {
			c.Go(n + i)
			synctest.Wait()
			if c.active != 0 || c.first != 0 || len(c.tasks) != 0 {
				t.Fatalf("at rest %d are active, %d tasks of which the first is %d", c.active, len(c.tasks), c.first)
			}
		}
		c.Close()
		for i := range 2 * n {
			if done[i] != 1 {
				t.Errorf("task %d was done %d times", i, done[i])
			}
		}
	})
}

// Close waits for the tasks that wait.
func TestCrewClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		done := 0
		c := NewCrew(func(int) { <-release; done++ }, nothing, nothing)
		for i := range perWorker {
			c.Go(i)
		}
		go func() { close(release) }()
		if c.Close(); done != perWorker {
			t.Errorf("%d were done", done)
		}
	})
}

// One burst is not kept for ever.
func TestCrewBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := NewCrew(func(int) { <-release }, nothing, nothing)
		for i := range 100 * kept {
			c.Go(i)
		}
		close(release)
		c.Close()
		if cap(c.tasks) > 0 {
			t.Errorf("%d are kept", cap(c.tasks))
		}
	})
}

// What is done is not kept, also if something always waits.
func TestCrewThatIsNeverIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Crew[int]
		most := 0
		c = NewCrew(func(i int) {
			if most = max(most, len(c.tasks)); i > 0 {
				c.Go(i - 1)
			}
		}, nothing, nothing)
		c.Go(100 * kept)
		c.Go(100 * kept)
		synctest.Wait()
		if c.Close(); most > 4*kept {
			t.Errorf("%d were kept", most)
		}
	})
}

// What is done between begin and end is as much as waits, up to a bound; tasks are done between them only.
func TestCrewInOneGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var went []int // how many tasks were done in one go
		going := false
		c := NewCrew(func(first bool) {
			if first {
				<-release
			}
			if !going {
				t.Error("a task outside")
			}
			went[len(went)-1]++
		}, func() { going, went = true, append(went, 0) }, func() { going = false })
		c.Go(true)
		synctest.Wait()
		const n = perWorker // more would need a second goroutine
		for range n {
			c.Go(false)
		}
		close(release)
		synctest.Wait()
		if len(went) != 1 || went[0] != 1+n || going {
			t.Errorf("%v tasks were done in one go", went)
		}
		went = nil
		var many *Crew[int]
		many = NewCrew(func(i int) {
			if went[len(went)-1]++; i > 0 {
				many.Go(i - 1)
			}
		}, func() { went = append(went, 0) }, nothing)
		many.Go(2 * inOneGo)
		many.Close()
		if len(went) != 3 || went[0] != inOneGo || went[1] != inOneGo || went[2] != 1 {
			t.Errorf("%v tasks were done in one go", went)
		}
		c.Close()
	})
}
