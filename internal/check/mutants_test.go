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
	{"the version that a set expects", `if EXPECTED ~= '' and EXPECTED ~= version then`, `if false then`, true},
	{"the version that a delete expects", `if EXPECTED ~= '' and EXPECTED ~= head_of(old) then`, `if false then`, true},
	{"the version that an update expects", `if expected ~= '' and expected ~= version then`, `if false then`, true},
	{"the session of a write", `if SESSION ~= '' and SESSION ~= session then return {'session_ended'} end`, ``, true},
	{"the connection of a write", `if conn ~= ARGV[5] or (`, `if (`, true},
	{"the user of a write", `if conn ~= ARGV[5] or (USER ~= '' and user ~= USER) then`, `if conn ~= ARGV[5] then`, false},
	{"the role by which a write was allowed", `if ROLE ~= '' and ROLE ~= role then`, `if false then`, true},
	{"the role that a user was given", `some and redis.call('HGET', V, 'u/' .. USER) or ARGV[5]`, `ARGV[5]`, false},
	{"the user of a takeover", `if r and r.user ~= USER then return {'peer_exists'} end`, ``, false},
	{"the token of a lock that a write names", `if not l or l.token ~= token then return 'lock_lost', l end`, ``, true},
	{"keys bound to a lock", `while shuts(l, matches, peer) do`, `while false do`, true},
	{"what the next holder of an expired lock binds", `l = current(n) --`, `current(n) break --`, false},
	{"who releases or renews a lock", ` or HOLDER ~= '' and l.peer ~= HOLDER then`, ` then`, false},
	{"the first result of an op_id", `first = redis.call('HGET', OA, OP) or old > 0 and`, `first =`, true},
	{"the op_id of who waited for a lock", `if w.op ~= '' then redis.call('HSET', OA, w.op,`, `if false then redis.call('HSET', OA, w.op,`, false},
	{"entries that go with their owner", `discard(keys, 'owner_left')`, ``, true},
	{"locks that go with their holder", `free(lock_of(name), 'released')`, `local _ = name`, true},
	{"waiters that leave", `unqueue(name, peer)`, `local _ = name`, false},
	{"an entry's expiry before a set", `if over(oldexp) then`, `if false then`, true},
	{"an entry's expiry before a delete or an update", `if gone then discard(gone, 'expired') end`, ``, true},
	{"a lock's expiry before a write", `if l and over(l.expires) then`, `if l and over(l.expires) then l = nil elseif false then`, true},
	{"the connection of who waits for a lock", `r.conn == w.conn and not away(r)`, `not away(r)`, false},
	{"the socket of who waits for a lock", `not away(r) and`, `true and`, false},
	{"how long somebody waits for a lock", ` and not over(w.deadline) then`, ` then`, false},
	{
		"the order of who waits for a lock", `redis.call('ZRANGEBYLEX', Q, from, to, 'LIMIT', 0, 1)[1]`,
		`redis.call('ZREVRANGEBYLEX', Q, to, from, 'LIMIT', 0, 1)[1]`, true,
	},
	{
		"one write of an update", `put(key, oldexp, oldowner, value, BY, exp, owner)`,
		`put(key, oldexp, oldowner, value, BY, exp, owner) if key == order[2] then redis.call('HDEL', M, key) end`, true,
	},
	{"the epoch of a session", `session, epoch, started = ARGV[13], ARGV[14],`, `session, epoch, started = ARGV[13], 'epoch',`, true},

	{"the incarnation of a join", `if LEASE == '' and not redis.call('ZSCORE', NODES, INC) then return {'lapsed'} end`, ``, true},
	{"the last moment of a join", `if ARGV[17] ~= '0' and now > tonumber(ARGV[17]) then`, `if false then`, false},
	{"the incarnation of who is reaped", `if not r or r.inc ~= INC then`, `if not r then`, false},
	{"the end of a node", `local renewed = INC == '' or redis.call('ZREM', NODES, INC) == 1`, `local renewed = true`, true},
	{"the lease of a node", `redis.call('ZRANGEBYSCORE', NODES, '-inf', string.format('%d', now))`, `redis.call('ZRANGE', NODES, 0, -1)`, false},
	{"the hold after an outage", `if till > most or beat[1] and`, `if till > most or false and`, true},
	{"the hold of nodes", `if not wait then`, `if true then`, true},
	{"the hold of leases and graces", `local till = held()`, `local till = nil`, true},
	{"the hold of who is reaped", `held() or 0)`, `0)`, false},
	{"when a partition was looked after", `redis.call('HSET', BEAT, 'at', string.format('%d', now))`, ``, false},
	{"the connection of a hand-over", `if r and r.conn == ARGV[i + 2] and r.inc ~= '' then`, `if r and r.inc ~= '' then`, true},
	{"who is away already, at a hand-over", `if r and r.conn == ARGV[i + 2] and r.inc ~= '' then`, `if r and r.conn == ARGV[i + 2] then`, false},
	{"the grace of a 100ms client", `return string.find(r.flags, 'i', 1, true) and`, `return false and`, true},
	{"what is left of a grace when a node dies", `tonumber(lapsed or now) -`, `-1e15 -`, false},
	{"waiters whose socket is gone", `    redis.call('ZREM', BASE .. 'q:' .. room, waits)
    redis.call('HDEL', BASE .. 'z:' .. room, waits)
    redis.call('ZREM', W, member)
`, ``, true},
	{"the grace of who is cut", `now + grace_of(r))`, `now)`, false},
	{"a return of which nobody is told", `emit('conn', PEER, replaced, '0', extra, '')`, `if changed then emit('conn', PEER, replaced, '0', extra, '') end`, false},
	{"a return within the grace", `  if r.inc == '' then
    redis.call('ZREM', DUE, 'peer/' .. PLACE)
  else`, `  if r.inc == '' then
  else`, false},
	{"the deadline of a lease or grace", `if not deadline or tonumber(deadline) > now then return {'ok', 0} end`, ``, true},
	{"who came back when a grace is over", `if not r or r.inc ~= '' then
  redis.call('ZREM', DUE, item)`, `if not r then
  redis.call('ZREM', DUE, item)`, false},
	{"the place of who moved to another node", `redis.call('SREM', SERVED .. r.inc, PLACE)
  end
  r.conn`, `local _ = r
  end
  r.conn`, false},
	{"the place of who leaves", `redis.call('SREM', SERVED .. r.inc, seat)`, `local _ = r`, false},
	{"whose socket an incarnation has", `if r and r.inc == ARGV[1] then`, `if r then`, false},
	{"places of a session that ended for all", `redis.call('SREM', SERVED .. r.inc, place) end`, `local _ = r end`, false},
	{"graces of a session that ended for all", `redis.call('ZREM', DUE, 'peer/' .. place) end`, `local _ = r end`, false},
	{"an incarnation that nobody is left of", `if #places == 0 then redis.call('ZREM', DUE, 'node/' .. ARGV[1]) end`, ``, false},

	{"the limit of keys", `elseif not old and redis.call('HLEN', M) >=`, `elseif false and 0 >=`, false},
	{"the limit of all values", ` and bytes > metabytes then`, ` and false then`, false},
	{"the size of what expired", `bytes = bytes + counted`, ``, false},
	{"the limit of peers", `if present >= most then return {'too_many'} end`, ``, false},
	{"seqs without holes", `seq, seqtext, last = seq + 1, coming, nonce`, `seq, seqtext, last = seq + (composed > 0 and 2 or 1), coming, nonce`, false},
	{"the chain of nonces", `seq, seqtext, last = seq + 1, coming, nonce`, `seq, seqtext = seq + 1, coming`, true},
	{"messages in the log", `loglen = redis.call('RPUSHX', L, text)`, `loglen = kind == 'msg' and 1 or redis.call('RPUSHX', L, text)`, false},
	{"changes that are published", `redis.call('PUBLISH', E, text)`, `if kind ~= 'update' then redis.call('PUBLISH', E, text) end`, false},
	{"keys of a session that is over", `K, Q, Z, W, X, V)`, `K, Q, W, X, V)`, false},
	{"hidden peers in the count", `if audience == '0' then state`, `if false then state`, false},
	{"a deadline before the first", `if not first or tonumber(first) > tonumber(at) then`, `if not first then`, false},
	{"the deadline of an entry that is written anew", `elseif oldexp ~= '-' then`, `elseif false then`, false},
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
