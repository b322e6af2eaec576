package bench

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// kind is what a time is of.
type kind int

const (
	heard     kind = iota // from when a message was due until a peer that has to hear it did
	acked                 // from when a call was due until its answer
	joined                // from when a peer was due until it had joined, its connection included
	connected             // of the connection alone
	joinCall              // of the join alone
	left                  // of the leave
	kinds
)

var kindNames = [kinds]string{"heard", "acknowledged", "joined", "connect", "join", "leave"}

// stripes bounds how many goroutines meet at one lock.
const stripes = 4

// histogram is times in microseconds, to 1 % exactly.
type histogram struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

const longest = int64(10 * time.Minute / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 2) }

// phase is a part of a run that is measured by itself.
type phase struct {
	began int64
	took  time.Duration
	hists [kinds]*[stripes]histogram

	sent, acked, heard, joins, leaves atomic.Int64

	last atomic.Int64 // when something was heard or answered last
	late atomic.Int64 // how much later than due something was begun, at most
}

func newPhase(began int64) *phase {
	p := &phase{began: began}
	for k := range p.hists {
		p.hists[k] = &[stripes]histogram{}
		for i := range p.hists[k] {
			p.hists[k][i].h = newHistogram()
		}
	}
	return p
}

// took1 records times that ended at one instant. What was begun in the phase before is none of this one.
func (p *phase) took1(k kind, at int64, times []int64) {
	h := &p.hists[k][rand.IntN(stripes)] //nolint:gosec // any will do
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range times {
		if at-t >= p.began {
			_ = h.h.RecordValue(min(max(t/int64(time.Microsecond), 1), longest)) // in its bounds
		}
	}
}

func (p *phase) behind(d int64) {
	for {
		was := p.late.Load()
		if d <= was || p.late.CompareAndSwap(was, d) {
			return
		}
	}
}

// of merges a kind's stripes.
func (p *phase) of(k kind) *hdrhistogram.Histogram {
	all := newHistogram()
	for i := range p.hists[k] {
		h := &p.hists[k][i]
		h.mu.Lock()
		all.Merge(h.h)
		h.mu.Unlock()
	}
	return all
}

// tally counts by name.
type tally struct {
	mu    sync.Mutex
	by    map[string]int64
	total int64
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.by[name]++
	t.total++
}

func (t *tally) sum() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// stage is what a run is doing, for who watches it.
type stage struct {
	mu      sync.Mutex
	name    string
	began   time.Time
	lasts   time.Duration // 0: it is told by done and total
	done    atomic.Int64
	total   atomic.Int64
	tickets atomic.Int64 // of peers that come and go
}

func (r *run) begin(name string, lasts time.Duration) {
	s := &r.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.began, s.lasts = name, time.Now(), lasts
	s.done.Store(0)
	s.total.Store(0)
}

// tellEvery is how often progress is told.
const tellEvery = 200 * time.Millisecond

// tell tells of the progress until what it returns is called.
func (r *run) tell() (stop func()) {
	if r.o.Progress == nil {
		return func() {}
	}
	ended, told := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(told)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				r.o.Progress(r.progress())
			}
		}
	}()
	return func() {
		close(ended)
		<-told
	}
}

func (r *run) progress() Progress {
	s, ph := &r.stage, r.phase.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Progress{Stage: s.name, Errors: r.errs.sum()}
	if ph != nil {
		p.Done, p.Deliveries = ph.sent.Load(), ph.heard.Load()
	}
	switch total := s.total.Load(); {
	case s.lasts > 0:
		p.Part = min(1, float64(time.Since(s.began))/float64(s.lasts))
	case total > 0 && s.name == "connecting":
		p.Done = ph.joins.Load()
		p.Part = float64(p.Done) / float64(total)
	case total > 0:
		p.Part = float64(s.done.Load()) / float64(total)
	}
	return p
}
