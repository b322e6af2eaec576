package faults

import (
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// figures is what the tests of this run have measured.
var figures = &report{losses: map[string]*loss{}, outages: map[string][]time.Duration{}, mutants: map[string][2]int{}}

// report collects figures. Each method may be called from any test, at any time.
type report struct {
	mu          sync.Mutex
	ops, faults int
	seeds       []uint64
	losses      map[string]*loss
	divergences int
	ghosts      []time.Duration
	keys        int
	outages     map[string][]time.Duration
	recoveries  []time.Duration
	mutants     map[string][2]int // caught, total
	lines       []string
}

type loss struct{ lost, of int }

func (r *report) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// did counts operations of clients and faults that were put in their way.
func (r *report) did(ops, faults int) {
	r.locked(func() { r.ops, r.faults = r.ops+ops, r.faults+faults })
}

func (r *report) seed(s uint64) { r.locked(func() { r.seeds = append(r.seeds, s) }) }

// lost counts acknowledged writes that were lost, by how Redis keeps them: "appendfsync always", "sentinel, min-replicas".
func (r *report) lost(mode string, n int) { r.lostOf(mode, n, 0) }

// lostOf also says of how many.
func (r *report) lostOf(mode string, n, of int) {
	r.locked(func() {
		l := r.losses[mode]
		if l == nil {
			l = &loss{}
			r.losses[mode] = l
		}
		l.lost, l.of = l.lost+n, l.of+of
	})
}

// diverged counts clients that had another state than the store, or were told something else than others, and not told so.
func (r *report) diverged(n int) { r.locked(func() { r.divergences += n }) }

// ghost notes how long somebody whose node had died was still shown.
func (r *report) ghost(d ...time.Duration) { r.locked(func() { r.ghosts = append(r.ghosts, d...) }) }

// leaked counts keys of rooms and sessions that are left although these are over.
func (r *report) leaked(n int) { r.locked(func() { r.keys += n }) }

// outage notes how long writes failed at a failover, by its kind.
func (r *report) outage(kind string, d ...time.Duration) {
	r.locked(func() { r.outages[kind] = append(r.outages[kind], d...) })
}

// recovery notes how long a client was without a socket that it could use.
func (r *report) recovery(d []time.Duration) {
	r.locked(func() { r.recoveries = append(r.recoveries, d...) })
}

// mutations counts rules that were switched off, and how many of these were noticed, by what looked.
func (r *report) mutations(by string, caught, total int) {
	r.locked(func() { r.mutants[by] = [2]int{r.mutants[by][0] + caught, r.mutants[by][1] + total} })
}

// say adds a line of a test's own: what no column has.
func (r *report) say(tb testing.TB, format string, args ...any) {
	tb.Helper()
	line := fmt.Sprintf(format, args...)
	tb.Log(line)
	r.locked(func() { r.lines = append(r.lines, "`"+tb.Name()+"`: "+line) })
}

// quantiles are what a reader wants of many times.
func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s of %d", quantile(d, .5), quantile(d, .99), quantile(d, 1), len(d))
}

func quantile(d []time.Duration, q float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[max(0, int(math.Ceil(q*float64(len(d))))-1)].Round(time.Millisecond)
}

const (
	tableBegin = "<!-- figures: `make faults` writes what follows -->"
	tableEnd   = "<!-- end of figures -->"
)

// finish writes the table into a file between two comments, which it appends where there are none; "" for no file.
func (r *report) finish(file string) error {
	if file == "" {
		return nil
	}
	old, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := string(old)
	if !strings.Contains(text, tableBegin) {
		text = strings.TrimRight(text, "\n") + "\n\n" + tableBegin + "\n" + tableEnd + "\n"
	}
	head, rest, _ := strings.Cut(text, tableBegin)
	_, tail, ok := strings.Cut(rest, tableEnd)
	if !ok {
		return fmt.Errorf("%s has %q and not %q", file, tableBegin, tableEnd)
	}
	return os.WriteFile(file, []byte(strings.TrimLeft(head, "\n")+tableBegin+"\n\n"+r.table()+"\n"+tableEnd+tail), 0o644)
}

// table is the figures in Markdown.
func (r *report) table() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	form := "quick"
	if *long {
		form = "long"
	}
	fmt.Fprintf(&b, "The %s form, run on %s, Hearth %s, %s, Redis %s; %s.\n\n", form, time.Now().UTC().Format(time.DateOnly),
		output("git", "describe", "--tags", "--always"), runtime.Version(), redisVersion(), machine())
	b.WriteString("| figure | value |\n|---|---|\n")
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	row("operations", "%d", r.ops)
	row("faults", "%d", r.faults)
	seeds := make([]string, 0, len(r.seeds))
	for _, s := range slices.Sorted(slices.Values(r.seeds)) {
		seeds = append(seeds, strconv.FormatUint(s, 10))
	}
	row("seeds", "%s", strings.Join(slices.Compact(seeds), " "))
	for _, mode := range slices.Sorted(maps.Keys(r.losses)) {
		l := r.losses[mode]
		if l.of > 0 {
			row("acknowledged writes lost: "+mode, "%d of %d", l.lost, l.of)
		} else {
			row("acknowledged writes lost: "+mode, "%d", l.lost)
		}
	}
	row("undetected divergences", "%d", r.divergences)
	row("ghosts", "%s", quantiles(r.ghosts))
	row("keys leaked", "%d", r.keys)
	for _, kind := range slices.Sorted(maps.Keys(r.outages)) {
		row("outage: "+kind, "%s", quantiles(r.outages[kind]))
	}
	row("recovery", "%s", quantiles(r.recoveries))
	for _, by := range slices.Sorted(maps.Keys(r.mutants)) {
		row("mutations caught: "+by, "%d of %d", r.mutants[by][0], r.mutants[by][1])
	}
	if len(r.lines) > 0 {
		b.WriteString("\n")
		for _, line := range slices.Sorted(slices.Values(r.lines)) {
			b.WriteString("- " + line + "\n")
		}
	}
	return b.String()
}

// output is what a command prints, in one line.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output() //nolint:noctx // takes no time
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func redisVersion() string {
	name := os.Getenv("REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	for word := range strings.FieldsSeq(output(name, "--version")) {
		if v, ok := strings.CutPrefix(word, "v="); ok {
			return v
		}
	}
	return "unknown"
}

// machine says what a figure depends on, and nothing that names the machine.
func machine() string {
	text := fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if mem, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int
		if _, err := fmt.Sscanf(string(mem), "MemTotal: %d kB", &kb); err == nil {
			text += fmt.Sprintf(", %d GiB of memory", (kb+1<<19)>>20)
		}
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version, _, _ := strings.Cut(strings.TrimSpace(string(kernel)), "-")
		text += ", kernel " + version
	}
	return text
}
