package redistest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A server's bond is with the thread that started it, and Go ends a thread when
// a goroutine ends locked to it, as one does that has changed its network
// namespace. The caller's thread must not take the server along.
func TestServerOutlivesItsCallersThread(t *testing.T) {
	bin := binary(t)
	// Two at once, since one of them may be on the process's first thread,
	// which never ends.
	var servers [2]*process
	var together, done sync.WaitGroup
	together.Add(len(servers))
	for i := range servers {
		dir := t.TempDir()
		done.Go(func() {
			runtime.LockOSThread()
			together.Done()
			together.Wait()
			p, err := startProcess(bin, dir)
			if err != nil {
				t.Error(err)
				return
			}
			servers[i] = p
		})
	}
	done.Wait()
	for _, p := range servers {
		if p == nil {
			continue
		}
		select {
		case <-p.ended:
			t.Error("the server went with a thread")
		case <-time.After(100 * time.Millisecond):
		}
		p.kill()
	}
}

// What a frozen server still answered would depend on luck if Freeze returned
// before the process stands.
func TestFrozenMeansStopped(t *testing.T) {
	s := Real(t)
	for range 20 {
		s.Freeze(t)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.proc.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		// pid (name) state …
		if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
			t.Fatalf("frozen, but in state %.1s", state)
		}
		s.Thaw(t)
	}
}

// A test binary that is killed runs no cleanup; its servers have to go all the
// same.
func TestServersDieWithTheTestBinary(t *testing.T) {
	if os.Getenv(envRole) == "hang" {
		shared, own := Shared(t), Real(t)
		_, _ = os.Stdout.WriteString("\nservers " + shared.Addr + " " + own.Addr + "\n")
		select {} // until it is killed
	}
	bin := binary(t)
	// Killed, it leaves its directories behind: those are to be ours to remove.
	cmd := child(t, t.Name(), "hang", EnvServer+"="+bin, "TMPDIR="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	lines := bufio.NewScanner(stdout)
	for addrs == nil && lines.Scan() {
		if list, ok := strings.CutPrefix(lines.Text(), "servers "); ok {
			addrs = strings.Fields(list)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if len(addrs) != 2 {
		t.Fatalf("the child told no addresses: %s", &stderr)
	}
	for _, addr := range addrs {
		awaitRefusal(t, addr)
	}
}

// awaitRefusal fails the test if the port still answers after some seconds.
func awaitRefusal(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
		<-tick.C
	}
	t.Errorf("the server at %s outlived the test binary that started it", addr)
}
