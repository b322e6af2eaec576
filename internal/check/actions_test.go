package check

import (
	"encoding/json"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func (m *machine) set() {
	r := m.room()
	w, key, value := m.writer(r, "set"), one(m, "key", keyNames), json.RawMessage(one(m, "value", values))
	m.fenced(r, &w)
	expect, life := m.expectation(r, key), m.life()
	got, err := m.s.Set(m.t.Context(), r.name, w, key, value, expect, life)
	why, want := r.set(&w, key, value, expect, life)
	m.is("set", err, why)
	m.conflict(r, key, err, why)
	if why == "" {
		m.changed(r, got, want)
	}
}

func (m *machine) delete() {
	r := m.room()
	w, key := m.writer(r, "delete"), one(m, "key", keyNames)
	m.fenced(r, &w)
	expect := m.expectation(r, key)
	got, err := m.s.Delete(m.t.Context(), r.name, w, key, expect)
	why, want := r.remove(&w, key, expect)
	m.is("delete", err, why)
	m.conflict(r, key, err, why)
	if why == "" {
		m.changed(r, got, want)
	}
}

// conflict expects that a refusal for the version brings the entry as it is.
func (m *machine) conflict(r *watched, key string, err error, why hearth.Reason) {
	m.t.Helper()
	if why != hearth.ReasonVersionConflict {
		return
	}
	e, ok := r.entries[key]
	if !ok {
		e = hearth.Entry{Key: key}
	}
	m.same("current entry in the refusal", *hearth.AsError(err).Current, e)
}

// changed compares what a write of entries returns: where it stands in the order, and those entries that are still as it
// left them.
func (m *machine) changed(r *watched, got store.Changed, want opResult) {
	m.t.Helper()
	m.same("changed", store.Changed{Session: got.Session, Seq: got.Seq, At: got.At}, store.Changed{Session: r.session, Seq: want.seq, At: want.at})
	for _, e := range got.Entries {
		if now, ok := r.entries[e.Key]; ok && now.ChangeVersion == got.Seq {
			m.same("entry that a write returns", e, now)
		} else if !e.Deleted && e.Data == nil && e.ChangeVersion != 0 {
			m.t.Fatalf("a write returns an entry that is neither there nor deleted: %+v", e)
		}
	}
}

func (m *machine) update() {
	r := m.room()
	w := m.writer(r, "update")
	m.fenced(r, &w)
	least := 1
	if m.crowd {
		least = 3
	}
	ops := make([]hearth.Op, rapid.IntRange(least, 4).Draw(m.t, "ops"))
	for i := range ops {
		o := hearth.Op{
			Kind: one(m, "kind", []hearth.OpKind{hearth.OpSet, hearth.OpSet, hearth.OpDelete, hearth.OpIncrement, hearth.OpCheck}),
			Key:  one(m, "key", keyNames),
		}
		if o.IfVersion = m.expectation(r, o.Key); o.Kind == hearth.OpCheck && o.IfVersion == nil {
			o.IfVersion = new(r.entries[o.Key].ChangeVersion)
		}
		switch o.Kind {
		case hearth.OpSet:
			o.Data, o.Life = json.RawMessage(one(m, "value", values)), m.life()
		case hearth.OpIncrement:
			o.By = json.Number(one(m, "by", []string{"1", "-5", "1000"}))
			if m.chance("with a life", 25) {
				o.Life = m.life()
			}
		case hearth.OpDelete, hearth.OpCheck:
		}
		ops[i] = o
	}
	got, err := m.s.Update(m.t.Context(), r.name, w, ops)
	_, again := r.repeated("update", &w)
	why, want := r.update(&w, ops)
	m.is("update", err, why)
	if again {
		got.Entries = nil // they are of these ops, not of the first ones
	}
	if why == "" {
		m.changed(r, got, want)
	}
}

func (m *machine) broadcast() {
	r := m.room()
	w := m.writer(r, "broadcast")
	msg := &hearth.Message{ID: hearth.NewMessageID(), Type: "chat", Message: []byte(one(m, "text", values))}
	switch rapid.IntRange(0, 2).Draw(m.t, "to") {
	case 0:
		msg.Peer = one(m, "whom", peerNames)
	case 1:
		msg.Roles = roleNames
	}
	sent, err := m.s.Broadcast(m.t.Context(), r.name, w, msg)
	why, want := r.broadcast(&w, msg)
	m.is("broadcast", err, why)
	if why == "" {
		m.same("sent", sent, store.Sent{Session: r.session, Seq: want.seq, At: want.at})
	}
}

func (m *machine) group() {
	r := m.room()
	add := m.chance("add", 60)
	verb, change := "group_remove", m.s.RemoveFromGroup
	if add {
		verb, change = "group_add", m.s.AddToGroup
	}
	w, id, group := m.writer(r, verb), one(m, "whom", peerNames), one(m, "group", groupNames)
	got, err := change(m.t.Context(), r.name, w, id, group)
	why, want := r.regroup(verb, &w, id, group, add)
	m.is(verb, err, why)
	m.same("groups", got, slices.Clone(want))
}

func (m *machine) peerUpdate() {
	r := m.room()
	w, id := m.writer(r, "peer_update"), one(m, "whom", peerNames)
	draw := func(what string) *string {
		if m.chance(what+" is kept", 30) {
			return nil
		}
		return new(one(m, what, []string{"", "a", `b"`}))
	}
	name, data := draw("name"), draw("data")
	got, err := m.s.UpdatePeer(m.t.Context(), r.name, w, id, name, data)
	why := r.updatePeer(&w, id, name, data)
	m.is("peer update", err, why)
	if why == "" {
		m.same("peer", got, r.peers[id].Peer)
	}
}

func (m *machine) setRole() {
	r := m.room()
	w, id, role := m.writer(r, "role_set"), one(m, "whom", peerNames), one(m, "role", roleNames)
	got, err := m.s.SetRole(m.t.Context(), r.name, w, id, role)
	why := r.setRole(&w, id, role)
	m.is("set role", err, why)
	if why == "" {
		m.same("peer", got, r.peers[id].Peer)
	}
}

func (m *machine) renew() {
	r := m.room()
	w := m.writer(r, "")
	if w.Peer == "" {
		return
	}
	w.Op = ""
	got, err := m.s.Renew(m.t.Context(), r.name, w)
	why := r.fence(&w)
	want := int64(0)
	if why == "" {
		if p := r.peers[w.Peer]; p.lease == 0 {
			why = hearth.ReasonBadParams
		} else {
			p.leaseEnd = r.now + p.lease
			want = p.leaseEnd
		}
	}
	m.is("renew", err, why)
	m.same("expires at", got, want)
}

// time moves the clock on: by little, by much, or to where something ends.
func (m *machine) time() {
	var ends []int64
	for _, r := range m.rooms {
		for _, d := range r.deadlines() {
			ends = append(ends, d.at)
		}
		for _, id := range r.names() {
			if p := r.peers[id]; p.leaseEnd > 0 {
				ends = append(ends, p.leaseEnd)
			}
		}
		for _, name := range lockNames {
			for _, w := range r.queues[name] {
				ends = append(ends, w.deadline)
			}
		}
	}
	for _, at := range m.part.nodes {
		ends = append(ends, at)
	}
	ends = append(ends, m.part.hold)
	pass := m.advance
	if m.chance("looked after", 70) {
		pass = m.tend
	}
	ends = slices.DeleteFunc(ends, func(at int64) bool { return at+1 < m.now })
	slices.Sort(ends)
	if len(ends) > 0 && m.chance("to a deadline", 70) {
		at := ends[0]
		if m.chance("any deadline", 30) {
			at = one(m, "deadline", ends)
		}
		pass(max(0, at-m.now+int64(rapid.IntRange(-1, 1).Draw(m.t, "off"))))
		return
	}
	pass(int64(one(m, "by", []int{1, 10, 500, 7_500, 20_000, 70_000})))
}

// late writes entries when a lock, for which others wait, is over and nobody has swept. One of them may have another
// connection by then.
func (m *machine) late() {
	m.only, m.crowd = m.room(), true
	defer func() { m.only, m.crowd = nil, false }()
	for range 4 {
		m.acquire()
		m.check()
	}
	if q := m.only.queues[lockNames[0]]; len(q) > 0 && m.chance("comes back", 30) {
		m.joinAs(one(m, "who waits", q).peer)
		m.check()
	}
	if l := m.only.locks[lockNames[0]]; l != nil {
		m.advance(max(0, l.expires-m.now))
	}
	m.update()
}

// sweep settles all that is due, in the order in which the store names it; all that is over has then ended.
func (m *machine) sweep() {
	for range 100 {
		items := m.tickAs("", 100)
		if len(items) == 0 {
			m.swept()
			return
		}
		for _, item := range items {
			m.settle(item)
		}
	}
	m.t.Fatalf("the sweep does not end")
}

// swept expects that nothing is left that is over.
func (m *machine) swept() {
	for _, r := range m.rooms {
		if d := r.deadlines(); len(d) > 0 && r.over(d[0].at) {
			m.t.Fatalf("%s in %s is over since %d and was not due at %d", d[0].member, r.name, d[0].at, m.now)
		}
		for _, id := range r.names() {
			if r.over(r.peers[id].leaseEnd) {
				m.t.Fatalf("the lease or grace of %s in %s is over and was not due", id, r.name)
			}
		}
	}
	m.checkPartition(true)
}

// list is the room's entries in the order of their keys.
func (r *room) list() []hearth.Entry {
	out := make([]hearth.Entry, 0, len(r.entries))
	for _, e := range r.entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b hearth.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func byID(a, b hearth.Peer) int { return strings.Compare(a.ID, b.ID) }

// count is how many peers others see.
func (r *room) count() (n int) {
	for _, p := range r.peers {
		if !p.Hidden {
			n++
		}
	}
	return n
}
