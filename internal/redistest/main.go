package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main is the TestMain of a package that uses a Redis: it runs the tests, stops
// the shared server, fails the run if a goroutine was left behind, and exits.
func Main(m goleak.TestingM, opts ...goleak.Option) {
	goleak.VerifyTestMain(runner{m}, opts...)
}

type runner struct{ goleak.TestingM }

// Run stops the shared server before goleak looks: its waiter is a goroutine.
func (r runner) Run() int {
	shared.open()
	code := r.TestingM.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintf(os.Stderr, "redistest: %v\n", err)
		return max(code, 1)
	}
	awaitDials()
	return code
}

// awaitDials waits for goroutines of the client library that try whether a
// server which is gone is back: they do so once a second, and only then find
// their pool closed. One that stays longer is for goleak to find.
func awaitDials() {
	buf := make([]byte, 1<<20)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); <-tick.C {
		if !bytes.Contains(buf[:runtime.Stack(buf, true)], []byte("pool.(*ConnPool).tryDial")) {
			return
		}
	}
}

// Shared is the one real server of a test binary, started by its first user and
// stopped by [Main], which it therefore needs. Tests that run one after the
// other each find it empty: whoever comes while nobody else uses it has it
// flushed. Tests that run in parallel are kept apart by Prefix alone, as they
// would be on a cluster, so a user puts every key and channel under it and does
// nothing that the whole server feels (FLUSHALL, CONFIG, CLIENT KILL): that is
// what [Real] is for.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	bin := binary(tb)
	addr, err := shared.enter(bin)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(shared.leave)
	return newServer(NameReal, addr)
}

var shared sharedServer

// sharedServer counts the users of one process, which starts with the first of
// them and lives until close.
type sharedServer struct {
	mu     sync.Mutex
	opened bool // Main runs, and so will close it
	users  int
	dir    string
	proc   *process
	failed error // why it could not be started: each user is told, none tries again
}

func (s *sharedServer) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = true
}

// enter counts a user in and returns the server's address.
func (s *sharedServer) enter(bin string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opened {
		return "", errors.New("redistest.Shared needs: func TestMain(m *testing.M) { redistest.Main(m) }")
	}
	if s.proc == nil && s.failed == nil {
		s.failed = s.start(bin)
	}
	if s.failed != nil {
		return "", s.failed
	}
	if s.users == 0 {
		if err := s.proc.flush(); err != nil {
			return "", err
		}
	}
	s.users++
	return s.proc.addr(), nil
}

func (s *sharedServer) start(bin string) error {
	dir, err := os.MkdirTemp("", "hearth-redis-")
	if err != nil {
		return fmt.Errorf("redistest: directory of the shared server: %w", err)
	}
	s.dir = dir
	s.proc, err = startProcess(bin, dir)
	return err
}

func (s *sharedServer) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
}

func (s *sharedServer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = false
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}
