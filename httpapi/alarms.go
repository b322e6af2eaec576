package httpapi

import (
	"container/heap"
	"sync"
	"time"
)

// alarms calls everybody at the time at which he wants to be called, by one timer and one goroutine for all, which is there
// while anybody has an alarm.
type alarms struct {
	wg *sync.WaitGroup // its goroutine's

	mu      sync.Mutex
	due     alarmHeap
	running bool
	sooner  chan struct{} // has one place: the first alarm is another one
}

// ringer is who has an alarm.
type ringer interface{ ring(now time.Time) }

// alarm is a ringer's place in it, guarded by it.
type alarm struct {
	at    time.Time
	index int // one more than its place in the heap; 0: it is not set
	of    ringer
}

func (a *alarms) init(wg *sync.WaitGroup) { a.wg, a.sooner = wg, make(chan struct{}, 1) }

// set makes r.ring be called at that time, and not at the one set before by l, which is r's; never if it is zero.
func (a *alarms) set(l *alarm, r ringer, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.index > 0 {
		heap.Remove(&a.due, l.index-1)
	}
	if l.of, l.at = r, at; !at.IsZero() {
		heap.Push(&a.due, l)
	}
	if !a.running && len(a.due) > 0 {
		a.running = true
		a.wg.Go(a.run)
	}
	if len(a.due) == 0 || a.due[0] == l {
		select {
		case a.sooner <- struct{}{}:
		default:
		}
	}
}

// run calls who is due until nobody has an alarm.
func (a *alarms) run() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-a.sooner:
		}
		var ringing []ringer
		now := time.Now()
		a.mu.Lock()
		for len(a.due) > 0 && !a.due[0].at.After(now) {
			l, _ := heap.Pop(&a.due).(*alarm)
			ringing = append(ringing, l.of)
		}
		a.mu.Unlock()
		for _, r := range ringing {
			r.ring(now)
		}
		a.mu.Lock()
		if len(a.due) == 0 {
			a.running = false
			a.mu.Unlock()
			return
		}
		t.Reset(time.Until(a.due[0].at))
		a.mu.Unlock()
	}
}

type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *alarmHeap) Push(x any) {
	l, ok := x.(*alarm)
	if !ok {
		return
	}
	*h = append(*h, l)
	l.index = len(*h)
}

func (h *alarmHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.index = 0
	return l
}
