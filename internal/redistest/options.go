package redistest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Option changes how a real server is started. It holds for as long as the server's address: a restart keeps it.
type Option func(*options)

type options struct {
	directives []string
	replica    bool          // of somebody from the start
	failAfter  time.Duration // for how long a server of a topology has to be silent to be replaced
}

func gather(opts []Option) options {
	o := options{failAfter: time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Directive sets a line of the server's configuration.
func Directive(name string, values ...string) Option {
	return func(o *options) {
		o.directives = append(append(o.directives, "--"+name), values...)
	}
}

// AOF has the server write each change to its disk before it answers, so that it is the same after [Server.Kill] and
// [Server.Start].
func AOF() Option {
	return func(o *options) {
		Directive("appendonly", "yes")(o)
		Directive("appendfsync", "always")(o)
	}
}

// MaxMemory has the server refuse writes beyond that many bytes.
func MaxMemory(limit string) Option {
	return func(o *options) {
		Directive("maxmemory", limit)(o)
		Directive("maxmemory-policy", "noeviction")(o)
	}
}

// ReplicaOf has the server copy another one. It is started when it has the other's data.
func ReplicaOf(master *Server) Option {
	return func(o *options) {
		o.replica = true
		Directive("replicaof", "127.0.0.1", master.port())(o)
	}
}

// Calm has a topology replace a master only after 15 s of silence, instead of one: for tests of something else, which a
// busy machine must not surprise by a failover.
func Calm() Option { return func(o *options) { o.failAfter = 15 * time.Second } }

// quickReplication has a master serve a replica that comes at once, and each notice within a second that the other is
// gone. By default a master waits for more replicas for 5 s.
func quickReplication() []string {
	return []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
}

// loaded returns when the server has read what it kept.
func (p *process) loaded() error {
	return p.until("answers to PING", func() bool {
		pong, err := p.ask("PING")
		return err == nil && pong == "PONG"
	})
}

// inSync returns when the server has its master's data.
func (p *process) inSync() error {
	return p.until("is in sync with its master", func() bool { return p.info("replication")["master_link_status"] == "up" })
}

// info is a section of INFO, by name; empty if the server does not tell.
func (p *process) info(section string) map[string]string {
	text, err := p.ask("INFO " + section)
	if err != nil {
		return nil
	}
	return fields(text)
}

// fields reads lines of the form name:value.
func fields(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m
}

var errNotInTime = errors.New("not in time")

// poll asks until met holds, which takes startWithin at most.
func poll(what string, met func() bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(startWithin); !met(); <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("redistest: %s: %w: %v", what, errNotInTime, startWithin)
		}
	}
	return nil
}

// until is poll for a process, whose end it notices.
func (p *process) until(what string, met func() bool) error {
	gone := false
	err := poll(p.addr()+" "+what, func() bool {
		select {
		case <-p.ended:
			gone = true
			return true
		default:
			return met()
		}
	})
	if gone {
		return fmt.Errorf("redistest: %s ended and never %s:\n%s", p.addr(), what, p.logTail())
	}
	return err
}

// wait is poll for what a test waits for.
func wait(tb testing.TB, what string, met func() bool) {
	tb.Helper()
	if err := poll(what, met); err != nil {
		tb.Fatal(err)
	}
}
