// Package faults kills things: nodes, their paths to Redis, connections, clocks. Nodes are processes of the product's own
// binary, on loopback, and whatever clients were told before, while and after must be what the contract promises (§2).
// Each test prints its figures, which `make faults` puts into docs/guarantees.md.
//
// It is not the place for what a script does (store/storetest), nor for what needs no faults (internal/check). `make test`
// runs a quick half; `make faults` the long one. Every random run prints its seed, and -seed repeats it.
//
// A node is cut off from Redis by a network namespace where the machine allows one: a veth pair whose neighbor entries are
// made to point nowhere, so that packets vanish as they do in a cable that is cut. Elsewhere a proxy in the test's process
// stands between them, which holds what comes while the path is cut and hands it on when it is healed, as a network does
// by retransmission. (Toxiproxy throws away what is under way and closes the connection when a "timeout" is taken off; so
// nothing ever arrives late, which is just what fences are for. It would also bring four modules.) Each test that cuts
// says which means it used.
package faults

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

var (
	long  = flag.Bool("long", false, "run for minutes instead of seconds")
	seed  = flag.Uint64("seed", 0, "repeat the run of this seed; 0: another one each time")
	soak  = flag.Duration("soak", 3*time.Minute, "how long the endurance test lasts with -long; an hour is what is promised")
	proxy = flag.Bool("proxy", false, "cut by a proxy also where namespaces are allowed")
	table = flag.String("table", "", "file whose table of figures is written anew")
)

// patience is how long a test waits for what has to come: far more than it takes, also beside other tests.
const patience = time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	redistest.Main(runner{m})
}

// runner removes what the tests have built and writes what they have found.
type runner struct{ *testing.M }

func (r runner) Run() int {
	code := r.M.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	if err := figures.finish(*table); err != nil {
		_, _ = os.Stderr.WriteString("faults: " + err.Error() + "\n")
		code = max(code, 1)
	}
	return code
}

// seedOf returns the seed of a test's run, and says it.
func seedOf(tb testing.TB) uint64 {
	tb.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())%1_000_000_000 + 1
	}
	tb.Logf("seed %d; -args -seed=%[1]d repeats it", s)
	figures.seed(s)
	return s
}

func random(seed uint64, who int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(who))) }

// size picks how much is done.
func size[T any](quick, much T) T {
	if *long {
		return much
	}
	return quick
}

// await asks again and again until ok says yes: what is waited for is another process's doing.
func await(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	if !eventually(patience, ok) {
		tb.Fatalf("waited in vain for %s", what)
	}
}

// eventually reports whether ok says yes within a time.
func eventually(within time.Duration, ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// pass lets time go by, where time itself is meant.
func pass(tb testing.TB, d time.Duration) {
	tb.Helper()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-tb.Context().Done():
	}
}
