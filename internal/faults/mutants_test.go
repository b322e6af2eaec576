package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// mutant is a rule of the product that is switched off, and the tests that have to fall by that.
type mutant struct {
	name, file, old, changed string
	pkg                      string // whose tests
	tests                    string // as -run takes them
}

var mutants = slices.Concat(stateMutants, socketMutants)

// TestMutants switches one rule after the other off, in a copy: tests have to fall at each. (Rules that scripts have:
// TestStateMachineNotices in internal/check.)
//
//nolint:tparallel // it counts when all of them have ended, and runs beside no other test's clusters
func TestMutants(t *testing.T) {
	if !*long {
		t.Skip("only with -long")
	}
	if t.Failed() || !t.Run("none", unchanged) {
		return
	}
	var caught atomic.Int64
	t.Cleanup(func() {
		figures.mutations("Go", int(caught.Load()), len(mutants))
		t.Logf("%d of %d mutants noticed", caught.Load(), len(mutants))
	})
	for _, m := range mutants {
		t.Run(strings.TrimPrefix(m.name, "... "), func(t *testing.T) {
			t.Parallel() // most of them wait
			out, failed := goTest(t, m.pkg, m.tests, "-overlay="+overlaid(t, m.file, m.old, m.changed))
			switch {
			case !failed:
				t.Errorf("%s: not noticed by %s of %s", m.file, m.tests, m.pkg)
			case strings.Contains(out, notBuilt), !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic: ") && !strings.Contains(out, "fatal error: "):
				t.Errorf("no test fell, but: %s", out)
			default:
				caught.Add(1)
				t.Log(fell(out))
			}
		})
	}
}

// fell returns what a run says of the tests that fell in it, and what they first complained of.
func fell(out string) string {
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		if strings.Contains(line, "--- FAIL") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return strings.Join(lines[i:min(i+4, len(lines))], "\n")
		}
	}
	return ""
}

// Each rule is still where it is switched off. (That takes no time, unlike TestMutants.)
func TestRulesAreWhereTheyAreSwitchedOff(t *testing.T) {
	dir := sources(t)
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join(dir, m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s has %q %d times", m.name, m.file, m.old, n)
		}
	}
}

// unchanged runs the same tests on what nothing is switched off in.
func unchanged(t *testing.T) {
	tests := map[string][]string{}
	for _, m := range mutants {
		if !slices.Contains(tests[m.pkg], m.tests) {
			tests[m.pkg] = append(tests[m.pkg], m.tests)
		}
	}
	for pkg, names := range tests {
		t.Run(filepath.Base(pkg), func(t *testing.T) {
			t.Parallel()
			if out, failed := goTest(t, pkg, strings.Join(names, "|")); failed || strings.Contains(out, "no tests to run") {
				t.Error(out)
			}
		})
	}
}

// goTest runs tests with flags of the go command, which also hold for what they build: the nodes of this package's tests.
func goTest(t *testing.T, pkg, tests string, flags ...string) (out string, failed bool) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout=5m", "-run", tests, "./"+pkg)
	c.Dir = sources(t)
	c.Env = append(os.Environ(), "GOFLAGS="+strings.Join(append(flags, output("go", "env", "GOFLAGS")), " "))
	text, err := c.CombinedOutput()
	return string(text), err != nil
}
