package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/wire"
)

// No namespace and no preloaded library moves the clock that a Go program reads, and a machine's own is not a test's to set.
// So the product, its source unchanged, is built with a standard library whose time.Now is off, by CLOCK_STEP seconds from
// CLOCK_AFTER seconds after the start on. The monotonic clock stays, as it does when a machine's clock is set.

const (
	nowIs     = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n"
	nowBecome = "\tsec, nsec, mono := runtimeNow()\n\tif stepBy != 0 && mono-startNano >= stepAfter {\n\t\tsec += stepBy\n\t}\n\tif mono == 0 {\n"
	stepped   = `
var stepBy, stepAfter = stepEnv("CLOCK_STEP"), stepEnv("CLOCK_AFTER") * 1e9

func stepEnv(name string) int64 {
	v, _ := syscall.Getenv(name)
	n, _ := atoi(v)
	return int64(n)
}
`
)

// steppable builds the product like that.
func steppable(t *testing.T) string {
	t.Helper()
	// Where the toolchain is may be known to the go command only.
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(src), nowIs, nowBecome, 1) + stepped
	text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	if strings.Count(text, "stepAfter") != 2 || strings.Count(text, "\"syscall\"") != 1 {
		t.Fatalf("time.Now of %s is another one than this test knows: see %s", runtime.Version(), file)
	}
	dir := t.TempDir()
	changed, overlay, path := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "hearth")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", path, "github.com/hearthstore/hearth/cmd/hearth").CombinedOutput()
	if err != nil {
		t.Fatalf("build the product with another clock: %v: %s", err, out)
	}
	return path
}

// TestClockStep (32) runs nodes whose clocks are a minute ahead and behind, and some that are set while they serve.
func TestClockStep(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("left out without -long: it builds the standard library anew")
	}
	c := newCluster(t, options{nodes: 1})
	c.o.binary = steppable(t)
	for _, env := range [][2]string{{"60", "0"}, {"-60", "0"}, {"60", "20"}, {"-60", "20"}} {
		c.o.env["CLOCK_STEP"], c.o.env["CLOCK_AFTER"] = env[0], env[1]
		c.start()
	}
	l := c.load(loadOptions{seed: seedOf(t), rooms: 4, workers: 5})
	rooms, seers := c.watched("clock", 1, c.node(0))
	var stay []*peer
	for i := range 20 {
		stay = append(stay, c.newPeer(rooms[0], fmt.Sprintf("p%d", i), nil, on(c.node(i%5))).connected())
	}
	gs := make([][]ghost, 5)
	for i := range gs {
		gs[i] = c.ghosts(c.node(i), fmt.Sprintf("ghost%d-", i), rooms, 5)
	}
	off := func(n *process) time.Duration {
		w, err := c.dial(t.Context(), n, rooms[0], "asks", wire.Hear(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Cut()
		r, err := w.Call("ping", map[string]any{})
		var p struct {
			Timestamp int64 `json:"timestamp"`
		}
		if err != nil || json.Unmarshal(r, &p) != nil {
			t.Fatal(err)
		}
		return time.Until(time.UnixMilli(p.Timestamp)).Round(10 * time.Second)
	}
	for i, want := range []time.Duration{0, time.Minute, -time.Minute, time.Minute, -time.Minute} {
		await(t, fmt.Sprintf("the clock of %s to be off by %s", c.node(i).name, want), func() bool { return off(c.node(i)) == want })
	}
	pass(t, 2*c.o.lease)
	for _, p := range stay {
		c.atRest(p.room, p, seers[0])
		if n := len(c.books.leaves(p.room, p.id)); n != 0 || len(p.joins) != 1 {
			t.Errorf("%s left %d times, joined %d times", p.id, n, len(p.joins))
		}
	}
	var early []time.Duration
	for i := range gs {
		at := time.Now()
		cut(gs[i])
		for _, d := range since(at, c.leftOf(gs[i])) {
			if d < c.o.grace-time.Second {
				t.Errorf("a peer of %s left %s after its socket, before its grace of %s", c.node(i).name, d, c.o.grace)
			}
			early = append(early, d)
		}
	}
	l.clean(t, 4)
	figures.say(t, "clocks of nodes off by a minute in either direction, two of them set while they served: no leave but of who went, these after %s",
		quantiles(early))
}
