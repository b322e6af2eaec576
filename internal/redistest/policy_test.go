//go:build unix

package redistest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// envRole has this test binary, run again as a child, play a part that a test
// can not play in its own process.
const envRole = "REDISTEST_ROLE"

// child is this test binary, set to run one test of it in the given role and
// environment.
func child(t *testing.T, test, role string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), EnvPolicy+"=", EnvServer+"=", envRole+"="+role)
	cmd.Env = append(cmd.Env, env...)
	// In a session of its own it has no terminal to tell what it leaves out.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// script writes a shell script that stands in for a redis-server.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "redis-server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// While one's own server is still coming up, somebody else's may answer on the
// port it is about to lose.
func TestAnotherServersAnswerDoesNotCount(t *testing.T) {
	other := Real(t)
	slow := script(t, "sleep 0.2; echo bind: Address already in use; exit 1")
	if _, err := startProcessAt(slow, t.TempDir(), other.proc.port); !errors.Is(err, errPortTaken) {
		t.Errorf("took another's server for its own: %v", err)
	}
}

func TestMissingServer(t *testing.T) {
	if os.Getenv(envRole) == "use" {
		t.Run("real", func(t *testing.T) { Real(t) })
		t.Run("each", func(t *testing.T) { Each(t, func(*testing.T, *Server) {}) })
		return
	}
	empty := t.TempDir()
	broken := script(t, "echo out of order; exit 1")
	tests := map[string]struct {
		env      []string
		passes   bool
		want     string
		howOften int
	}{
		// Two skipped tests and one line for the terminal.
		"skips and says so":       {[]string{"PATH=" + empty}, true, skipReason, 3},
		"fails if required":       {[]string{"PATH=" + empty, EnvPolicy + "=" + required}, false, howTo, 2},
		"fails on another policy": {[]string{EnvPolicy + "=maybe"}, false, `only "required" is known`, 2},
		"fails on a wrong name":   {[]string{EnvServer + "=no-such-server"}, false, EnvServer, 2},
		"shows why a start fails": {[]string{EnvServer + "=" + broken}, false, "out of order", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := child(t, "TestMissingServer", "use", tt.env...).CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if passed := err == nil; passed != tt.passes {
				t.Errorf("passed is %v", passed)
			}
			if n := strings.Count(string(out), tt.want); n != tt.howOften {
				t.Errorf("%q stands there %d times, not %d", tt.want, n, tt.howOften)
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}
