package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hearthstore/hearth/internal/testlog"
)

// built is the folder of the binaries.
var built string

var building sync.Mutex

// notBuilt is what a test says that could not build the product.
const notBuilt = "build the product"

// binary builds the product, once for all tests; with the race detector for those who ask for it.
func binary(tb testing.TB, race bool) string {
	tb.Helper()
	building.Lock()
	defer building.Unlock()
	var err error
	if built == "" {
		//nolint:usetesting // it is there for all tests
		if built, err = os.MkdirTemp("", "hearth-faults"); err != nil {
			tb.Fatal(err)
		}
	}
	name, args := "hearth", []string{"build"}
	if race {
		name, args = "hearth-race", append(args, "-race")
	}
	path := filepath.Join(built, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args = append(args, "-o", path, "github.com/hearthstore/hearth/cmd/hearth")
	if out, err := exec.CommandContext(tb.Context(), "go", args...).CombinedOutput(); err != nil {
		tb.Fatalf(notBuilt+": %v: %s", err, out)
	}
	return path
}

// process is a node that runs, or did.
type process struct {
	tb   testing.TB
	name string
	url  string      // http://host:port; set by who awaits it, before up
	up   atomic.Bool // it has been ready
	cmd  *exec.Cmd
	link link // to Redis; nil if nothing is there to cut

	out testlog.Buffer

	ended chan struct{} // closed when it has been waited for
	err   error
}

// tail is the end of it, for messages.
func (p *process) tail() string {
	const most = 16 << 10
	s := p.out.String()
	return s[max(0, len(s)-most):]
}

var servingLine = regexp.MustCompile(`msg=serving addr=(\S+)`)

// launch starts the binary. It is killed when the test binary ends in whatever way.
func launch(tb testing.TB, name, path string, l link, env map[string]string, args ...string) *process {
	tb.Helper()
	p := &process{tb: tb, name: name, link: l, ended: make(chan struct{})}
	//nolint:noctx // it lives until it is killed, or stops
	p.cmd = exec.Command(path, append([]string{"serve"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=halt_on_error=0"}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		p.cmd.Env = append(p.cmd.Env, k+"="+env[k])
	}
	started := make(chan error)
	go p.run(started) // ends with the process
	if err := <-started; err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill() // has ended already if it fails
		<-p.ended
		if tb.Failed() {
			tb.Logf("end of what %s at %s said:\n%s", p.name, p.url, p.tail())
		}
		if p.out.Has("WARNING: DATA RACE") {
			tb.Errorf("%s: data race:\n%s", p.name, p.out.String())
		}
		if p.out.Has("msg=panic") {
			tb.Errorf("%s: a panic:\n%s", p.name, p.out.String())
		}
	})
	return p
}

// run starts the process and waits for its end on one thread, which is held all the while: Linux ends the process with the
// *thread* that started it, and a thread that has been in another network namespace must not run anything else.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	err := startIn(p.link, p.cmd)
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// await waits until the node is ready.
func (p *process) await() *process {
	p.tb.Helper()
	await(p.tb, p.name+" to be ready", func() bool {
		select {
		case <-p.ended:
			p.tb.Fatalf("%s ended at its start: %v: %s", p.name, p.err, p.tail())
		default:
		}
		return p.ready()
	})
	p.up.Store(true)
	return p
}

// ready asks the node whether it is.
func (p *process) ready() bool {
	status, _ := p.get("/readyz")
	return status == http.StatusOK
}

// get asks for something that needs no token; status 0: there was no answer.
func (p *process) get(path string) (status int, body string) {
	if p.url == "" {
		m := servingLine.FindStringSubmatch(p.out.String())
		if m == nil {
			return 0, ""
		}
		p.url = "http://" + m[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		p.tb.Error(err)
		return 0, ""
	}
	res, err := plain.Do(r)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(b)
}

// plain keeps no connections, so none is met that a fault has broken.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// metric returns one of the node's figures, by its name as it stands in /metrics, labels included.
func (p *process) metric(name string) (float64, error) {
	_, body := p.get("/metrics")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", p.name, name)
}

// kill ends the node at once (SIGKILL).
func (p *process) kill() {
	p.tb.Helper()
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// term asks the node to stop (SIGTERM) and doesn't wait for it.
func (p *process) term() {
	p.tb.Helper()
	p.signal(syscall.SIGTERM)
}

// stopped waits for the end of a node that was asked to stop, which has to be in order.
func (p *process) stopped() {
	p.tb.Helper()
	await(p.tb, p.name+" to stop", func() bool { return p.gone() })
	if p.err != nil {
		p.tb.Errorf("%s ended with %v", p.name, p.err)
	}
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// freeze stops the node where it stands (SIGSTOP) and returns when it does.
func (p *process) freeze() {
	p.tb.Helper()
	p.signal(syscall.SIGSTOP)
	if err := waitFrozen(p.cmd.Process.Pid); err != nil {
		p.tb.Fatal(err)
	}
}

// thaw lets it go on (SIGCONT).
func (p *process) thaw() {
	p.tb.Helper()
	p.signal(syscall.SIGCONT)
}

func (p *process) signal(sig os.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Fatalf("%v to %s: %v", sig, p.name, err)
	}
}
