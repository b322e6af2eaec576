package faults

// socketMutants are of connections, to clients and to Redis, and of what reads and writes them.
var socketMutants = []mutant{
	{
		"a new master that is announced counts", "internal/redisurl/moves.go", `m.server, m.told = "", server
	m.count()`, `m.server, m.told = "", server`, "internal/redisurl", "TestWhatCountsAsAMove",
	},
	{
		"a connection to who is the master no more is not kept", "internal/redisurl/moves.go", `case m.named && m.times != times:`,
		`case false:`, "internal/redisurl", "TestAMasterThatIsReplacedWhileItIsDialed",
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
		"who is behind holds up nobody else", "httpapi/outbox.go", `if o.answers > maxQueued && f.Inline() {`, `if false {`, "httpapi", "TestWhoLeaves",
	},
	{
		"a socket is not closed while it is sent to", "httpapi/outbox.go", `for o.offered() && !o.gone { // the`, `for o.state == posted && !o.gone { // the`, "httpapi", "TestShutWaits",
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
		"what waits for a burst's end is sent before the socket is closed", "httpapi/outbox.go", `for o.offered() && !o.gone { // the`, `for false { // the`,
		"httpapi", "TestShutSendsWhatIsPosted",
	},
	{
		"what came behind a first request is not left", "httpapi/arrival.go", `if !f.Inline() || len(text) == len(u.head) {`, `if !f.Inline() {`,
		"httpapi", "TestListenerReadsOn",
	},
	{
		"a context of who has left is nobody else's", "internal/fiber/fiber.go", `f.ctx.fiber, f.ctx = nil, nil`, `_ = f`,
		"internal/fiber", "TestContextOfWhoHasLeft",
	},
	{
		"who is in a room that is handed on to holds up nobody when his socket ends", "httpapi/end.go", `|| c.member != nil && c.member.Busy() {`, `{`, "httpapi", "TestNobodyWaitsForARoom",
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
}
