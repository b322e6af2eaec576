package redistest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	// Ports below the range that outgoing connections take their own from,
	// also with the 10000 added that a cluster's bus needs.
	minPort, maxPort = 10000, 22767
	// portTries is how many ports are tried: other test binaries look for
	// theirs at the same time.
	portTries = 10
	// startWithin is far more than the 10 ms of a start, for a machine that is
	// busy compiling tests.
	startWithin = 30 * time.Second
	pollEvery   = 2 * time.Millisecond
	askWithin   = 5 * time.Second
)

var errPortTaken = errors.New("port taken")

// process is one running redis-server.
type process struct {
	bin, dir string
	port     int
	args     []string // with which it was started
	cmd      *exec.Cmd
	ended    chan struct{} // closed once the process is gone and was waited for
	frozen   bool
}

// startProcess starts bin on a free port, with its log in dir. Directives are what it is configured with beyond what every server is.
func startProcess(bin, dir string, directives ...string) (*process, error) {
	var err error
	for range portTries {
		var p *process
		if p, err = startProcessAt(bin, dir, randomPort(), directives...); !errors.Is(err, errPortTaken) {
			return p, err
		}
	}
	return nil, err
}

func randomPort() int {
	return minPort + rand.IntN(maxPort-minPort+1) //nolint:gosec // a guess that may be guessed
}

// startProcessAt starts bin on the port and returns when it answers there.
func startProcessAt(bin, dir string, port int, directives ...string) (*process, error) {
	return launch(bin, dir, port, append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--daemonize", "no", "--save", "", "--appendonly", "no",
	}, directives...))
}

// again starts the process anew as it was started before, after its end.
func (p *process) again() (*process, error) { return launch(p.bin, p.dir, p.port, p.args) }

// launch starts bin with args, which have it listen on the port, and returns when it answers there.
func launch(bin, dir string, port int, args []string) (*process, error) {
	p := &process{bin: bin, dir: dir, port: port, args: args, ended: make(chan struct{})}
	//nolint:noctx,gosec // it lives until kill, not as long as a context; which binary is the developer's choice
	p.cmd = exec.Command(bin, args...)
	log, err := os.Create(p.logPath())
	if err != nil {
		return nil, fmt.Errorf("redistest: log of %s: %w", bin, err)
	}
	defer func() { _ = log.Close() }() // the process has it open itself
	p.cmd.Stdout, p.cmd.Stderr = log, log

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("redistest: start %s: %w", bin, err)
	}
	if err := p.waitReady(); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// run starts the process and waits for its end on one thread, which is held all
// the while: Linux ends the process with the *thread* that started it (see
// dieWithParent), and Go ends a thread whenever a goroutine ends locked to it.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(p.cmd)
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = p.cmd.Wait() // it is always killed, so always an error
	close(p.ended)
}

// waitReady returns when the port answers with this process's pid: another test
// binary may have won the race for the port, and its server answers just as well.
func (p *process) waitReady() error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	deadline := time.NewTimer(startWithin)
	defer deadline.Stop()
	var last error
	for {
		select {
		case <-p.ended:
			log := p.logTail()
			if strings.Contains(log, "Address already in use") {
				return fmt.Errorf("redistest: %s at %s: %w", p.bin, p.addr(), errPortTaken)
			}
			return fmt.Errorf("redistest: %s ended at its start:\n%s", p.bin, log)
		case <-deadline.C:
			return fmt.Errorf("redistest: %s did not answer at %s within %v: %w\n%s",
				p.bin, p.addr(), startWithin, last, p.logTail())
		case <-tick.C:
			var pid int
			if pid, last = p.answeringPID(); last == nil && pid == p.cmd.Process.Pid {
				return nil
			}
		}
	}
}

func (p *process) addr() string    { return loopback(p.port) }
func (p *process) logPath() string { return filepath.Join(p.dir, "redis.log") }

// logTail is the end of what the server printed, for messages of failure.
func (p *process) logTail() string {
	const most = 2 << 10
	log, err := os.ReadFile(p.logPath())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(log[max(0, len(log)-most):]))
}

// kill ends the process, frozen or not, and waits for its end. SIGKILL and not
// a polite SHUTDOWN: nothing is kept, and it cannot be refused.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if the process has ended
	<-p.ended
}

// answeringPID asks whoever listens on the port for its process id.
func (p *process) answeringPID() (int, error) {
	info, err := p.ask("INFO server")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(info, "process_id:")
	if !found {
		return 0, errors.New("redistest: INFO without process_id")
	}
	pid, _, _ := strings.Cut(rest, "\r\n")
	return strconv.Atoi(pid)
}

// flush empties the server.
func (p *process) flush() error {
	if _, err := p.ask("FLUSHALL"); err != nil {
		return fmt.Errorf("redistest: flush the shared server, which no test may stop: %w\n%s", err, p.logTail())
	}
	return nil
}

// ask sends one inline command and returns its reply, which has to be a status,
// a number or a bulk string. A client library would retry and pool; this is all that is
// needed to see a server come up.
func (p *process) ask(command string) (string, error) {
	deadline := time.Now().Add(askWithin)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "+"), strings.HasPrefix(line, ":"):
		return line[1:], nil
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", fmt.Errorf("%s: length %q", command, line)
		}
		bulk := make([]byte, n)
		_, err = io.ReadFull(r, bulk)
		return string(bulk), err
	default:
		return "", fmt.Errorf("%s: %s", command, line)
	}
}
