package faults

// stateMutants are of who is where and of what is told: leases, sessions, the sweep, the fan-out.
var stateMutants = []mutant{
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
		"a batch is for who stands where it begins", "pubsub/cast.go", `&& s.at == r.before:`, `:`,
		"pubsub", "TestBeginningWithinABatch",
	},
	{
		"who reads waits for a room that is behind", "pubsub/link.go", `return behind == nil`, `return true`,
		"pubsub", "TestWhoReadsWaitsForARoomThatIsBehind",
	},
	{
		"who reads doesn't hand on to all rooms", "pubsub/cast.go", `min(len(rooms), atOnce)`, `len(rooms)`, "pubsub", "TestTurns",
	},
	{
		"what is listened to behind a resume holds", "node/resume.go", `m.view.keys, m.view.allPeers = keys, allPeers`, `_, _ = keys, allPeers`,
		"httpapi", "TestListeningBehindAResume",
	},
	{
		"a token's header is known by its text", "auth/verifier.go", `head == nil || head.segment != header`, `head == nil`, "auth", "TestSecrets",
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
		"a log begins anew only in the epoch that was heard", "store/lua/rewound.lua", `or epoch ~= ARGV[3] then`, `then`,
		"store", "TestContract/.*/^rewound$",
	},
}
