package check

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthstore/hearth/internal/redistest"
)

// mutant is a fault put into the scripts: something that they must not do without is switched off.
type mutant struct {
	name     string
	old, new string
	core     bool // falls in the short run, too
}

var mutants = []mutant{
	{"the version that a set or a delete expects", `if EXPECTED ~= '' and EXPECTED ~= head_of(old) then`, `if false then`, true},
	{"the version that an update expects", `if expected ~= '' and expected ~= version then`, `if false then`, true},
	{"the session of a write", `if SESSION ~= '' and SESSION ~= session then return 'session_ended' end`, ``, true},
	{"the connection of a write", `if r.conn ~= CONN or (`, `if (`, true},
	{"the user of a write", `if r.conn ~= CONN or (USER ~= '' and r.user ~= USER) then`, `if r.conn ~= CONN then`, false},
	{"the role by which a write was allowed", `if ROLE ~= '' and ROLE ~= r.role then`, `if false then`, true},
	{"the role that a user was given", `redis.call('HGET', V, 'u/' .. USER) or ARGV[5]`, `ARGV[5]`, false},
	{"the user of a takeover", `if r.user ~= USER then return {'peer_exists'} end`, ``, false},
	{"the token of a lock that a write names", `if not l or l.token ~= token then return 'lock_lost', l end`, ``, true},
	{"keys bound to a lock", `while shuts(l, matches, peer) do`, `while false do`, true},
	{"what the next holder of an expired lock binds", `l = current(n) --`, `current(n) break --`, false},
	{"who releases or renews a lock", ` or HOLDER ~= '' and l.peer ~= HOLDER then`, ` then`, false},
	{"the first result of an op_id", `if first then return first end`, ``, true},
	{"the op_id of who waited for a lock", `if w.op ~= '' then redis.call('HSET', OA, w.op,`, `if false then redis.call('HSET', OA, w.op,`, false},
	{"entries that go with their owner", `discard(keys, 'owner_left')`, ``, true},
	{"locks that go with their holder", `free(lock_of(name), 'released')`, `local _ = name`, true},
	{"waiters that leave", `unqueue(name, peer)`, `local _ = name`, false},
	{"an entry's expiry before a set", `if over(oldexp) then`, `if false then`, true},
	{"an entry's expiry before a delete or an update", `if gone then discard(gone, 'expired') end`, ``, true},
	{"a lock's expiry before a write", `if l and over(l.expires) then`, `if false then`, true},
	{"the connection of who waits for a lock", `r.conn == w.conn and not away(r)`, `not away(r)`, false},
	{"how long somebody waits for a lock", ` and not over(w.deadline) then`, ` then`, false},
	{
		"the order of who waits for a lock", `redis.call('ZRANGEBYLEX', Q, from, to, 'LIMIT', 0, 1)[1]`,
		`redis.call('ZREVRANGEBYLEX', Q, to, from, 'LIMIT', 0, 1)[1]`, true,
	},
	{
		"one write of an update", `put(key, oldexp, oldowner, value, BY, exp, owner)`,
		`if key ~= order[2] then put(key, oldexp, oldowner, value, BY, exp, owner) end`, true,
	},
	{"the limit of keys", `if not old and redis.call('HLEN', M) >= MAX_KEYS then return refuse('too_many') end`, ``, false},
	{"the limit of all values", `if bytes > MAX_METADATA and bytes > metabytes then return refuse('too_large') end`, ``, false},
	{"the size of what expired", `bytes = bytes + weight(key, rec)`, ``, false},
	{"the limit of peers", `if present >= math.min(setting(held[2]) or MAX_PEERS, MAX_PEERS) then return {'too_many'} end`, ``, false},
	{"seqs without holes", `seq, coming = seq + 1, nil`, `seq, coming = seq + (composed > 1 and 2 or 1), nil`, false},
	{"the chain of nonces", "last = n\n  return text", "return text", true},
	{"messages in the log", `loglen = redis.call('RPUSH', L, text)`, `if kind ~= 'msg' then loglen = redis.call('RPUSH', L, text) end`, false},
	{"changes that are published", `  logbytes = logbytes + #text
  publish(text)`, `  logbytes = logbytes + #text
  if kind ~= 'update' then publish(text) end`, false},
	{"keys of a session that is over", `K, Q, Z, W, X, V)`, `K, Q, W, X, V)`, false},
	{"hidden peers in the count", `if audience == '0' then unseen = unseen - 1 end`, ``, false},
	{"a deadline before the first", `if not first or tonumber(first) > tonumber(at) then`, `if not first then`, false},
	{"the deadline of an entry that is written anew", `redis.call('ZREM', X, 'k/' .. key)
  end
  if owner`, `local _ = key
  end
  if owner`, false},
}

// change returns the mutant as a change of a script's text, and how many scripts it has met.
func (m *mutant) change() (change func(string) string, met *atomic.Int64) {
	met = new(atomic.Int64)
	return func(text string) string {
		if strings.Contains(text, m.old) {
			met.Add(1)
		}
		return strings.ReplaceAll(text, m.old, m.new)
	}, met
}

// TestStateMachineNotices puts faults into the scripts, one at a time: the state machine has to fall at each.
func TestStateMachineNotices(t *testing.T) {
	s := redistest.Real(t)
	rapidly(t, 1, 60, 200)
	caught, total := 0, 0
	began := time.Now()
	for _, m := range mutants {
		if !m.core && !*long {
			continue
		}
		total++
		t.Run(m.name, func(t *testing.T) {
			change, met := m.change()
			var n steps
			run := machineOn(t, s, &n, change)
			if met.Load() == 0 {
				t.Fatalf("no script has %q: say in mutants_test.go what is to be switched off now", m.old)
			}
			if why := falls(run); why == "" {
				t.Errorf("not noticed in %d steps", n.all.Load())
			} else {
				caught++
				t.Logf("noticed after %d steps: %s", n.all.Load(), why)
			}
		})
	}
	t.Logf("%d of %d faults noticed in %s", caught, total, time.Since(began).Round(time.Millisecond))
}

// falls runs a machine that should fail, and returns its first words; "" if it did not.
func falls(run func(*rapid.T)) string {
	f := &fallen{}
	done := make(chan struct{})
	go func() { // ends with the run
		defer close(done)
		rapid.Check(f, func(t *rapid.T) {
			f.caught(t, run)
		})
	}()
	<-done
	return f.why
}

// fallen is the test of a machine that should fail.
type fallen struct {
	rapid.TB // of which nothing is called but what is here
	failed   bool
	why      string
}

// caught runs the machine and keeps why it fell. Runs after that end at once, so that nothing is tried again.
func (f *fallen) caught(t *rapid.T, run func(*rapid.T)) {
	if f.why != "" {
		return
	}
	defer func() {
		if p := recover(); p != nil { // by which rapid ends a run
			if fmt.Sprintf("%T", p) != "rapid.invalidData" {
				f.why, _, _ = strings.Cut(strings.TrimSpace(fmt.Sprint(p)), "\n")
			}
			panic(p)
		}
	}()
	run(t)
}

func (f *fallen) Helper()               {}
func (f *fallen) Name() string          { return "mutant" }
func (f *fallen) Failed() bool          { return f.failed }
func (f *fallen) Log(...any)            {}
func (f *fallen) Logf(string, ...any)   {}
func (f *fallen) Fail()                 { f.failed = true }
func (f *fallen) FailNow()              { f.failed = true; runtime.Goexit() }
func (f *fallen) Error(...any)          { f.failed = true }
func (f *fallen) Errorf(string, ...any) { f.failed = true }
func (f *fallen) Fatal(...any)          { f.FailNow() }
func (f *fallen) Fatalf(string, ...any) { f.FailNow() }
func (f *fallen) SkipNow()              { runtime.Goexit() }
func (f *fallen) Skip(...any)           { f.SkipNow() }
func (f *fallen) Skipf(string, ...any)  { f.SkipNow() }
