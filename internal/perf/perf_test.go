// Package perf measures what the load tool alone can't show, since it takes servers of a certain kind: how verbs bear many
// live sessions in one Redis, what a further node costs, and what a cluster gives. It prints tables.
//
// It is not the place for correctness, and asserts no time: `make test` runs it small, to see that it still works, and holds
// only counts. `make perf` runs it in full, for minutes, on a machine that should do nothing else.
package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/bench"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/testlog"
)

var long = flag.Bool("long", false, "run in full, for minutes")

func TestMain(m *testing.M) { redistest.Main(builder{m}) }

// builder removes what the tests have built.
type builder struct{ *testing.M }

func (b builder) Run() int {
	code := b.M.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	return code
}

// built is the folder of the binary.
var built string

var binary = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "hearth-perf"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "hearth")
	out, err := exec.Command("go", "build", "-o", path, "github.com/hearthstore/hearth/cmd/hearth").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// size picks how much is done.
func size[T any](quick, much T) T {
	if *long {
		return much
	}
	return quick
}

const (
	appKey    = "perf"
	appSecret = "perf-secret-of-32-bytes-or-longer"
	patience  = time.Minute
)

func env(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}, more...)
}

var servingLine = regexp.MustCompile(`msg=serving addr=(\S+)`)

// startNodes runs n nodes until stop is called, at the latest when the test ends, and returns their URLs.
func startNodes(tb testing.TB, n int, url, prefix string) (urls []string, stop func()) {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	var ends []func()
	stop = sync.OnceFunc(func() {
		for _, end := range ends {
			end()
		}
	})
	tb.Cleanup(stop)
	for range n {
		out := &testlog.Buffer{}
		cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), path, "serve")
		cmd.Env = env("HEARTH_ADDR=127.0.0.1:0", "HEARTH_REDIS="+url, "HEARTH_PREFIX="+prefix, "HEARTH_DRAIN=2s")
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			tb.Fatal(err)
		}
		ends = append(ends, func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				tb.Errorf("a node ended with %v: %s", err, out.String())
			}
		})
		await(tb, "a node to serve", func() bool { return servingLine.MatchString(out.String()) })
		urls = append(urls, "http://"+servingLine.FindStringSubmatch(out.String())[1])
	}
	return urls, stop
}

// await asks again and again until ok says yes: what is waited for is another process's doing.
func await(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

// load runs `hearth bench` in a process of its own, and expects it to lose nothing and to be refused nothing.
func load(tb testing.TB, urls []string, args ...string) *bench.Result {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), path, append([]string{"bench", "--json", "--quiet", "--server", strings.Join(urls, ",")}, args...)...)
	cmd.Env = env()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("hearth bench %v: %v: %s%s", args, err, errs.String(), out)
	}
	var r bench.Result
	if err := json.Unmarshal(out, &r); err != nil {
		tb.Fatal(err)
	}
	if len(r.Errors) > 0 || r.Failed() {
		tb.Errorf("hearth bench %v: %+v", args, r)
	}
	return &r
}

// work is what Redis has done so far.
type work struct {
	scripts float64 // EVALSHA
	usec    float64 // of them
	cpu     float64 // seconds
	out     float64 // bytes sent to clients
	memory  float64
}

func (w work) minus(o work) work {
	return work{w.scripts - o.scripts, w.usec - o.usec, w.cpu - o.cpu, w.out - o.out, w.memory - o.memory}
}

func (w work) per(n float64) work {
	return work{w.scripts / n, w.usec / n, w.cpu / n, w.out / n, w.memory / n}
}

// workOf reads what servers have done, in all.
func workOf(tb testing.TB, clients ...*redis.Client) (sum work) {
	tb.Helper()
	for _, c := range clients {
		text, err := c.Info(tb.Context(), "all").Result()
		if err != nil {
			tb.Fatal(err)
		}
		sum.scripts += field(text, `(?m)^cmdstat_evalsha:calls=(\d+)`)
		sum.usec += field(text, `(?m)^cmdstat_evalsha:calls=\d+,usec=(\d+)`)
		sum.cpu += field(text, `(?m)^used_cpu_user:([\d.]+)`) + field(text, `(?m)^used_cpu_sys:([\d.]+)`)
		sum.out += field(text, `(?m)^total_net_output_bytes:(\d+)`)
		sum.memory += field(text, `(?m)^used_memory:(\d+)`)
	}
	return sum
}

func field(text, pattern string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return 0 // not called yet
	}
	f, _ := strconv.ParseFloat(m[1], 64)
	return f
}

// marginal is what one more message (write, join) costs Redis: the same load is run at two rates for the same time, so what
// the peers' coming and going and the idle nodes cost is in both, and falls out.
func marginal(tb testing.TB, urls []string, clients []*redis.Client, low, high float64, args ...string) work {
	tb.Helper()
	at := func(rate float64) (work, float64) {
		before := workOf(tb, clients...)
		r := load(tb, urls, slices.Concat(args, []string{"--rate", strconv.FormatFloat(rate, 'f', -1, 64), "--warmup", "0s"})...)
		return workOf(tb, clients...).minus(before), float64(r.Sent)
	}
	at(low) // connections, scripts and subscriptions that are there from then on
	few, n1 := at(low)
	many, n2 := at(high)
	return many.minus(few).per(n2 - n1)
}

// table prints rows in columns.
func table(tb testing.TB, title string, rows ...[]string) {
	tb.Helper()
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	tb.Logf("%s\n%s", title, b.String())
}

func num(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
