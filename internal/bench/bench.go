// Package bench puts load on a deployment and measures what clients see of it: peers on WebSockets that send, write, come
// and go, at a rate or as fast as answers come, with every message accounted for at each peer that has to hear it. It is
// the client's half of `hearth bench`, and knows of a server what the wire says.
//
// It is no client for applications: a peer whose socket ends does not come back, it is counted.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth"
)

// Scenario is what the peers do.
type Scenario string

// Scenarios.
const (
	Fanout Scenario = "fanout" // rooms with one sender each, which all others hear
	Rooms  Scenario = "rooms"  // all peers of many rooms send
	Joins  Scenario = "joins"  // peers connect, join, leave
	Sets   Scenario = "sets"   // writes of entries, acknowledged
	Idle   Scenario = "idle"   // peers that do nothing
)

// Scenarios are all, in the order of the help.
var Scenarios = []Scenario{Fanout, Rooms, Joins, Sets, Idle}

// Options says what is done to whom. Servers and Token are required; what is zero has the scenario's default.
type Options struct {
	Scenario Scenario
	Servers  []string // base URLs, over which the peers of each room are spread
	Rooms    int
	Peers    int     // of each room: those who hear, but for Rooms, where they also send
	Rate     float64 // of messages, writes or joins a second, in all; 0: closed loops
	InFlight int     // of a closed loop: of each sender of messages, in all of writes and joins
	Size     int     // of a message or value
	Warmup   time.Duration
	Duration time.Duration
	Timeout  time.Duration // for an answer
	// Token returns a token to join a room with. It is asked once a room, and the room's peers share it.
	Token func(ctx context.Context, room string) (string, error)
	// Progress is called a few times a second, by one goroutine.
	Progress func(Progress)
}

// defaults of a scenario.
type defaults struct{ rooms, peers, inFlight int }

var defaultsOf = map[Scenario]defaults{
	Fanout: {1, 1000, 8},
	Rooms:  {100, 5, 1},
	Joins:  {100, 4, 64},
	Sets:   {100, 1, 32},
	Idle:   {100, 10, 1},
}

// Bounds of what is asked for.
const (
	minSize   = len(mark) + 2*stampBytes + 4 // the stamp, a point, two quotes
	maxSize   = 1 << 20
	maxPeers  = 1 << 20
	maxFlight = 1 << 14
)

// Check puts defaults in and returns what can't be done.
func (o *Options) Check() error {
	d, ok := defaultsOf[o.Scenario]
	if !ok {
		return hearth.BadParams("no scenario is named %q; there are %v", o.Scenario, Scenarios)
	}
	put := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	put(&o.Rooms, d.rooms)
	put(&o.Peers, d.peers)
	put(&o.InFlight, d.inFlight)
	put(&o.Size, 256)
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	switch {
	case o.Rooms < 1 || o.Peers < 1 || o.Rooms > maxPeers/(o.Peers+1):
		return hearth.BadParams("rooms and peers must be 1 at least, and %d peers at most in all", maxPeers)
	case o.Scenario == Rooms && o.Peers < 2:
		return hearth.BadParams("in the scenario rooms a room needs 2 peers at least: who sends does not hear itself")
	case o.InFlight < 1 || o.InFlight > maxFlight:
		return hearth.BadParams("in flight must be 1–%d", maxFlight)
	case o.Size < minSize || o.Size > maxSize:
		return hearth.BadParams("the size must be %d–%d bytes: a message bears its time", minSize, maxSize)
	case o.Rate < 0 || math.IsNaN(o.Rate) || o.Rate > 1e7:
		return hearth.BadParams("the rate must be 0–10000000")
	case o.Duration < 0 || o.Warmup < 0 || o.Timeout < 0:
		return hearth.BadParams("times must not be negative")
	}
	return nil
}

// Progress is where a run stands.
type Progress struct {
	Stage      string  // connecting, warming up, running, settling, leaving
	Part       float64 // of the stage, 0–1
	Done       int64   // peers that are connected, or messages, writes and joins
	Deliveries int64
	Errors     int64
}

// run is one run.
type run struct {
	o      Options
	prefix string    // of its rooms and their peers
	base   time.Time // from which stamps count
	rooms  []*room
	errs   tally

	readers sync.WaitGroup
	// ending: the sockets end by our own doing from now on.
	ending atomic.Bool
	phase  atomic.Pointer[phase]
	books  books
	stage  stage
}

// books are the accounts of the whole run, by which it is known that nothing more has to come.
type books struct {
	sent, answered, expected, heard, excused atomic.Int64
}

// room is one of a run's.
type room struct {
	name    string
	peers   []*peer   // who hear, in the scenario rooms also who send
	writers []*sender // whoever sends here, by the number in its stamps

	once  sync.Once
	token string
	err   error
}

func (r *room) tokenOf(ctx context.Context, get func(context.Context, string) (string, error)) (string, error) {
	r.once.Do(func() { r.token, r.err = get(ctx, r.name) })
	return r.token, r.err
}

// Run does what o says until ctx ends or all is done, leaves the rooms, and tells what came of it. If ctx ends early the
// result is of what was done by then. An error means that there is nothing to tell.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	r := &run{o: o, prefix: fmt.Sprintf("bench-%08x", rand.Uint32()), base: time.Now()} //nolint:gosec // a name, no secret
	r.errs.by = map[string]int64{}
	for i := range o.Rooms {
		r.rooms = append(r.rooms, &room{name: r.prefix + "-" + strconv.Itoa(i)})
	}
	stopTelling := r.tell()
	defer stopTelling()
	nodes := watchNodes(ctx, o.Servers)
	r.begin("connecting", 0)
	err := r.connect(ctx)
	res := &Result{}
	if err == nil {
		nodes.begin(ctx)
		r.measure(ctx, res, nodes)
	}
	r.leave(context.WithoutCancel(ctx))
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted before all peers had joined")
		}
		return nil, err
	}
	r.account(res)
	res.Interrupted = ctx.Err() != nil
	return res, nil
}

// measure runs the scenario, first for the time of the warm-up, and takes down what it was like.
func (r *run) measure(ctx context.Context, res *Result, nodes *nodes) {
	met := r.phase.Load() // in which the peers joined
	if r.o.Warmup > 0 && r.o.Scenario != Idle {
		r.once(ctx, "warming up", r.o.Warmup)
		nodes.begin(ctx)
	}
	cpu, known := clientCPU()
	p := r.once(ctx, "running", r.o.Duration)
	if after, ok := clientCPU(); ok && known {
		used := (after - cpu).Seconds()
		res.ClientCPU = &used
	}
	nodes.end(context.WithoutCancel(ctx))
	if r.o.Scenario == Idle {
		p.hists[joined] = met.hists[joined]
	}
	res.fill(r, p, nodes)
}

// once runs the scenario for a time, and waits until all that was sent has been heard.
func (r *run) once(ctx context.Context, stage string, d time.Duration) *phase {
	p := newPhase(r.now())
	r.phase.Store(p)
	r.begin(stage, d)
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	switch r.o.Scenario {
	case Joins:
		r.churn(limited)
	case Idle:
		<-limited.Done()
	default:
		r.send(limited)
	}
	sending := r.now()
	r.begin("settling", 0)
	r.settle()
	// Without a loss the time to the last delivery counts, and not what was waited for another.
	p.took = time.Duration(max(sending, p.last.Load()) - p.began)
	return p
}

// How long it is waited for what has not come yet: as long as something comes, and so long after.
const (
	quiet     = 2 * time.Second
	maxSettle = 30 * time.Second
)

// settle returns when all that was acknowledged has been heard, or nothing comes any more.
func (r *run) settle() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	b := &r.books
	seen, moved, end := int64(-1), time.Now(), time.Now().Add(maxSettle)
	for now := time.Now(); now.Before(end); now = <-tick.C {
		if came := b.heard.Load() + b.answered.Load(); came != seen {
			seen, moved = came, now
		}
		// What was refused may have been done all the same: then more is heard than is expected.
		sure := b.excused.Load() == 0
		if b.answered.Load() >= b.sent.Load() && b.heard.Load() >= b.expected.Load() && (sure || now.Sub(moved) > quiet/4) {
			return
		}
		if now.Sub(moved) > quiet {
			return
		}
	}
}

func (r *run) now() int64 { return int64(time.Since(r.base)) }

// each does f for 0 … n-1, so many at a time, and returns the first error; after one no more are begun.
func each(ctx context.Context, n, atOnce int, f func(i int) error) error {
	var next atomic.Int64
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(n, atOnce) {
		wg.Go(func() {
			for first.Load() == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// pause waits for d and reports whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
