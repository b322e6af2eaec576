// Package storetest is the contract of package store, as tests: each verb by what it returns, by what it leaves in the
// server and by what it tells subscribers. It is written once and run on every kind of server; a new kind needs no more
// than a func that opens an Env.
//
// It is not the place for what only some kinds of server can show (faults, memory, a failover), nor for what can be seen
// without a server (the layout of keys). That stands in store's own tests.
package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/store"
)

// Env is a server as a test finds it.
type Env struct {
	// Client is what stores run on, and what looks into the server beneath them. It must not repeat commands by itself.
	Client redis.UniversalClient
	// Stores, if it is not nil, is what stores run on instead: it may do less.
	Stores redis.UniversalClient
	// Prefix is that of every key and channel of the test. Nothing has it yet.
	Prefix string
	// Poller is the stores'; it may be nil.
	Poller *netpoll.Poller
	// Advance moves the server's clock on. It is nil where that can't be done: then what has to come in time is waited
	// for, or found already late.
	Advance func(time.Duration)
}

// Run runs the contract. It calls open for each part of it; what open has to stop or close it hands to t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) *Env) {
	for _, part := range []struct {
		name string
		test func(*fixture)
	}{
		{"join", testJoin},
		{"takeover", testTakeover},
		{"snapshot", testSnapshot},
		{"first sight", testFirstSight},
		{"leave", testLeave},
		{"remove", testRemove},
		{"end", testEnd},
		{"fence", testFence},
		{"lease", testLease},
		{"grace", testGrace},
		{"node lease", testNodeLease},
		{"hold", testHold},
		{"members", testMembers},
		{"due", testDue},
		{"log age", testLogAge},
		{"set", testSet},
		{"delete", testDelete},
		{"update", testUpdate},
		{"increment", testIncrement},
		{"ttl", testTTL},
		{"met expired", testMetExpired},
		{"owned", testOwned},
		{"lock", testLock},
		{"lock queue", testLockQueue},
		{"lock fence", testLockFence},
		{"bound keys", testBoundKeys},
		{"values", testValues},
		{"limits", testLimits},
		{"read", testRead},
		{"broadcast", testBroadcast},
		{"log", testLog},
		{"rewound", testRewound},
		{"heads", testHeads},
		{"peer", testPeer},
		{"groups", testGroups},
		{"peers", testPeers},
		{"large room", testLargeRoom},
		{"rooms", testRooms},
		{"role", testRole},
		{"role request", testRoleRequest},
		{"users", testUsers},
		{"disconnect", testDisconnect},
		{"bury", testBury},
		{"settings", testSettings},
		{"linger", testLinger},
		{"summary", testSummary},
		{"retention", testRetention},
		{"sessions", testSessions},
		{"revoke", testRevoke},
		{"nodes", testNodes},
		{"return", testReturn},
		{"kept", testKept},
		{"gone", testGone},
		{"op_id", testOpID},
		{"op_id memory", testOpMemory},
		{"order", testOrder},
		{"numbers", testNumbers},
		{"rates", testRates},
		{"join rate", testJoinRate},
		{"users' peers", testUsersPeers},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(newFixture(t, open(t))) })
	}
}

// partitions is small, so that a page of rooms goes over all of them.
const partitions = 8

// incarnation is the one by which everybody joins, if nothing else is said.
const incarnation = "node-1"

// fixture is one test's T, its server, and a store on it.
type fixture struct {
	*testing.T
	env   *Env
	s     *store.Store
	rooms *atomic.Int64
	// caller is as whose calls those of the store count, a peer or if it is "" a user; with neither they don't.
	caller struct{ peer, user string }
}

func newFixture(t *testing.T, e *Env) *fixture {
	f := &fixture{T: t, env: e, rooms: new(atomic.Int64)}
	return f.limited(hearth.Limits{})
}

// limited is the fixture with a store that keeps other limits on the same data.
func (f *fixture) limited(l hearth.Limits) *fixture {
	f.Helper()
	client := f.env.Client
	if f.env.Stores != nil {
		client = f.env.Stores
	}
	s, err := store.New(f.Context(), client, store.Options{Prefix: f.env.Prefix, Partitions: partitions, Limits: l, Poller: f.env.Poller})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	for p := range s.Partitions() {
		if _, err := s.Begin(f.Context(), p, incarnation); err != nil {
			f.Fatal(err)
		}
	}
	c := *f
	c.s = s
	return &c
}

// run is T.Run with the fixture.
func (f *fixture) run(name string, test func(f *fixture)) {
	f.Helper()
	f.Run(name, func(t *testing.T) {
		c := *f
		c.T = t
		test(&c)
	})
}

// ctx is the context of a call.
func (f *fixture) ctx() context.Context {
	if f.caller.peer == "" && f.caller.user == "" {
		return f.Context()
	}
	return f.s.Counted(f.Context(), f.caller.peer, f.caller.user)
}

// ok ends the test if err is an error.
func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// newRoom returns the name of a room that no other test uses. It has the characters that a careless script or key would
// stumble over.
func (f *fixture) newRoom() string {
	return "r" + strconv.FormatInt(f.rooms.Add(1), 10) + ":._~@+=-"
}

// member is one membership, as its connection knows it.
type member struct {
	store.Joined
	store.Writer
}

// A change of a join request.
type change = func(*store.JoinRequest)

func leased(d time.Duration) change    { return func(q *store.JoinRequest) { q.Lease = d } }
func hidden(q *store.JoinRequest)      { q.Peer.Hidden = true }
func keepName(q *store.JoinRequest)    { q.KeepName = true }
func keepData(q *store.JoinRequest)    { q.KeepData = true }
func named(name string) change         { return func(q *store.JoinRequest) { q.Peer.Name = name } }
func bearing(data string) change       { return func(q *store.JoinRequest) { q.Peer.Data = data } }
func ofUser(user string) change        { return func(q *store.JoinRequest) { q.Peer.User = user } }
func inGroups(groups ...string) change { return func(q *store.JoinRequest) { q.Peer.Groups = groups } }
func ofRole(role string) change        { return func(q *store.JoinRequest) { q.Peer.Role = role } }
func shown(peers int) change           { return func(q *store.JoinRequest) { q.Peers = peers } }
func watching(keys ...string) change {
	return func(q *store.JoinRequest) {
		for _, k := range keys {
			q.Watch = append(q.Watch, hearth.Pattern(k))
		}
	}
}

// request is how peer joins, if nothing else is said: of the user u-<peer>, as a guest.
func request(room, peer string, changes ...change) store.JoinRequest {
	q := store.JoinRequest{
		Room: room,
		Peer: hearth.Peer{ID: peer, User: "u-" + peer, Role: "guest", Name: "Name of " + peer},
		Conn: hearth.NewConnSecret(), Incarnation: incarnation,
	}
	for _, c := range changes {
		c(&q)
	}
	return q
}

func (f *fixture) tryJoin(room, peer string, changes ...change) (member, error) {
	q := request(room, peer, changes...)
	j, err := f.s.Join(f.ctx(), q)
	if errors.Is(err, store.ErrLapsed) && q.Incarnation == incarnation { // the clock was moved
		_, err = f.s.Begin(f.ctx(), f.s.Partition(room), incarnation)
		f.ok(err)
		j, err = f.s.Join(f.ctx(), q)
	}
	return member{j, store.Writer{Session: j.ID, Peer: peer, Conn: q.Conn, User: q.Peer.User}}, err
}

func (f *fixture) join(room, peer string, changes ...change) member {
	f.Helper()
	m, err := f.tryJoin(room, peer, changes...)
	if err != nil {
		f.Fatalf("join %s as %s: %v", room, peer, err)
	}
	return m
}

func (f *fixture) leave(m member) (ended bool) {
	f.Helper()
	ended, err := f.s.Leave(f.ctx(), m.Room, m.Writer, hearth.Left)
	if err != nil {
		f.Fatalf("%s leaves %s: %v", m.Peer, m.Room, err)
	}
	return ended
}

// set writes an entry and returns its version.
func (f *fixture) set(m member, key, value string) uint64 {
	f.Helper()
	c, err := f.s.Set(f.ctx(), m.Room, m.Writer, key, []byte(value), nil, hearth.Life{})
	if err != nil {
		f.Fatalf("set %q: %v", key, err)
	}
	return c.Seq
}

func (f *fixture) get(room, key string) hearth.Entry {
	f.Helper()
	_, e, err := f.s.Get(f.ctx(), room, "", key)
	if err != nil {
		f.Fatalf("get %q: %v", key, err)
	}
	return e
}

// say broadcasts a message to all.
func (f *fixture) say(m member, text string) store.Sent {
	f.Helper()
	sent, err := f.s.Broadcast(f.ctx(), m.Room, m.Writer, message(text))
	if err != nil {
		f.Fatal(err)
	}
	return sent
}

func message(text string) *hearth.Message {
	return &hearth.Message{ID: hearth.NewMessageID(), Type: "chat", Message: []byte(hearth.QuoteString(text))}
}

// with is the writer with an op_id.
func with(w store.Writer, op string) store.Writer {
	w.Op = op
	return w
}

// until calls met until it holds, for what comes in time on a server whose clock can't be moved.
func (f *fixture) until(what string, met func() bool) {
	f.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if met() {
			return
		}
	}
	f.Fatalf("%s: not within 10 s", what)
}
