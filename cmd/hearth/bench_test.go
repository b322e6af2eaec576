package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hearthstore/hearth/internal/bench"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/testlog"
)

// TestBench runs each scenario, small, against two nodes: all is accounted for, and no room is left.
func TestBench(t *testing.T) {
	r := redistest.Shared(t)
	a, b := startNode(t, r), startNode(t, r)
	m := terminal{t, []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret, "HEARTH_SERVER=" + a.url + "," + b.url}}
	common := []string{"bench", "--json", "--duration", "500ms", "--warmup", "100ms", "--quiet"}
	for _, c := range []struct {
		args  []string
		conns int64
		ok    func(r *bench.Result) bool
	}{
		{[]string{"--peers", "20", "--rate", "50"}, 21, func(r *bench.Result) bool { return r.Sent >= 20 && r.Deliveries == 20*r.Sent }},
		{[]string{"--scenario", "rooms", "--rooms", "3", "--peers", "4"}, 12, func(r *bench.Result) bool { return r.Sent > 0 && r.Deliveries == 3*r.Sent }},
		{[]string{"--scenario", "joins", "--rooms", "3", "--in-flight", "4"}, 12, func(r *bench.Result) bool {
			return r.Joins > 0 && r.Leaves == r.Joins && r.Deliveries > 0 && r.Latency["leave"].Count == r.Leaves
		}},
		{[]string{"--scenario", "sets", "--rooms", "3", "--in-flight", "7"}, 10, func(r *bench.Result) bool { return r.Acknowledged > 0 && r.Deliveries >= r.Acknowledged }},
		{[]string{"--scenario", "idle", "--rooms", "3", "--peers", "5"}, 15, func(r *bench.Result) bool { return r.Latency["joined"].Count == 15 }},
	} {
		ran := m.run(append(common, c.args...)...)
		var got bench.Result
		if err := json.Unmarshal([]byte(ran.out), &got); err != nil || ran.code != exitOK || ran.err != "" {
			t.Fatalf("%v: %+v", c.args, ran)
		}
		if got.Connections != c.conns || got.Failed() || len(got.Errors) > 0 || !c.ok(&got) || len(got.Nodes) != 2 || got.NodesCPU == nil || got.Latency[got.Main].Count == 0 {
			t.Errorf("%v: %s", c.args, ran.out)
		}
		if rooms := m.with("HEARTH_SERVER="+a.url).run("rooms", "--no-headers"); rooms.out != "" {
			t.Errorf("%v left %s", c.args, rooms.out)
		}
	}
	noRoomKeys(t, r)
}

// TestBenchTable: what a person is shown.
func TestBenchTable(t *testing.T) {
	n := start(t, nil) // a development server, which gives tokens
	m := terminal{t, []string{"HEARTH_SERVER=" + n.url}}
	r := m.run("bench", "--peers", "3", "--rate", "100", "--duration", "300ms", "--warmup", "0")
	if r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{
		`(?m)^fanout: 1 server, 1 room of 3 peers, 100 a second, 256 bytes; \d\.\d s$`, `(?m)^ +\S.* – .* \d+\.\d\d%  █`,
		`(?m)^ +p50 +p90 +p99 +p99\.9 +max +count$`, `(?m)^heard( +\S+ (µs|ms|s)){5} +\d+$`, `(?m)^deliveries +\d+ +\d+$`, `(?m)^lost +0$`,
		`(?m)^ +CPU seconds +a million deliveries +memory$`, `(?m)^client +\d`, `(?m)^node \S+ +\d.*MiB$`,
	} {
		if !regexp.MustCompile(want).MatchString(r.out) {
			t.Errorf("no %s in\n%s", want, r.out)
		}
	}
	if !strings.Contains(r.err, "fanout  connecting") && !strings.Contains(r.err, "fanout  running") {
		t.Errorf("no progress: %q", r.err)
	}
	m.fails(exitUsage, "no scenario is named", "bench", "--scenario", "nope")
	m.fails(exitUsage, "2 peers at least", "bench", "--scenario", "rooms", "--peers", "1")
	m.fails(exitUsage, "is no size", "bench", "--size", "x")
	m.fails(exitUsage, "--role must match", "bench", "--role", "a b")
	m.fails(exitUsage, "must be a URL", "bench", "--server", "ftp://x")
	m.with("HEARTH_SERVER=http://127.0.0.1:1").fails(exitUnavailable, "HEARTH_APP_ACCESS_KEY", "bench", "--quiet")
	m.with("HEARTH_APP_ACCESS_KEY=x").fails(exitUsage, "go together", "bench")
}

// TestBenchInterrupted: Ctrl-C ends it with the table, and nobody is left in a room.
func TestBenchInterrupted(t *testing.T) {
	r := redistest.Shared(t)
	n := startNode(t, r)
	cmd := command(t, []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret, "HEARTH_SERVER=" + n.url},
		"bench", "--scenario", "rooms", "--rooms", "4", "--duration", "1h", "--warmup", "0")
	var out, errs testlog.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "it to run", func() bool { return errs.Has("running") })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, errs.String())
	}
	if !regexp.MustCompile(`(?m)^rooms: .*, interrupted$`).MatchString(out.String()) || !out.Has("\nlost ") {
		t.Errorf("it printed %s", out.String())
	}
	noRoomKeys(t, r)
}
