package faults

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

// TestLinks holds both means of cutting to what tests expect of them.
func TestLinks(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]func(testing.TB, string) link{
		"as the machine allows": newLink,
		"proxy":                 func(tb testing.TB, addr string) link { return newProxy(tb, addr) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Real(t)
			look := s.Client(t)
			if err := look.ConfigSet(t.Context(), "protected-mode", "no").Err(); err != nil {
				t.Fatal(err)
			}
			l := with(t, s.Addr)
			n := launch(t, "node", binary(t, false), l, map[string]string{
				"HEARTH_ADDR": l.listenAddr(), "HEARTH_REDIS": "redis://" + l.redisAddr(s.Addr), "HEARTH_APP_ACCESS_KEY": "k",
				"HEARTH_APP_SECRET": strings.Repeat("s", 32),
			}).await()
			l.Reset()
			await(t, "the node to be ready again", n.ready)
			l.Cut()
			await(t, "the node not to be ready", func() bool { return !n.ready() })
			if status, _ := n.get("/healthz"); status != 200 {
				t.Errorf("the path of its clients is cut as well: %d", status)
			}
			l.Heal()
			await(t, "the node to be ready again", n.ready)
		})
	}
}

// TestProcess expects that what is said of processes is so.
func TestProcess(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{nodes: 1})
	n := c.node(0)
	if _, err := n.metric("go_goroutines"); err != nil {
		t.Error(err)
	}
	n.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.do(ctx, n, "GET", "/rooms", ""); err == nil {
		t.Error("a frozen node answers")
	}
	n.thaw()
	await(t, "the node to go on", n.ready)
	n.term()
	n.stopped()
	m := c.restart(0)
	if m.url == n.url || len(c.live()) != 1 {
		t.Errorf("restarted at %s, where %s was; %d live", m.url, n.url, len(c.live()))
	}
	m.kill()
	if !m.gone() || len(c.live()) != 0 {
		t.Error("killed, and lives")
	}
}

// TestClient breaks a client's sockets and expects that it misses nothing, and that what a client misses is noticed.
func TestClient(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{nodes: 2})
	l := c.load(loadOptions{seed: seedOf(t)})
	for range 5 {
		for _, w := range l.workers {
			if !w.churn {
				w.drop()
			}
		}
		pass(t, 200*time.Millisecond)
	}
	o := l.clean(t, 5)
	if o.returned == 0 || o.ops == 0 {
		t.Errorf("nothing happened: %s", o)
	}

	p := l.peers["room0"][0]
	r, err := l.peers["room0"][1].write("broadcast", map[string]any{"info": map[string]any{"message": "the last"}})
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(r, &m); err != nil {
		t.Fatal(err)
	}
	if !p.until(func() bool { return p.seq >= m.Seq }) {
		t.Fatal("a message was not heard")
	}
	at := c.stateOf("room0")
	p.mu.Lock()
	delete(p.spans[len(p.spans)-1].seen, m.Seq)
	delete(p.members, anchor)
	p.mu.Unlock()
	if wrong := p.audit(at); len(wrong) < 2 {
		t.Errorf("a missed change and a missed peer went unnoticed: %v", wrong)
	}
}

func TestTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guarantees.md")
	if err := os.WriteFile(file, []byte("# Guarantees\n\nText.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &report{losses: map[string]*loss{}, outages: map[string][]time.Duration{}, mutants: map[string][2]int{}}
	r.did(7, 1)
	r.lostOf("appendfsync always", 0, 1000)
	r.ghost(time.Second, 3*time.Second)
	for range 2 { // the second time in the place of the first
		if err := r.finish(file); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Guarantees\n\nText.\n\n" + tableBegin, "| operations | 7 |", "| acknowledged writes lost: appendfsync always | 0 of 1000 |",
		"| ghosts | p50 1s, p99 3s, max 3s of 2 |", tableEnd + "\n",
	} {
		if strings.Count(string(b), want) != 1 {
			t.Errorf("%q is not there once in:\n%s", want, b)
		}
	}
}
