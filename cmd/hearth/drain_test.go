package main

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// crowd opens sockets that don't join, and returns them once each is served.
func (p *process) crowd(t *testing.T, n int) []*client {
	t.Helper()
	token := mint(t, auth.Principal{Room: "room", User: "u", Role: "guest"})
	out := make([]*client, n)
	for i := range out {
		out[i] = p.dial(t, token, "p"+strconv.Itoa(i))
		out[i].call("ping", `{}`)
	}
	return out
}

// TestDrain: the signal to stop tells every socket when to come back, closes all with 1001, and ends the process in order
// and within its time.
func TestDrain(t *testing.T) {
	r := redistest.Shared(t)
	n := startNode(t, r)
	ann := n.join(t, "room", "ann", "host", `{}`)
	crowd := n.crowd(t, 20)
	began := time.Now()
	n.stop(t, syscall.SIGTERM)
	t.Logf("%d sockets: stopped after %s", len(crowd)+1, time.Since(began).Round(time.Millisecond))
	for _, c := range append(crowd, ann) {
		c.expect("on-drain", `"reconnect_after_ms":`)
		c.closed(1001)
	}
	// Before that it may have been asked whether it is ready when it was not.
	if _, said, _ := strings.Cut(n.said(), "msg=stopping"); !strings.Contains(said, "msg=stopped") || strings.Contains(said, "level=WARN") {
		t.Errorf("it said %s", said)
	}
}

// TestSecondSignal: who can't wait for the sockets asks again.
func TestSecondSignal(t *testing.T) {
	n := startNode(t, redistest.Shared(t))
	crowd := n.crowd(t, 200) // which takes 4 s
	signal := func() {
		t.Helper()
		if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	crowd[0].expect("on-drain", "")
	signal()
	select {
	case <-n.ended:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	exit, ok := errors.AsType[*exec.ExitError](n.err)
	if !ok || strings.Contains(n.said(), "msg=stopped") {
		t.Fatalf("ended with %v: %s", n.err, n.said())
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", exit)
	}
}
