// Package check holds the system to its contract as a whole, by machines that know nothing of its code: a state machine
// drives the store's verbs and compares all that is kept and told with a model; histories of clients on several nodes are
// checked for linearizability, also while they are cut and come back; storms of writers and of waiters are held to what §2 of the contract says of them; and
// each of these has to notice when a fence in the scripts is switched off.
//
// It is not the place for what one verb returns (store/storetest) or how it looks on the wire (httpapi). `make test` runs
// a short part; `make check` runs the long one. Every random run prints its seed, and -seed repeats it.
package check

import (
	"flag"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

var (
	long = flag.Bool("long", false, "run for minutes instead of seconds")
	seed = flag.Uint64("seed", 0, "repeat the run of this seed; 0: another one each time")
)

// patience is how long a test waits for what has to come: far more than it takes, also beside other tests.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	// A failure is repeated by its seed, which the output has.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	redistest.Main(m)
}

// seeds returns the seeds of n runs: those that follow -seed, or the time's.
func seeds(t *testing.T, n int) []uint64 {
	t.Helper()
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())%1_000_000_000 + 1
	} else {
		n = 1
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = first + uint64(i)*1_000_003
	}
	t.Logf("seeds %v; -args -seed=N repeats one", out)
	return out
}

// size picks how much is done.
func size(quick, much int) int {
	if *long {
		return much
	}
	return quick
}

var prefixes atomic.Int64

// prefixOn returns a prefix that nothing on the server has yet.
func prefixOn(s *redistest.Server) string {
	return fmt.Sprintf("%s-%s", s.Prefix, strconv.FormatInt(prefixes.Add(1), 36))
}
