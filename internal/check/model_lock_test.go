package check

import (
	"maps"
	"slices"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func (r *room) tellLock(l *lock, state hearth.LockState) {
	r.tell(hearth.Event{
		Kind: hearth.KindLock, Peer: l.peer, Audience: hearth.Audience{All: true},
		Lock: &hearth.LockChange{Name: l.name, State: state, Token: l.token, ExpiresAt: l.expires},
		Body: `"name":"` + l.name + `","state":"` + string(state) + `","peer_id":"` + l.peer + `","token":` + num(int64(l.token)),
	})
}

// keep makes l what is held of its name.
func (r *room) keep(l *lock) {
	r.locks[l.name] = l
	r.unbind(l.name)
	if len(l.keys) > 0 {
		r.bound = append(r.bound, l.name)
	}
}

func (r *room) unbind(name string) {
	r.bound = slices.DeleteFunc(r.bound, func(n string) bool { return n == name })
}

func (r *room) hold(name, peer string, ttl int64, keys hearth.Patterns) *lock {
	l := &lock{name: name, peer: peer, token: r.seq + 1, expires: r.now + ttl, ttl: ttl, keys: keys}
	r.keep(l)
	r.tellLock(l, hearth.LockAcquired)
	return l
}

// free ends a holding and gives the lock to the first who waits and is still there.
func (r *room) free(l *lock, state hearth.LockState) {
	delete(r.locks, l.name)
	r.unbind(l.name)
	r.tellLock(l, state)
	for len(r.queues[l.name]) > 0 {
		w := r.queues[l.name][0]
		r.queues[l.name] = r.queues[l.name][1:]
		if p := r.peers[w.peer]; p != nil && p.conn == w.conn && !p.away() && p.Role == w.role && !r.over(w.deadline) {
			got := r.hold(l.name, w.peer, w.ttl, w.keys)
			if w.op != "" {
				r.ops[w.op] = opResult{seq: got.token, at: got.expires, when: r.now}
			}
			return
		}
	}
}

// current returns the lock if somebody holds it; one that is over ends first.
func (r *room) current(name string) *lock {
	if l := r.locks[name]; l != nil && r.over(l.expires) {
		r.free(l, hearth.LockExpired)
	}
	return r.locks[name]
}

// barred says why a write of these keys is refused because of a lock.
func (r *room) barred(keys []string, w *store.Writer) hearth.Reason {
	if h := w.Lock; h.Name != "" {
		if l := r.current(h.Name); l == nil || l.token != h.Token {
			return hearth.ReasonLockLost
		}
	}
	for _, name := range slices.Clone(r.bound) {
		for {
			l := r.locks[name]
			if l == nil || l.peer == w.Peer || !slices.ContainsFunc(keys, l.keys.Match) {
				break
			}
			if !r.over(l.expires) {
				return hearth.ReasonLockHeld
			}
			r.current(name) // whoever has it now may bind other keys
		}
	}
	return ""
}

// acquire returns why an acquisition is refused, its result, and whether it waits.
func (r *room) acquire(w *store.Writer, q *store.AcquireRequest) (why hearth.Reason, res opResult, waits bool) {
	if why := r.fence(w); why != "" {
		return why, res, false
	}
	if res, ok := r.repeated("lock_acquire", w); ok {
		return "", res, false
	}
	p := r.peers[q.Peer]
	if p == nil {
		return hearth.ReasonNotFound, res, false
	}
	l := r.current(q.Lock)
	switch {
	case l == nil:
		l = r.hold(q.Lock, q.Peer, q.TTL.Milliseconds(), q.Keys)
	case l.peer == q.Peer:
		l.ttl, l.expires = q.TTL.Milliseconds(), r.now+q.TTL.Milliseconds()
		if q.SetKeys {
			l.keys = q.Keys
		}
		r.keep(l)
	case q.Wait == 0:
		return hearth.ReasonLockHeld, res, false
	default:
		r.wait(w, q, p)
		return "", res, true
	}
	res = opResult{seq: l.token, at: l.expires}
	r.remember("lock_acquire", w, res)
	return "", res, false
}

// wait puts a peer into the queue, where one connection has one place.
func (r *room) wait(w *store.Writer, q *store.AcquireRequest, p *peer) {
	n := &waiter{
		peer: p.ID, conn: p.conn, role: p.Role, op: opKey("lock_acquire", w),
		deadline: r.now + q.Wait.Milliseconds(), ttl: q.TTL.Milliseconds(), keys: q.Keys,
	}
	queue := r.queues[q.Lock]
	if i := slices.IndexFunc(queue, func(o *waiter) bool { return o.peer == p.ID }); i >= 0 {
		if queue[i].conn == p.conn {
			n.deadline = max(n.deadline, queue[i].deadline)
			queue[i] = n
			return
		}
		queue = slices.Delete(queue, i, i+1)
	}
	r.queues[q.Lock] = append(queue, n)
}

// stopWaiting returns the holding, if the peer was given it meanwhile.
func (r *room) stopWaiting(w *store.Writer, name string) (hearth.Reason, opResult) {
	if why := r.fence(w); why != "" {
		return why, opResult{}
	}
	r.queues[name] = slices.DeleteFunc(r.queues[name], func(o *waiter) bool { return o.peer == w.Peer })
	l := r.current(name)
	if l == nil || l.peer != w.Peer {
		return hearth.ReasonLockHeld, opResult{}
	}
	return "", opResult{seq: l.token, at: l.expires}
}

func (r *room) renewLock(w *store.Writer, h hearth.Holding, ttl int64, peer string) (hearth.Reason, opResult) {
	if why := r.fence(w); why != "" {
		return why, opResult{}
	}
	l := r.current(h.Name)
	if l == nil || l.token != h.Token || peer != "" && l.peer != peer {
		return hearth.ReasonLockLost, opResult{}
	}
	if ttl > 0 {
		l.ttl = ttl
	}
	l.expires = r.now + l.ttl
	r.keep(l)
	return "", opResult{seq: l.token, at: l.expires}
}

func (r *room) releaseLock(w *store.Writer, h hearth.Holding, peer string) hearth.Reason {
	if why := r.fence(w); why != "" {
		return why
	}
	if _, ok := r.repeated("lock_release", w); ok {
		return ""
	}
	l := r.current(h.Name)
	if l == nil || l.token != h.Token || peer != "" && l.peer != peer {
		return hearth.ReasonLockLost
	}
	r.free(l, hearth.LockReleased)
	r.remember("lock_release", w, opResult{})
	return ""
}

// deadline is one of an entry or a lock.
type deadline struct {
	at     int64
	member string // k/<key> or l/<lock>
}

// deadlines returns those of entries and locks, the earliest first.
func (r *room) deadlines() []deadline {
	var out []deadline
	for k, e := range r.entries {
		if e.ExpiresAt != 0 {
			out = append(out, deadline{e.ExpiresAt, "k/" + k})
		}
	}
	for _, l := range r.locks {
		out = append(out, deadline{l.expires, "l/" + l.name})
	}
	slices.SortFunc(out, func(a, b deadline) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		if a.member < b.member {
			return -1
		}
		return 1
	})
	return out
}

// expire ends all entries and locks that are over: locks first, each by a change of its own, then entries by one.
func (r *room) expire() {
	var keys []string
	for _, d := range r.deadlines() {
		if !r.over(d.at) {
			break
		}
		if d.member[0] == 'k' {
			keys = append(keys, d.member[2:])
		} else {
			r.current(d.member[2:])
		}
	}
	r.discard(keys, hearth.Expired)
}

// names are those of all who are there, sorted.
func (r *room) names() []string { return slices.Sorted(maps.Keys(r.peers)) }
