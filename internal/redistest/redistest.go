// Package redistest gives a test its Redis: miniredis, which needs nothing
// installed, and a real redis-server on loopback, which alone proves that a
// script works. Tests that both have to pass run under [Each].
//
// A package that uses it hands its TestMain over:
//
//	func TestMain(m *testing.M) { redistest.Main(m) }
//
// The real server is the binary that REDIS_SERVER names, else redis-server or
// valkey-server from PATH. Where none is found, its tests are skipped and say
// so; with HEARTH_TEST_REDIS=required, as `make test` sets it, they fail.
//
// [Sentinel] and [Cluster] start whole topologies of such servers, of which a
// test may kill, freeze and restart each one.
//
// The package is for tests only and not for benchmarks of a Redis: the servers
// persist nothing unless asked to, have no password and live at most as long as
// the test binary.
package redistest

import (
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Names of the kinds of server, as [Each] names its subtests.
const (
	NameMini     = "miniredis"
	NameReal     = "redis"
	NameSentinel = "sentinel"
	NameCluster  = "cluster"
)

// Server is a Redis that a test may use until it ends.
type Server struct {
	// Name is the kind: NameMini or NameReal, and in a topology also what it is
	// there.
	Name string
	// Addr is host:port, on loopback.
	Addr string
	// URL is Addr as a redis:// URL.
	URL string
	// Prefix is a key and channel prefix that no other Server of this test
	// binary was given. On a [Shared] server it is all that keeps parallel
	// tests apart.
	Prefix string
	// Mini is the server itself where it is a miniredis, for SetTime and
	// injected faults; nil on a real one.
	Mini *miniredis.Miniredis

	// proc is set where the process is this test's alone, by Real.
	proc    *process
	replica bool   // when it is started
	id      string // in a topology
}

var prefixes atomic.Int64

func newServer(name, addr string) *Server {
	return &Server{
		Name:   name,
		Addr:   addr,
		URL:    "redis://" + addr,
		Prefix: fmt.Sprintf("t%d", prefixes.Add(1)),
	}
}

// Mini starts an empty miniredis that stops with the test.
func Mini(tb testing.TB) *Server {
	tb.Helper()
	mini := miniredis.RunT(tb)
	s := newServer(NameMini, mini.Addr())
	s.Mini = mini
	return s
}

// Real starts an empty redis-server of the test's own, ready when Real returns
// and gone when the test is over. It costs about 10 ms and 10 MB. Take it, and
// not [Shared], for a test that disturbs its server: CONFIG, SCRIPT FLUSH,
// CLIENT KILL, [Server.Freeze], [Server.Restart].
func Real(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	o := gather(opts)
	p, err := startProcess(binary(tb), tb.TempDir(), append(quickReplication(), o.directives...)...)
	if err != nil {
		tb.Fatal(err)
	}
	s := ownServer(tb, NameReal, p)
	if s.replica = o.replica; s.replica {
		if err := p.inSync(); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

// ownServer is a server of the test's own, which ends with it.
func ownServer(tb testing.TB, name string, p *process) *Server {
	s := newServer(name, p.addr())
	s.proc = p
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("end of the log of the %s at %s:\n%s", name, s.Addr, s.proc.logTail())
		}
		s.proc.kill()
	})
	return s
}

// Each runs f as one subtest on a fresh miniredis and one on the [Shared] real
// server.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	t.Run(NameMini, func(t *testing.T) { f(t, Mini(t)) })
	t.Run(NameReal, func(t *testing.T) { f(t, Shared(t)) })
}

// Client is a plain client for looking into the server: it repeats nothing by
// itself and is closed with the test.
func (s *Server) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	return s.ClientOf(tb, "", "")
}

// ClientOf is Client for a user; "" is the one that needs no password.
func (s *Server) ClientOf(tb testing.TB, user, password string) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{
		Addr:                  s.Addr,
		Username:              user,
		Password:              password,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Errorf("redistest: close client of %s: %v", s.Addr, err)
		}
	})
	return c
}

// own is the process of a server that may be disturbed, which only Real's is.
func (s *Server) own(tb testing.TB) *process {
	tb.Helper()
	if s.proc == nil {
		tb.Fatalf("redistest: this %s is not a process of the test's own: take redistest.Real", s.Name)
	}
	return s.proc
}

// Freeze stops the server's process where it stands (SIGSTOP): its connections
// stay open and nothing is answered. Only for servers of [Real].
func (s *Server) Freeze(tb testing.TB) {
	tb.Helper()
	if err := s.own(tb).freeze(); err != nil {
		tb.Fatal(err)
	}
}

// Thaw lets a frozen server run on (SIGCONT). A test may end without it.
func (s *Server) Thaw(tb testing.TB) {
	tb.Helper()
	if err := s.own(tb).thaw(); err != nil {
		tb.Fatal(err)
	}
}

// Kill ends the server's process at once (SIGKILL) and returns when its port
// refuses connections. Only for servers of [Real].
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.own(tb).kill()
}

// Restart puts a server with another pid and run_id at the same address in
// place of the old one, which it kills if it still runs. It is empty, or, under
// [AOF], has what the old one had confirmed. Only for servers of [Real].
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Kill(tb)
	s.Start(tb)
}

// Start starts a server again that was killed, and returns when it takes
// commands.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.StartLoading(tb)
	if err := s.proc.loaded(); err != nil {
		tb.Fatal(err)
	}
	if s.replica {
		if err := s.proc.inSync(); err != nil {
			tb.Fatal(err)
		}
	}
}

// StartLoading is Start that returns as soon as the server answers at all: it
// may still be reading what it kept, and refuse commands until it has.
func (s *Server) StartLoading(tb testing.TB) {
	tb.Helper()
	p, err := s.own(tb).again()
	if err != nil {
		tb.Fatal(err)
	}
	s.proc = p
}

// Running reports whether the server's process has not ended. A frozen one runs.
func (s *Server) Running() bool {
	select {
	case <-s.proc.ended:
		return false
	default:
		return true
	}
}

func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.Addr)
	return port
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
