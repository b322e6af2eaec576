package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Environment variables that choose the real server.
const (
	// EnvServer names the redis-server binary, by path or by a name in PATH.
	EnvServer = "REDIS_SERVER"
	// EnvPolicy says what a missing redis-server means. Empty: tests on it are
	// skipped. "required": they fail.
	EnvPolicy = "HEARTH_TEST_REDIS"
)

const (
	required   = "required"
	howTo      = "apt-get install redis-server, or brew install redis"
	skipReason = "real Redis left out: redis-server not found; make test runs it"
)

// binary is the path of the real server; without one it ends the test, by
// failing or skipping as EnvPolicy says.
func binary(tb testing.TB) string {
	tb.Helper()
	policy := os.Getenv(EnvPolicy)
	if policy != "" && policy != required {
		tb.Fatalf("redistest: %s=%q: only %q is known", EnvPolicy, policy, required)
	}
	// A binary that was asked for by name and is not there is a mistake to
	// show, never a reason to skip.
	if name := os.Getenv(EnvServer); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			tb.Fatalf("redistest: %s: %v", EnvServer, err)
		}
		return path
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if policy == required {
		tb.Fatalf("redistest: redis-server not found: %s", howTo)
	}
	sayLeftOut()
	tb.Skip(skipReason)
	return ""
}

var leftOut sync.Once

// sayLeftOut tells the person at the terminal, once a test binary, that tests
// were skipped. `go test ./...` throws away what a passing package prints, to
// stderr too, so the line goes to the terminal itself; where there is none it
// goes to stderr, which shows with -v, with -json and beside failures.
func sayLeftOut() {
	leftOut.Do(func() {
		w := os.Stderr
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			defer func() { _ = tty.Close() }()
			w = tty
		}
		_, _ = fmt.Fprintf(w, "%s: %s\n", filepath.Base(os.Args[0]), skipReason)
	})
}
