package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// room is the model of one room: what the contract says that the store holds and tells.
type room struct {
	name   string
	now    int64 // the store's clock
	limits hearth.Limits

	session, epoch string // "": nobody is there
	started        int64
	seq            uint64
	peers          map[string]*peer
	entries        map[string]hearth.Entry
	locks          map[string]*lock
	bound          []string // the locks that bind keys, the one that was acquired or extended last at the end
	queues         map[string][]*waiter
	given          map[string]string   // user → role that it keeps for the session
	ops            map[string]opResult // by verb, writer and op_id

	told []hearth.Event // by the step under way
}

type peer struct {
	hearth.Peer
	conn, incarnation string
	lease             int64 // 0: none
	leaseEnd          int64 // or the end of its grace; 0: none
	implicit          bool
	seq               uint64
}

type lock struct {
	name, peer   string
	token        uint64
	expires, ttl int64
	keys         hearth.Patterns
}

type waiter struct {
	peer, conn, op string
	role           string // by which it was let wait
	deadline, ttl  int64
	keys           hearth.Patterns
}

// opResult is what the first call with an op_id gave.
type opResult struct {
	seq    uint64
	at     int64 // or expires_at of a lock
	when   int64 // it was remembered
	groups []string
}

func newRoom(name string, now int64, l hearth.Limits) *room {
	r := &room{name: name, now: now, limits: l}
	r.clear()
	return r
}

// clear forgets the session.
func (r *room) clear() {
	r.session, r.epoch, r.started, r.seq, r.bound = "", "", 0, 0, nil
	r.peers, r.entries, r.locks = map[string]*peer{}, map[string]hearth.Entry{}, map[string]*lock{}
	r.queues, r.ops, r.given = map[string][]*waiter{}, map[string]opResult{}, map[string]string{}
}

// tell notes a change: it takes the next seq.
func (r *room) tell(e hearth.Event) {
	r.seq++
	e.Cursor = hearth.Cursor{Epoch: r.epoch, Seq: r.seq}
	e.At = r.now
	r.told = append(r.told, e)
}

// shown is the audience of what is told of a peer.
func (p *peer) shown(except bool) hearth.Audience {
	switch {
	case p.Hidden:
		return hearth.Audience{}
	case except:
		return hearth.Audience{All: true, Except: p.ID}
	}
	return hearth.Audience{All: true}
}

// about is a change of a peer's place.
func (p *peer) about(kind hearth.Kind, a hearth.Audience) hearth.Event {
	return hearth.Event{
		Kind: kind, Peer: p.ID, Conn: p.conn, Audience: a, Role: p.Role, Groups: slices.Clone(p.Groups), Body: string(p.AppendBody(nil)),
	}
}

// fence says why a write is refused.
func (r *room) fence(w *store.Writer) hearth.Reason {
	switch {
	case r.session == "" && w.Session == "":
		return hearth.ReasonNoSession
	case r.session == "" || w.Session != "" && w.Session != r.session:
		return hearth.ReasonSessionEnded
	case w.Peer == "":
		return ""
	}
	p := r.peers[w.Peer]
	if p == nil || p.conn != w.Conn || w.User != "" && w.User != p.User {
		return hearth.ReasonNotMember
	}
	if w.Allow != nil && w.Role != p.Role {
		return hearth.ReasonOf(w.Allow(p.Role))
	}
	return ""
}

func opKey(verb string, w *store.Writer) string {
	if w.Op == "" {
		return ""
	}
	return verb + "/" + w.Peer + "/" + w.Key + "/" + w.Op
}

// repeated returns what the first call with the op_id gave.
func (r *room) repeated(verb string, w *store.Writer) (opResult, bool) {
	res, ok := r.ops[opKey(verb, w)]
	return res, ok && w.Op != ""
}

func (r *room) remember(verb string, w *store.Writer, res opResult) {
	if w.Op != "" {
		res.when = r.now
		r.ops[opKey(verb, w)] = res
	}
}

// join returns why a join is refused; session and epoch are those that it begins if there is none.
func (r *room) join(q *store.JoinRequest, session, epoch string) (reason hearth.Reason, takenOver bool) {
	p := r.peers[q.Peer.ID]
	switch {
	case p != nil && p.User != q.Peer.User:
		return hearth.ReasonPeerExists, false
	case p == nil && len(r.peers) >= r.limits.MaxPeers:
		return hearth.ReasonTooMany, false
	}
	begun := ""
	if r.session == "" {
		r.session, r.epoch, r.started = session, epoch, r.now
		begun = session
	}
	lease, inc := q.Lease.Milliseconds(), q.Incarnation
	leaseEnd := int64(0)
	if lease > 0 {
		leaseEnd, inc = r.now+lease, ""
	}
	if p == nil {
		p = &peer{Peer: q.Peer, conn: q.Conn, incarnation: inc, lease: lease, leaseEnd: leaseEnd, implicit: q.Implicit, seq: r.seq + 1}
		p.JoinedAt = r.now
		if role, ok := r.given[p.User]; ok {
			p.Role = role
		}
		if q.KeepName {
			p.Name = ""
		}
		if q.KeepData {
			p.Data = ""
		}
		r.peers[p.ID] = p
		e := p.about(hearth.KindJoin, p.shown(true))
		e.Session = begun
		r.tell(e)
		return "", false
	}
	gone := p.about(hearth.KindConn, hearth.Audience{})
	gone.Body = ""
	r.tell(gone)
	before := p.Peer
	if !q.KeepName {
		p.Name = q.Peer.Name
	}
	if !q.KeepData {
		p.Data = q.Peer.Data
	}
	p.conn, p.incarnation, p.lease, p.leaseEnd, p.implicit = q.Conn, inc, lease, leaseEnd, q.Implicit
	if p.Name != before.Name || p.Data != before.Data {
		r.tell(p.about(hearth.KindUpdate, p.shown(false)))
	}
	return "", true
}

// depart ends a membership, and the session with the last.
func (r *room) depart(id string, why hearth.LeaveReason, by, text string) (ended bool) {
	p := r.peers[id]
	delete(r.peers, id)
	e := p.about(hearth.KindLeave, p.shown(true))
	e.Role, e.Groups, e.Leave, e.By, e.Text = "", nil, why, by, text
	e.Body += `,"reason":"` + string(why) + `"`
	if len(r.peers) == 0 {
		r.tell(e)
		r.finish("empty", "", `""`)
		return true
	}
	for name, q := range r.queues {
		r.queues[name] = slices.DeleteFunc(q, func(w *waiter) bool { return w.peer == id })
	}
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(r.entries)) {
		if r.entries[k].Owner == id {
			keys = append(keys, k)
		}
	}
	r.discard(keys, hearth.OwnerLeft)
	for _, name := range slices.Sorted(maps.Keys(r.locks)) {
		if l := r.locks[name]; l != nil && l.peer == id {
			r.free(l, hearth.LockReleased)
		}
	}
	r.tell(e)
	return false
}

// finish ends the session.
func (r *room) finish(why, by, text string) {
	r.tell(hearth.Event{
		Kind: hearth.KindEnd, Audience: hearth.Audience{All: true}, Leave: hearth.LeaveReason(why), By: by, Text: text,
		Body: `"session_id":"` + r.session + `","reason":"` + why + `"`,
	})
	r.clear()
}

// regroup puts a peer into a group or takes it out.
func (r *room) regroup(verb string, w *store.Writer, id, group string, add bool) (hearth.Reason, []string) {
	if why := r.fence(w); why != "" {
		return why, nil
	}
	if res, ok := r.repeated(verb, w); ok {
		return "", res.groups
	}
	p := r.peers[id]
	if p == nil {
		return hearth.ReasonNotFound, nil
	}
	if is := slices.Contains(p.Groups, group); is != add {
		groups := slices.DeleteFunc(slices.Clone(p.Groups), func(g string) bool { return g == group })
		if add {
			groups = append(groups, group)
		}
		p.Groups = groups
		r.tell(p.about(hearth.KindUpdate, p.shown(false)))
	}
	r.remember(verb, w, opResult{groups: slices.Clone(p.Groups)})
	return "", p.Groups
}

func (r *room) updatePeer(w *store.Writer, id string, name, data *string) hearth.Reason {
	if why := r.fence(w); why != "" {
		return why
	}
	_, again := r.repeated("peer_update", w)
	p := r.peers[id]
	if p == nil {
		return hearth.ReasonNotFound
	}
	if again {
		return ""
	}
	before := p.Peer
	if name != nil {
		p.Name = *name
	}
	if data != nil {
		p.Data = *data
	}
	if p.Name != before.Name || p.Data != before.Data {
		r.tell(p.about(hearth.KindUpdate, p.shown(false)))
	}
	r.remember("peer_update", w, opResult{})
	return ""
}

// setRole gives a peer a role, which its user keeps.
func (r *room) setRole(w *store.Writer, id, role string) hearth.Reason {
	if why := r.fence(w); why != "" {
		return why
	}
	_, again := r.repeated("role_set", w)
	p := r.peers[id]
	if p == nil {
		return hearth.ReasonNotFound
	}
	if again {
		return ""
	}
	r.given[p.User] = role
	if p.Role != role {
		p.Role = role
		r.tell(p.about(hearth.KindUpdate, p.shown(false)))
	}
	r.remember("role_set", w, opResult{})
	return ""
}

// broadcast returns why a message is refused, and its result.
func (r *room) broadcast(w *store.Writer, m *hearth.Message) (hearth.Reason, opResult) {
	if why := r.fence(w); why != "" {
		return why, opResult{}
	}
	if res, ok := r.repeated("broadcast", w); ok {
		return "", res
	}
	a := hearth.Audience{All: true, Except: w.Peer}
	var b strings.Builder
	b.WriteString(`"message_id":` + hearth.QuoteString(m.ID))
	switch {
	case m.Peer != "":
		to := r.peers[m.Peer]
		if to == nil {
			return hearth.ReasonNotFound, opResult{}
		}
		a = hearth.Audience{Peer: m.Peer, User: hearth.QuoteString(to.User)}
		b.WriteString(`,"private":true`)
	case len(m.Roles) > 0:
		a = hearth.Audience{Roles: m.Roles, Except: w.Peer}
		b.WriteString(`,"private":false,"roles":` + string(hearth.AppendNames(nil, m.Roles)))
	default:
		b.WriteString(`,"private":false`)
	}
	b.WriteString(`,"info":{"message":` + string(m.Message) + `,"type":` + hearth.QuoteString(m.Type) + `},"timestamp":` + num(r.now))
	if p := r.peers[w.Peer]; p != nil {
		b.WriteString(`,"peer":{"peer_id":"` + p.ID + `","role":"` + p.Role + `","groups":` + string(hearth.AppendNames(nil, p.Groups)) +
			`,"info":{"name":` + hearth.QuoteString(p.Name) + `,"user_id":` + hearth.QuoteString(p.User) + `}}`)
	}
	r.tell(hearth.Event{Kind: hearth.KindMsg, Peer: w.Peer, Audience: a, Body: b.String()})
	res := opResult{seq: r.seq, at: r.now}
	r.remember("broadcast", w, res)
	return "", res
}
