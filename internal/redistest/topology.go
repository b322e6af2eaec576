package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// member is a server of a topology that is about to be started: the others are told its address before.
type member struct {
	id   string // 40 hexadecimal digits, as a cluster and sentinels name each other
	dir  string
	port int
	args func() []string // asked when all have their ports
	proc *process
}

func newMember(tb testing.TB) *member {
	return &member{id: randomID(), dir: tb.TempDir()}
}

func randomID() string {
	return fmt.Sprintf("%08x%016x%016x", rand.Uint32(), rand.Uint64(), rand.Uint64()) //nolint:gosec // a name, no secret
}

// startMembers starts all of them at once. All get other ports and are tried again if one of those was taken meanwhile.
func startMembers(tb testing.TB, bin string, members []*member, prepare func() error) {
	tb.Helper()
	var err error
	for range portTries {
		if err = takePorts(members); err == nil {
			err = prepare()
		}
		if err == nil {
			err = launchAll(bin, members)
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// takePorts gives each member a port that nobody listens on, nor on the one that a cluster's bus has beside it.
func takePorts(members []*member) error {
	taken := map[int]bool{}
	for _, m := range members {
		for tries := 0; ; tries++ {
			port := randomPort()
			if !taken[port] && !taken[port+busOffset] && !taken[port-busOffset] && free(port) && free(port+busOffset) {
				m.port, taken[port] = port, true
				break
			}
			if tries == portTries {
				return errPortTaken
			}
		}
	}
	return nil
}

// busOffset is how far the port of a cluster's bus is from that for clients.
const busOffset = 10000

func free(port int) bool {
	l, err := net.Listen("tcp", loopback(port)) //nolint:noctx // it is closed at once
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// launchAll starts all or none: the first one before the others, which may be its replicas and would ask again only
// after a second if it didn't listen yet.
func launchAll(bin string, members []*member) error {
	errs := make([]error, len(members))
	start := func(i int) {
		m := members[i]
		m.proc, errs[i] = launch(bin, m.dir, m.port, m.args())
	}
	start(0)
	var others sync.WaitGroup
	for i := range members[1:] {
		others.Go(func() { start(i + 1) })
	}
	others.Wait()
	err := errors.Join(errs...)
	if err == nil {
		return nil
	}
	for _, m := range members {
		if m.proc != nil {
			m.proc.kill()
			m.proc = nil
		}
	}
	return err
}

// own hands the started server to the test.
func (m *member) own(tb testing.TB, name string) *Server {
	s := ownServer(tb, name, m.proc)
	s.id = m.id
	return s
}

// write puts a file beside the server's data.
func (m *member) write(name string, lines ...string) error {
	return os.WriteFile(filepath.Join(m.dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// directives is what a server of a topology is started with.
func (m *member) directives(more ...string) []string {
	return append(append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(m.port), "--dir", m.dir, "--daemonize", "no", "--save", "", "--appendonly", "no",
	}, quickReplication()...), more...)
}

// awake is what of the servers can answer.
func awake(servers []*Server) []*Server {
	var out []*Server
	for _, s := range servers {
		if s.Running() && !s.proc.frozen {
			out = append(out, s)
		}
	}
	return out
}

// addrs is their addresses as a URL lists them.
func addrs(servers []*Server) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = s.Addr
	}
	return strings.Join(list, ",")
}
