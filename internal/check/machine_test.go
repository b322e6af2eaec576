package check

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// Names that a careless key, range or pattern would take for one another.
var (
	roomNames  = []string{"r", "r1"}
	peerNames  = []string{"p", "p1", "p-", "q"}
	keyNames   = []string{"k", "k1", "k/x", `"\`, "default"}
	lockNames  = []string{"l", "l1"}
	groupNames = []string{"g", "g1"}
	roleNames  = []string{"guest", "host"}
	values     = []string{"1", "7", "-3", `"x"`, `{"a":[1,2]}`, `"a value that is as long as forty bytes are"`}
	ttls       = []time.Duration{0, time.Millisecond, time.Second, time.Minute}
	waits      = []time.Duration{0, time.Millisecond, time.Second, time.Minute, time.Minute}
	lockTTLs   = []time.Duration{time.Second, time.Second, time.Minute}
)

// limits are small, so that they are met.
var machineLimits = hearth.Limits{
	MaxKeys: 3, MaxMetadata: 70, MaxPeers: 3, LogEvents: 100_000, LogBytes: 1 << 30, LogAge: 10_000 * time.Hour,
}.WithDefaults()

// steps counts what machines have done, by the name of the action.
type steps struct{ all, refused, events atomic.Int64 }

// machine drives a store and the models of its rooms, and compares them after each step.
type machine struct {
	t      *rapid.T
	s      *store.Store
	client *redis.Client
	clock  *clock
	steps  *steps
	now    int64
	rooms  []*watched
	ops    int // op_ids made

	part   *partition
	incs   []string        // incarnations begun
	dead   map[string]bool // that are not renewed any more
	listed []store.DueItem // by ticks that nobody has acted on

	// only is the room of all that follows, if it is not nil.
	only *watched
	// crowd: all that is acquired is one lock, for a short time and with patience.
	crowd bool
	// refused notes that the step under way was refused.
	refused bool
}

// watched is a room with all that was heard of it.
type watched struct {
	*room
	sub      *redis.PubSub
	log      []string       // of the live session
	logged   uint64         // how much of it has been compared
	replayed *replay        // what the log makes of it
	last     string         // nonce of the last change
	heard    []string       // and not compared yet
	used     map[string]any // session ids and epochs
	writers  []store.Writer // all there ever were, fences and all
}

// one draws from a list.
func one[T any](m *machine, what string, from []T) T { return rapid.SampledFrom(from).Draw(m.t, what) }

// chance is true n times of 100.
func (m *machine) chance(what string, n int) bool { return rapid.IntRange(0, 99).Draw(m.t, what) < n }

func (m *machine) room() *watched {
	if m.only != nil {
		return m.only
	}
	if m.chance("other room", 15) {
		return m.rooms[1]
	}
	return m.rooms[0]
}

// writer draws who writes: mostly a member; else a server, or somebody who once was a member or makes a mistake.
func (m *machine) writer(r *watched, verb string) store.Writer {
	w := store.Writer{Key: "key"}
	names := r.names()
	switch n := rapid.IntRange(0, 99).Draw(m.t, "writer"); {
	case n < 72 && len(names) > 0:
		p := r.peers[one(m, "peer", names)]
		w = store.Writer{Session: r.session, Peer: p.ID, Conn: p.conn, User: p.User}
		switch {
		case n < 5: // a server acts by the conn_id of a peer that it joined
			w.User, w.Session = "", ""
		case n < 8:
			w.User = "somebody"
		case n < 16: // it was allowed by a role, which may not be the peer's any more
			w.Role, w.Allow = one(m, "role", append(roleNames, "")), onlyHosts
		}
	case n < 85 && len(r.writers) > 0:
		w = one(m, "stale writer", r.writers)
	case n < 95 || len(r.writers) == 0:
		if m.chance("names the session", 50) && r.session != "" {
			w.Session = r.session
		}
	default:
		w.Session = one(m, "stale session", r.writers).Session
	}
	switch n := rapid.IntRange(0, 99).Draw(m.t, "op"); {
	case n < 20:
		m.ops++
		w.Op = "o" + num(int64(m.ops))
	case n < 40:
		w.Op = m.oldOp(r, verb, &w)
	}
	return w
}

// onlyHosts is what decides anew about a write.
func onlyHosts(role string) error {
	if role == "host" {
		return nil
	}
	return hearth.Errorf(hearth.ReasonForbidden, "for hosts")
}

// oldOp draws an op_id that the writer has used for the verb within the time that it is remembered for sure.
func (m *machine) oldOp(r *watched, verb string, w *store.Writer) string {
	prefix := verb + "/" + w.Peer + "/" + w.Key + "/"
	var known []string
	for k, res := range r.ops {
		if op := k[min(len(prefix), len(k)):]; k[:len(k)-len(op)] == prefix && m.now-res.when < 5*60_000 {
			known = append(known, op)
		}
	}
	if len(known) == 0 {
		return ""
	}
	slices.Sort(known)
	return one(m, "old op", known)
}

// advance moves the store's clock on.
func (m *machine) advance(ms int64) {
	m.now += ms
	m.part.now = m.now
	for _, r := range m.rooms {
		r.now = m.now
	}
	m.ok(m.clock.set(m.t.Context(), m.now))
}

func (m *machine) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v", err)
	}
}

// is fails unless an error has the reason that the model says.
func (m *machine) is(what string, err error, want hearth.Reason) {
	m.t.Helper()
	if got := hearth.ReasonOf(err); got != want {
		m.t.Fatalf("%s: gave %q (%v), not %q", what, got, err, want)
	}
	m.refused = m.refused || want != ""
}

// same fails unless what a call returned is what the model says.
func (m *machine) same(what string, got, want any) {
	m.t.Helper()
	if d := diff(want, got); d != "" {
		m.t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// expectation draws which version a write expects, if any.
func (m *machine) expectation(r *watched, key string) *uint64 {
	v := r.entries[key].ChangeVersion
	switch n := rapid.IntRange(0, 99).Draw(m.t, "expect"); {
	case n < 50:
		return nil
	case n < 85:
		return &v
	case n < 92:
		return new(uint64(0))
	}
	v = uint64(rapid.IntRange(0, int(r.seq)+1).Draw(m.t, "version"))
	return &v
}

func (m *machine) life() hearth.Life {
	return hearth.Life{TTL: one(m, "ttl", ttls), Owned: m.chance("owned", 25)}
}

// patterns draws what a lock binds.
func (m *machine) patterns() (hearth.Patterns, bool) {
	some := []hearth.Patterns{{"k*"}, {"k"}, {"default", "k1"}, {"k/x", "default"}, {}, nil, nil}
	if m.crowd {
		return one(m, "binds", some[:4]), true
	}
	return one(m, "binds", some), m.chance("binds anew", 80)
}

// holding draws a holding: mostly the current one of a lock.
func (m *machine) holding(r *watched) hearth.Holding {
	name := one(m, "lock", lockNames)
	h := hearth.Holding{Name: name, Token: uint64(rapid.IntRange(1, int(r.seq)+1).Draw(m.t, "token"))}
	if l := r.locks[name]; l != nil && m.chance("current holding", 80) {
		h.Token = l.token
	}
	return h
}

// fenced adds a lock's fence to a write of entries, now and then.
func (m *machine) fenced(r *watched, w *store.Writer) {
	if m.chance("lock fence", 15) {
		w.Lock = m.holding(r)
	}
}

// actions are the steps, each under as many names as it is to be taken often.
func (m *machine) actions() map[string]func(*rapid.T) {
	out := map[string]func(*rapid.T){}
	for _, a := range []struct {
		name  string
		often string
		run   func()
	}{
		{"join", "123", m.join},
		{"leave", "1", m.leave},
		{"remove", "1", m.removePeer},
		{"end", "1", m.end},
		{"set", "12345", m.set},
		{"delete", "12", m.delete},
		{"update", "1234", m.update},
		{"acquire", "12345", m.acquire},
		{"stop waiting", "1", m.stopWaiting},
		{"renew lock", "1", m.renewLock},
		{"release", "12", m.release},
		{"broadcast", "1", m.broadcast},
		{"group", "1", m.group},
		{"peer update", "1", m.peerUpdate},
		{"renew", "1", m.renew},
		{"set role", "1", m.setRole},
		{"hand over", "12", m.handOver},
		{"begin node", "1", m.beginNode},
		{"kill node", "1", m.killNode},
		{"tick", "1", m.tick},
		{"settle late", "1", m.settleLate},
		{"members", "1", m.members},
		{"node dies", "1", m.nodeDies},
		{"after an end", "1", m.afterEnd},
		{"time", "1234", m.time},
		{"sweep", "12", m.sweep},
		{"late", "12", m.late},
	} {
		for _, n := range a.often {
			out[a.name+" "+string(n)] = func(t *rapid.T) {
				m.t, m.refused = t, false
				a.run()
				m.check()
				m.steps.all.Add(1)
				if m.refused {
					m.steps.refused.Add(1)
				}
			}
		}
	}
	return out
}

func (m *machine) join() { m.joinAs("") }

// joinAs has somebody join, anybody if id is "".
func (m *machine) joinAs(id string) {
	r := m.room()
	if len(m.alive()) == 0 {
		m.beginNode()
	}
	q := store.JoinRequest{
		Room: r.name,
		Peer: hearth.Peer{
			ID: one(m, "peer", peerNames), User: `u"é`, Role: one(m, "role", roleNames), Name: one(m, "name", []string{"", "Ann"}),
			Data: one(m, "data", []string{"", "some", `q"\`}), Hidden: m.chance("hidden", 15),
		},
		KeepName: m.chance("keep name", 50), KeepData: m.chance("keep data", 50),
		Conn: hearth.NewConnSecret(), Incarnation: m.incarnation(), Implicit: m.chance("implicit", 20), Peers: 200, Watch: hearth.Patterns{"k*", "default"},
	}
	if id != "" {
		q.Peer.ID = id
	}
	if m.chance("other user", 10) {
		q.Peer.User = "other"
	}
	if m.chance("leased", 25) {
		q.Lease = one(m, "lease", ttls[1:])
	}
	if m.chance("in a group", 20) {
		q.Peer.Groups = groupNames[:1]
	}
	if m.chance("in time", 20) {
		q.NotAfter = m.now
	}
	late := m.chance("late", 5)
	if late {
		q.NotAfter = m.now - 1
	}
	live := r.session != ""
	j, err := m.s.Join(m.t.Context(), q)
	if _, ok := m.part.nodes[q.Incarnation]; !ok && q.Lease == 0 {
		m.same("lapsed", errors.Is(err, store.ErrLapsed), true)
		m.refused = true
		return
	}
	if late {
		m.same("late", err, &store.LateError{Now: m.now})
		m.refused = true
		return
	}
	why, takenOver := r.join(&q, j.ID, j.Epoch)
	m.is("join", err, why)
	if err != nil {
		return
	}
	if !live {
		if r.used[j.ID] != nil || r.used[j.Epoch] != nil {
			m.t.Fatalf("session %s or epoch %s for the second time", j.ID, j.Epoch)
		}
		r.used[j.ID], r.used[j.Epoch] = true, true
		r.begin()
	}
	p := r.peers[q.Peer.ID]
	r.writers = append(r.writers, store.Writer{Session: j.ID, Peer: p.ID, Conn: q.Conn, User: p.User})
	m.same("joined", store.Joined{Session: j.Session, Own: j.Own, TakenOver: j.TakenOver, ExpiresAt: j.ExpiresAt}, store.Joined{
		Session: hearth.Session{
			Room: r.name, ID: r.session, Epoch: r.epoch, StartedAt: r.started, Seq: r.seq, Nonce: j.Nonce, PeerCount: r.count(),
		},
		Own: p.Peer, TakenOver: takenOver, ExpiresAt: p.leaseEnd,
	})
	var others []hearth.Peer
	for _, id := range r.names() {
		if o := r.peers[id]; id == p.ID || !o.Hidden {
			others = append(others, o.Peer)
		}
	}
	slices.SortFunc(j.Peers, byID)
	m.same("peers that a join returns", j.Peers, others)
	var entries []hearth.Entry
	for _, e := range r.list() {
		if q.Watch.Match(e.Key) {
			entries = append(entries, e)
		}
	}
	if _, ok := r.entries["default"]; !ok {
		entries = slices.Insert(entries, 0, hearth.Entry{Key: "default"})
	}
	m.same("entries that a join returns", j.Entries, entries)
}

func (m *machine) leave() {
	r := m.room()
	w := m.writer(r, "")
	if w.Peer == "" {
		return
	}
	ended, err := m.s.Leave(m.t.Context(), r.name, w, hearth.Left)
	why, want := r.fence(&w), false
	if why == "" {
		want = r.depart(w.Peer, hearth.Left, "", `""`)
	}
	m.is("leave", err, why)
	m.same("session ended", ended, want)
}

func (m *machine) removePeer() {
	r := m.room()
	w, id := m.writer(r, "remove"), one(m, "whom", peerNames)
	ended, err := m.s.Remove(m.t.Context(), r.name, w, id, `be"gone`)
	why, want := r.fence(&w), false
	if _, again := r.repeated("remove", &w); why == "" && !again {
		if r.peers[id] == nil {
			why = hearth.ReasonNotFound
		} else if want = r.depart(id, hearth.Removed, w.Peer, hearth.QuoteString(`be"gone`)); !want {
			r.remember("remove", &w, opResult{})
		}
	}
	m.is("remove", err, why)
	m.same("session ended", ended, want)
}

func (m *machine) end() {
	if !m.chance("really", 25) { // else no session gets old
		return
	}
	r := m.room()
	w := m.writer(r, "")
	id, err := m.s.End(m.t.Context(), r.name, w, "over")
	why, want := r.fence(&w), ""
	if why == "" {
		want = r.session
		r.finish("ended", w.Peer, hearth.QuoteString("over"))
	}
	m.is("end", err, why)
	m.same("session", id, want)
}

func (m *machine) acquire() {
	r := m.room()
	w := m.writer(r, "lock_acquire")
	q := store.AcquireRequest{
		Lock: one(m, "lock", lockNames), Peer: w.Peer, TTL: one(m, "lock ttl", lockTTLs), Wait: one(m, "wait", waits),
	}
	if q.Keys, q.SetKeys = m.patterns(); !q.SetKeys {
		q.Keys = nil
	}
	if w.Peer == "" {
		q.Peer = one(m, "holder", peerNames)
	}
	if m.crowd {
		q.Lock, q.TTL, q.Wait = lockNames[0], time.Second, time.Minute
	}
	held, err := m.s.Acquire(m.t.Context(), r.name, w, q)
	why, want, waiting := r.acquire(&w, &q)
	if waiting || errors.Is(err, store.ErrWaiting) {
		m.same("waits", errors.Is(err, store.ErrWaiting), waiting)
		return
	}
	m.isLock("acquire", r, q.Lock, err, why)
	m.held(r, held, want, why)
}

// held compares what the holder of a lock is told.
func (m *machine) held(r *watched, got store.Held, want opResult, why hearth.Reason) {
	m.t.Helper()
	if why == "" {
		m.same("holding", got, store.Held{Session: r.session, Token: want.seq, ExpiresAt: want.at})
	}
}

// isLock is is for a refusal that carries the lock.
func (m *machine) isLock(what string, r *watched, name string, err error, why hearth.Reason) {
	m.t.Helper()
	m.is(what, err, why)
	if why != hearth.ReasonLockHeld && why != hearth.ReasonLockLost {
		return
	}
	var want *hearth.Lock
	if l := r.locks[name]; l != nil {
		want = l.shown()
	}
	m.same(what+": the lock in the refusal", hearth.AsError(err).Lock, want)
}

func (l *lock) shown() *hearth.Lock {
	return &hearth.Lock{Name: l.name, Peer: l.peer, Token: l.token, ExpiresAt: l.expires, Keys: l.keys, Waiters: -1}
}

func (m *machine) stopWaiting() {
	r := m.room()
	w, name := m.writer(r, ""), one(m, "lock", lockNames)
	if w.Peer == "" {
		return
	}
	w.Op = ""
	held, err := m.s.StopWaiting(m.t.Context(), r.name, w, name)
	why, want := r.stopWaiting(&w, name)
	m.isLock("stop waiting", r, name, err, why)
	m.held(r, held, want, why)
}

func (m *machine) renewLock() {
	r := m.room()
	w, h, ttl := m.writer(r, ""), m.holding(r), one(m, "ttl", []time.Duration{0, time.Second, time.Minute})
	held, err := m.s.RenewLock(m.t.Context(), r.name, w, h, ttl, w.Peer)
	why, want := r.renewLock(&w, h, ttl.Milliseconds(), w.Peer)
	m.isLock("renew", r, h.Name, err, why)
	m.held(r, held, want, why)
}

func (m *machine) release() {
	r := m.room()
	w, h := m.writer(r, "lock_release"), m.holding(r)
	err := m.s.ReleaseLock(m.t.Context(), r.name, w, h, w.Peer)
	m.isLock("release", r, h.Name, err, r.releaseLock(&w, h, w.Peer))
}
