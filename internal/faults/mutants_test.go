package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// mutant is a rule of the product that is switched off, and the tests that have to fall by that.
type mutant struct {
	name, file, old, changed string
	pkg                      string // whose tests
	tests                    string // as -run takes them
}

var mutants = []mutant{
	{
		"a member without a socket is handed over", "node/reconcile.go", `if !here {`, `if !here && false {`,
		"node", "TestAHandOverThatIsLostIsRepaired",
	},
	{
		"a socket without a member is closed", "node/reconcile.go", `if m.missed {`, `if false {`,
		"node", "TestASocketWithoutAMemberIsClosedAtTheSecondSign",
	},
	{
		"... and not at the first sign", "node/reconcile.go", `if m.missed {`, `if true {`,
		"node", "TestASocketWithoutAMemberIsClosedAtTheSecondSign",
	},
	{
		"no call shortly before a lease's end", "node/caller.go", `if c.member != nil && !c.member.inc.reliable() {`, `if false {`,
		"node", "TestOwnClock",
	},
	{
		"sockets are closed at a lease's end", "node/leases.go", `if inc != nil && here > 0 && inc.left() <= 0 {`,
		`if inc != nil && here < 0 {`, "node", "TestOwnClock",
	},
	{
		"a lease that ran down is renewed before a join", "node/leases.go", `now.fresh(l.node.Limits().NodeLease)`, `now.reliable()`,
		"node", "TestALeaseThatRanDownIsRenewedBeforeAJoin",
	},
	{
		"... after one tick", "node/leases.go", `lease-tickEvery(lease)*3/2`, `lease-tickEvery(lease)*2`,
		"node", "TestALeaseThatRanDownIsRenewedBeforeAJoin",
	},
	{
		"a join of a lapsed incarnation is repeated", "node/leases.go", `if !again {`, `if !again && false {`,
		"node", "TestAJoinOfAnIncarnationThatHasLapsedIsRepeatedOnce",
	},
	{
		"a renewal counts from its sending", "node/leases.go", `inc.renewed(sent, `, `inc.renewed(sent.Add(time.Since(sent)), `,
		"node", "TestALeaseCountsFromWhatWasSent",
	},
	{
		"a beginning counts from its sending", "node/leases.go", `next.renewed(sent, `, `next.renewed(sent.Add(time.Since(sent)), `,
		"node", "TestALeaseCountsFromWhatWasSent",
	},
	{
		"an incarnation that lapsed is given up", "node/leases.go", `case t.Lapsed:
		l.end(inc, CloseLost, "the store had ended it")`, `case t.Lapsed:`,
		"node", "TestARenewalOfWhatHasLapsedEndsIt",
	},
	{
		"a hand-over is repeated", "node/handover.go", `done, err := n.sendHandover(partition, batch)`,
		`_, err := n.sendHandover(partition, batch)
		done := len(batch)`, "node", "TestAHandOverIsRepeatedUntilItIsConfirmed",
	},
	{
		"what nobody sweeps is swept", "node/sweep.go", `if err == nil && t.Unseen {`, `if false {`,
		"node", "TestWhatTheOwnerLeftIsSweptByWhoHasPeersThere",
	},

	{
		"the last moment of a join", "node/leases.go", `r.NotAfter = l.clock.at(until)`, `_ = until`,
		"node", "TestAJoinThatIsLate",
	},
	{
		"the store's clock at the earliest", "node/clock.go", `return c.atLeast + t`, `return c.most + t`,
		"node", "TestStoreClock",
	},
	{
		"a store's clock that was set", "node/clock.go", `c.known && atLeast <= c.most && most >= c.atLeast`, `c.known`,
		"node", "TestStoreClock",
	},

	{
		"who comes back gets what it missed", "node/resume.go", `&& m.recover(ctx, q.Resume.At) {`, `&& false {`,
		"httpapi", "TestResume$",
	},
	{
		"... from the log", "node/resume.go", `true, from, &gap{missed, r.view}`, `true, from, &gap{missed[:0], r.view}`,
		"httpapi", "TestResume$",
	},
	{
		"... all of it, or a snapshot", "node/resume.go", `	if err != nil {
		if !errors.Is(err, pubsub.ErrGone) {`, `	if err != nil && m == nil {
		if !errors.Is(err, pubsub.ErrGone) {`, "httpapi", "TestResumeThatCantBe|TestResumeAfterALoss",
	},
	{
		"the session of who comes back", "node/resume.go", `same := q.Resume.Session == j.ID`, `same := true`,
		"httpapi", "TestResume",
	},
	{
		"a leave that was seen is told", "node/resume.go", `|| q.Resume.At.Seq >= j.OwnSeq)`, `|| true)`,
		"httpapi", "TestResume",
	},

	{
		"a change follows by its seq", "pubsub/room.go", `m.Seq == r.pos.Seq+1 && m.Prev == r.pos.Nonce`, `m.Prev != ""`,
		"pubsub", "TestGapIsReadFromTheLog",
	},
	{
		"a change follows by its nonce", "pubsub/room.go", `m.Seq == r.pos.Seq+1 && m.Prev == r.pos.Nonce`, `m.Seq == r.pos.Seq+1`,
		"pubsub", "TestRewoundIsSeenByTheNextChange|TestChangeFromNowhere",
	},
	{
		"a change follows by its epoch", "pubsub/room.go", `return m.Epoch == r.pos.Epoch && m.Seq == r.pos.Seq+1`, `return m.Seq == r.pos.Seq+1`,
		"pubsub", "TestStragglerBeforeTheFirst",
	},
	{
		"a subscriber begins at a nonce", "pubsub/room.go", `case m.Seq != s.at.Seq+1 || m.Prev != s.at.Nonce:`, `case m.Seq != s.at.Seq+1:`,
		"pubsub", "TestActivate",
	},
	{
		"a gap is repaired", "pubsub/repair.go", `if r.repairing || r.hub.ctx.Err() != nil {`, `if r.name != "" {`,
		"pubsub", "TestGapIsReadFromTheLog",
	},
	{
		"a connection made anew is a gap", "pubsub/room.go", `		r.gap()
		r.repair()`, ``, "pubsub", "TestRewoundSeenOnReconnect",
	},
	{
		"a deaf connection is made anew", "pubsub/probe.go", `	l.replace(conn, why)`, ``, "pubsub", "TestDeafSubscription",
	},
	{
		"a connection to who is the master no more is made anew", "pubsub/moved.go",
		`		l.replace(conn, "commands go to another server")`, ``, "pubsub", "TestSubscriptionLeavesAReadOnlyServer",
	},
	{
		"a new master that is announced counts", "internal/redisurl/moves.go", `m.server, m.told = "", server
	m.count()`, `m.server, m.told = "", server`, "internal/redisurl", "TestWhatCountsAsAMove",
	},
	{
		"a connection to who is the master no more is not kept", "internal/redisurl/moves.go", `case m.named && m.times != times:`,
		`case false:`, "internal/redisurl", "TestAMasterThatIsReplacedWhileItIsDialed",
	},
	{
		"an unsubscription unasked for is heeded", "pubsub/hub.go", `if said {`, `if false {`, "pubsub", "TestUnsubscribedUnasked",
	},
	{
		"the server's channels are counted", "pubsub/probe.go", `theirs == mine {`, `theirs == mine || mine >= 0 {`,
		"pubsub", "TestServerCountsOtherChannels",
	},
	{
		"rooms are compared with the store", "pubsub/compare.go", `if g.room.remains(g.at) {`, `if g.room == nil {`,
		"pubsub", "TestRewoundIsSuspected",
	},
	{
		"... by their nonces", "pubsub/compare.go", `if heads[i] != g.at {`, `if heads[i].Seq != g.at.Seq || heads[i].Epoch != g.at.Epoch {`,
		"pubsub", "TestRewoundIsSuspected",
	},
	{
		"a store that was rewound is told", "pubsub/repair.go", `told != pos && r.rewound(&h)`, `told != pos && r.rewound(&h) && false`,
		"pubsub", "TestRewoundBeginsANewLog",
	},
	{
		"... if it stands behind", "pubsub/repair.go", `is := h.Seq < r.pos.Seq || `, `is := `, "pubsub", "TestRewoundBeginsANewLog",
	},
	{
		"... or has another change there", "pubsub/repair.go", `h.Seq == r.pos.Seq && h.Nonce != r.pos.Nonce`, `false`,
		"pubsub", "TestRewoundBeginsANewLog",
	},
	{
		"... or has gone on from another", "pubsub/repair.go", `&& prev != r.pos.Nonce`, `&& prev == ""`, "pubsub", "TestRewoundBeginsANewLog",
	},
	{
		"who comes back asks by nonce", "pubsub/follow.go", `|| m.Prev != at.Nonce {`, `{`, "pubsub", "TestMissed",
	},
	{
		"who comes back asks by epoch", "pubsub/follow.go", `if l.Epoch != at.Epoch || `, `if at.Epoch = l.Epoch; `, "pubsub", "TestMissed",
	},

	// The fan-out of whole nodes.
	{
		"a connection is proven to hear", "pubsub/probe.go", `silent >= 2*every && (`, `silent >= 2000*every && (`,
		"internal/faults", "TestDeaf",
	},
	{
		"nodes make a deaf connection anew", "pubsub/probe.go", `"why", why)
	conn.breaks(errReplaced)`, `"why", why)`, "internal/faults", "TestDeaf",
	},
	{
		"nodes repair a gap", "pubsub/repair.go", `if r.repairing || r.hub.ctx.Err() != nil {`, `if r.name != "" {`,
		"internal/faults", "TestGapInject",
	},
	{
		"nodes repair what a dropped connection missed", "pubsub/repair.go", `if r.repairing || r.hub.ctx.Err() != nil {`, `if r.name != "" {`,
		"internal/faults", "TestOutputBuffer",
	},
	{
		"nodes compare quiet rooms with the store", "pubsub/compare.go", `if g.room.remains(g.at) {`, `if g.room == nil {`,
		"internal/faults", "TestGapInject",
	},
	{
		"nodes take no change but the next", "pubsub/room.go", `m.Seq == r.pos.Seq+1 && m.Prev == r.pos.Nonce`, `m.Seq > r.pos.Seq`,
		"internal/faults", "TestGapInject",
	},
	{
		"nodes follow the chain of nonces", "pubsub/follow.go", `|| m.Seq != at.Seq+1 || m.Prev != at.Nonce {`, `{`,
		"internal/faults", "TestLogTrim",
	},

	{
		"what was sent is not sent again", "internal/redisurl/sent.go", `	if e.sent {
		return nil`, `	if false {
		return nil`, "internal/redisurl", "TestAScriptWhoseReplyIsLostRunsOnce",
	},
	{
		"what was sent is known", "internal/redisurl/sent.go", `	m.written = true
	return []byte`, `	return []byte`, "internal/redisurl", "TestAScriptWhoseReplyIsLostRunsOnce",
	},
	{
		"a pipeline is not sent again", "internal/redisurl/sent.go", `NoRetry() bool { return true }`, `NoRetry() bool { return false }`,
		"internal/redisurl", "TestAScriptWhoseReplyIsLostRunsOnce",
	},
	{
		"a batch is for who stands where it begins", "pubsub/cast.go", `&& s.at == r.before:`, `:`,
		"pubsub", "TestBeginningWithinABatch",
	},
	{
		"what breaks while it is written may have arrived", "internal/redispipe/pipe.go", `if w.writing { // somebody just writes the rest`, `if false {`,
		"internal/redispipe", "TestAConnectionBreaksWhileItIsWrittenTo",
	},
	{
		"what was sent by a connection that breaks is unknown", "internal/redispipe/pipe.go", `case c.at < written:`, `case c.at < written && false:`,
		"internal/redispipe", "TestAConnectionBreaks$",
	},
	{
		"a silent server is given up", "internal/redispipe/pipe.go", `now.Sub(flying[0].sent) >= silence && `, `false && `,
		"internal/redispipe", "TestASilentServer",
	},
	{
		"a server that says nothing is sent nothing", "internal/redispipe/conn.go", `steps = append(steps, step{true, []any{"ping"}})`, ``,
		"internal/redispipe", "TestAServerThatSaysNothing",
	},
	{
		"a deadline is of one write", "internal/redispipe/conn.go", `	_ = c.nc.SetWriteDeadline(time.Time{})`, `	_ = 0`,
		"internal/redispipe", "TestADeadlineIsOfOneWrite",
	},
	{
		"what was not sent by a connection goes by the next", "internal/redispipe/pipe.go", `again = append(again, c)`, `c.ends(unsent(err))`,
		"internal/redispipe", "TestWhatIsNotWritten",
	},
	{
		"who reads waits for a room that is behind", "pubsub/link.go", `return behind == nil`, `return true`,
		"pubsub", "TestWhoReadsWaitsForARoomThatIsBehind",
	},
	{
		"who was waited for is told nothing", "internal/redispipe/conn.go", `	if c.closed.Load() { // and maybe waited for: nobody is told anything
		return
	}
`, ``, "internal/redispipe", "TestWaitWhilePaused",
	},
	{
		"a fiber's time ends", "internal/redispipe/pipe.go", `return c.of != nil && !c.end.IsZero() && now.After(c.end)`, `return false`,
		"internal/redispipe", "TestAFibersTimeEnds",
	},
	{
		"who gives up leaves its place to no other", "internal/redispipe/wire.go", `		c := w.flying.pop()
`, `		c := w.flying.pop()
		for c != nil && c.gone {
			c = w.flying.pop()
		}
`, "internal/redispipe", "TestWhoGivesUpLeavesTheRest",
	},
	{
		"calls follow the server", "internal/redispipe/pipe.go", `times != w.times {`, `times < w.times {`, "internal/redispipe", "TestTheServerMoves",
	},
	{
		"the old server's answers count", "internal/redispipe/wire.go", `if w.last && !w.writing && w.flying.empty() {`, `if w.last {`,
		"internal/redispipe", "TestTheServerMoves",
	},
	{
		"an end that comes with last words is noticed", "internal/redispipe/conn.go", `n < len(space) && !c.handle.Ended() {`, `n < len(space) {`,
		"internal/redispipe", "TestLastWords",
	},
	{
		"a client's end that comes with last words is noticed", "httpapi/park.go", ` && !k.handle.Ended() }`, ` }`, "httpapi", "TestParkWaitsForNoEnd",
	},
	{
		"who reads doesn't hand on to all rooms", "pubsub/cast.go", `min(len(rooms), atOnce)`, `len(rooms)`, "pubsub", "TestTurns",
	},
	{
		"who is behind holds up nobody else", "httpapi/outbox.go", `if o.answers > maxQueued && f.Inline() {`, `if false {`, "httpapi", "TestWhoLeaves",
	},
	{
		"a socket is not closed while it is sent to", "httpapi/outbox.go", `for o.state == flying {`, `for o.state > writing {`, "httpapi", "TestShutWaits",
	},
	{
		"what is partly taken goes on where it was left", "httpapi/outbox.go", `slices.Concat(left, o.frames)`, `slices.Concat(o.frames, left)`,
		"httpapi", "TestPartlyTaken",
	},
	{
		"a burst is sent at its end", "httpapi/sender.go", `if s.bursts.Load() == 0 || s.posted`, `if s.bursts.Load() >= 0 || s.posted`, "httpapi", "TestBurst",
	},
	{
		"who is sent to is not too slow yet", "httpapi/outbox.go", `for o.offered() && o.queued`, `for o.state > writing && o.queued`,
		"httpapi", "TestNotTooSlowMeanwhile",
	},
	{
		"half a message holds up nobody else", "httpapi/park.go", `		c.fiber.Leave()
	}
	return c.sock.Read(p)`, `	}
	return c.sock.Read(p)`, "httpapi", "TestNobodyWaitsForAnother",
	},
	{
		"who is woken before it waits goes on", "internal/fiber/fiber.go", `if f.state.CompareAndSwap(running, waiting) {`, `if true {`,
		"internal/fiber", "TestWakeBeforeWait",
	},
	{
		"what was read of a request is not lost", "httpapi/arrival.go", `n := copy(p, b.text)`, `n := copy(p, b.text[:0])`, "httpapi", "TestListenerOpensWebSockets",
	},
	{
		"who says nothing is given up", "httpapi/listener.go", `l.alarms.set(&a.alarm, a, time.Now()`, `_ = (time.Now()`, "httpapi", "TestListenerGivesUp",
	},
	{
		"... and when the listener is closed", "httpapi/listener.go", `for _, a := range waiting {`, `for _, a := range waiting[:0] {`, "httpapi", "TestListenerCloses",
	},
	{
		"a failure to accept is told before the next", "httpapi/listener.go", `for l.failed != nil && !l.closed {`, `for false {`, "httpapi", "TestListenerFails",
	},
	{
		"a request with something behind it is net/http's", "httpapi/upgrade.go", `if !ok || len(name) == 0 || bytes`, `if ok && bytes`, "httpapi", "TestLeavesTheRest",
	},
	{
		"the end of a socket does not wait for who reads nothing", "httpapi/outbox.go", `		o.drained.Broadcast() // shut`, `		// shut`,
		"httpapi", "TestShutDoesNotWaitForTheRest",
	},
	{
		"a late answer leaves nobody's fiber", "httpapi/rpc.go", `if k.later == nil {`, `if true {`, "httpapi", "TestFailureOfALaterAnswer",
	},
	{
		"a fiber has no round once it has ended", "internal/fiber/fiber.go", `f.round = nil // who`, `// who`,
		"internal/fiber", "TestWhoHasEndedHasNothingToLeave",
	},
	{
		"a leave that fails is answered before the end", "httpapi/verbs.go", `k.hold() // what else`, `// what else`,
		"httpapi", "TestReplyToALeaveThatFails",
	},
	{
		"... and so is a join anew", "httpapi/verbs.go", `k.hold() // as in leave`, `// as in leave`,
		"httpapi", "TestReplyToAJoinAnewThatFails",
	},
	{
		"what is listened to behind a resume holds", "node/resume.go", `m.view.keys, m.view.allPeers = keys, allPeers`, `_, _ = keys, allPeers`,
		"httpapi", "TestListeningBehindAResume",
	},
	{
		"what waits for a burst's end is sent before the socket is closed", "httpapi/outbox.go", `for o.offered() && !o.gone { // the`, `for false { // the`,
		"httpapi", "TestShutSendsWhatIsPosted",
	},
	{
		"what came behind a first request is not left", "httpapi/arrival.go", `if !f.Inline() || len(text) == len(u.head) {`, `if !f.Inline() {`,
		"httpapi", "TestListenerReadsOn",
	},
	{
		"a token's header is known by its text", "auth/verifier.go", `head == nil || head.segment != header`, `head == nil`, "auth", "TestSecrets",
	},
	{
		"a context of who has left is nobody else's", "internal/fiber/fiber.go", `f.ctx.fiber, f.ctx = nil, nil`, `_ = f`,
		"internal/fiber", "TestContextOfWhoHasLeft",
	},
	{
		"who waits for another's beginning holds up nobody", "node/leases.go", `	fiber.From(ctx).Leave()
	select {`, `	select {`, "node", "TestALeaseIsWaitedForAside",
	},
	{
		"... nor who waits for a subscription", "pubsub/hub.go", `		fiber.From(ctx).Leave() // Redis is asked first
`, ``, "httpapi", "TestFirstJoinsTogether",
	},
	{
		"... nor who joins a room that is handed on to", "pubsub/hub.go", `if sub.room = r; sub.Busy() {`, `if sub.room = r; false {`,
		"httpapi", "TestNobodyWaitsForARoom",
	},
	{
		"... nor who leaves it", "node/member.go", `if m.sub.Busy() {`, `if false {`, "httpapi", "TestNobodyWaitsForARoom",
	},
	{
		"what is due goes to Redis a few batches at a time", "node/sweep.go", `make(chan struct{}, settlers)`, `make(chan struct{}, 1000)`,
		"node", "TestFewBatchesAtATime",
	},
	{
		"... a batch being one round trip", "node/sweep.go", `settleBatch = 20`, `settleBatch = 1`, "node", "TestWhatIsDueTogetherIsSettledTogether",
	},
	{
		"... and what is long none of them", "node/sweep.go", ` && !items[n].Kind.Long() {`, ` {`, "node", "TestWhatIsLongIsSettledByItself",
	},
	{
		"... nor whose socket ends", "httpapi/end.go", `|| c.member != nil && c.member.Busy() {`, `{`, "httpapi", "TestNobodyWaitsForARoom",
	},
	{
		"a call that is under way when its socket ends holds up nobody", "httpapi/end.go", `c.later.Load() > 0 || `, ``,
		"httpapi", "TestNobodyWaitsForAnEnd",
	},
	{
		"... nor does a write", "httpapi/end.go", `if !c.quiet() {`, `if false {`, "httpapi", "TestNobodyWaitsForAnEnd",
	},
	{
		"nobody stands by who has left and not closed", "httpapi/end.go", `if c.park() {`, `if false {`, "httpapi", "TestWhoHasLeftIsParked",
	},
	{
		"who doesn't close is closed", "httpapi/park.go", `k.conn.srv.alarms.set(&k.alarm, k, at)`, `_ = at`, "httpapi", "TestWhoDoesNotCloseIsClosed",
	},
	{
		"... also if he was never let in", "httpapi/park.go", `_ = k.SetReadDeadline(at)`, ``, "httpapi", "TestWhoDoesNotCloseIsClosed",
	},
	{
		"who has left sends no more than some", "httpapi/end.go", `case err == nil && c.discarded < maxDiscard:`, `case err == nil:`,
		"httpapi", "TestWhoHasLeftAndSends",
	},
	{
		"a log begins anew only in the epoch that was heard", "store/lua/rewound.lua", `or epoch ~= ARGV[3] then`, `then`,
		"store", "TestContract/.*/^rewound$",
	},
}

// TestMutants switches one rule after the other off, in a copy: tests have to fall at each. (Rules that scripts have:
// TestStateMachineNotices in internal/check.)
//
//nolint:tparallel // it counts when all of them have ended, and runs beside no other test's clusters
func TestMutants(t *testing.T) {
	if !*long {
		t.Skip("only with -long")
	}
	if t.Failed() || !t.Run("none", unchanged) {
		return
	}
	var caught atomic.Int64
	t.Cleanup(func() {
		figures.mutations("Go", int(caught.Load()), len(mutants))
		t.Logf("%d of %d mutants noticed", caught.Load(), len(mutants))
	})
	for _, m := range mutants {
		t.Run(strings.TrimPrefix(m.name, "... "), func(t *testing.T) {
			t.Parallel() // most of them wait
			out, failed := goTest(t, m.pkg, m.tests, "-overlay="+overlaid(t, m.file, m.old, m.changed))
			switch {
			case !failed:
				t.Errorf("%s: not noticed by %s of %s", m.file, m.tests, m.pkg)
			case strings.Contains(out, notBuilt), !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic: ") && !strings.Contains(out, "fatal error: "):
				t.Errorf("no test fell, but: %s", out)
			default:
				caught.Add(1)
				t.Log(fell(out))
			}
		})
	}
}

// fell returns what a run says of the tests that fell in it, and what they first complained of.
func fell(out string) string {
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		if strings.Contains(line, "--- FAIL") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return strings.Join(lines[i:min(i+4, len(lines))], "\n")
		}
	}
	return ""
}

// Each rule is still where it is switched off. (That takes no time, unlike TestMutants.)
func TestRulesAreWhereTheyAreSwitchedOff(t *testing.T) {
	dir := sources(t)
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join(dir, m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s has %q %d times", m.name, m.file, m.old, n)
		}
	}
}

// unchanged runs the same tests on what nothing is switched off in.
func unchanged(t *testing.T) {
	tests := map[string][]string{}
	for _, m := range mutants {
		if !slices.Contains(tests[m.pkg], m.tests) {
			tests[m.pkg] = append(tests[m.pkg], m.tests)
		}
	}
	for pkg, names := range tests {
		t.Run(filepath.Base(pkg), func(t *testing.T) {
			t.Parallel()
			if out, failed := goTest(t, pkg, strings.Join(names, "|")); failed || strings.Contains(out, "no tests to run") {
				t.Error(out)
			}
		})
	}
}

// goTest runs tests with flags of the go command, which also hold for what they build: the nodes of this package's tests.
func goTest(t *testing.T, pkg, tests string, flags ...string) (out string, failed bool) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout=5m", "-run", tests, "./"+pkg)
	c.Dir = sources(t)
	c.Env = append(os.Environ(), "GOFLAGS="+strings.Join(append(flags, output("go", "env", "GOFLAGS")), " "))
	text, err := c.CombinedOutput()
	return string(text), err != nil
}
