package check

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// alive are the incarnations that are renewed.
func (m *machine) alive() (out []string) {
	for _, inc := range slices.Sorted(maps.Keys(m.part.nodes)) {
		if !m.dead[inc] {
			out = append(out, inc)
		}
	}
	return out
}

// incarnation draws one: mostly one that is alive.
func (m *machine) incarnation() string {
	if alive := m.alive(); len(alive) > 0 && m.chance("alive", 85) {
		return one(m, "incarnation", alive)
	}
	return one(m, "incarnation", m.incs[max(0, len(m.incs)-3):])
}

// beginNode begins an incarnation.
func (m *machine) beginNode() {
	if len(m.alive()) > 1 {
		return
	}
	inc := "n" + strconv.Itoa(len(m.incs))
	m.incs = append(m.incs, inc)
	_, err := m.s.Begin(m.t.Context(), 0, inc)
	m.ok(err)
	m.part.begin(inc)
}

// killNode: an incarnation is not renewed any more, unless somebody wakes it up once more.
func (m *machine) killNode() { m.dead[m.incarnation()] = true }

// tick looks after the partition, as one incarnation or as somebody who has none.
func (m *machine) tick() {
	inc, limit := "", one(m, "limit", []int{0, 1, 100})
	if m.chance("renews", 70) {
		inc = m.incarnation()
	}
	m.listed = append(m.listed, m.tickAs(inc, limit)...)
	if n := len(m.listed); n > 20 {
		m.listed = m.listed[n-20:]
	}
}

func (m *machine) tickAs(inc string, limit int) []store.DueItem {
	m.t.Helper()
	t, err := m.s.Tick(m.t.Context(), 0, inc, limit)
	m.ok(err)
	m.same("lapsed", t.Lapsed, m.part.tick(inc, limit > 0))
	return t.Due
}

// tend lets time pass in which the partition is looked after, and all incarnations are renewed that are not dead.
func (m *machine) tend(ms int64) {
	const step = 5000
	for ; ms > step; ms -= step {
		m.advance(step)
		for _, inc := range m.alive() {
			m.tickAs(inc, 0)
		}
		m.tickAs("", 0)
	}
	m.advance(ms)
}

// handOver says that sockets are gone, some of which are nobody's any more.
func (m *machine) handOver() {
	places := make([]store.Place, rapid.IntRange(1, 3).Draw(m.t, "places"))
	of := make([]*watched, len(places))
	for i := range places {
		r := m.room()
		w := m.writer(r, "")
		if len(r.writers) > 0 && m.chance("late", 40) {
			w = one(m, "old", r.writers)
		}
		places[i], of[i] = store.Place{Room: r.name, Peer: w.Peer, Conn: w.Conn}, r
	}
	m.ok(m.s.HandOver(m.t.Context(), 0, places))
	for i, p := range places {
		of[i].handOver(p.Peer, p.Conn)
	}
}

// members compares whom the store takes for an incarnation's.
func (m *machine) members() { m.membersOf(m.incarnation()) }

func (m *machine) membersOf(inc string) {
	m.t.Helper()
	got, next, err := m.s.Members(m.t.Context(), 0, inc, "")
	m.ok(err)
	m.same("cursor", next, "")
	var want []store.Place
	for _, r := range m.rooms {
		for _, id := range r.names() {
			if p := r.peers[id]; p.incarnation == inc {
				want = append(want, store.Place{Room: r.name, Peer: id, Conn: p.conn})
			}
		}
	}
	slices.SortFunc(got, func(a, b store.Place) int { return strings.Compare(a.Room+"/"+a.Peer, b.Room+"/"+b.Peer) })
	m.same("members", got, want)
}

// settleLate settles what was due at some time before, and may be again or not.
func (m *machine) settleLate() {
	if len(m.listed) > 0 {
		m.settle(one(m, "item", m.listed))
	}
}

// nodeDies lets those leave whom a dead node has left behind, maybe after an outage that came just then.
func (m *machine) nodeDies() {
	m.dead[m.incarnation()] = true
	m.tend(m.part.lease + 1000)
	items := m.tickAs("", 100)
	if m.chance("outage", 50) {
		m.advance(m.part.lease)
	}
	for _, item := range items {
		m.settle(item)
	}
}

// afterEnd meets what a session that ended for all has left behind, in the next one.
func (m *machine) afterEnd() {
	m.only = m.room()
	defer func() { m.only = nil }()
	r := m.only
	names := slices.DeleteFunc(r.names(), func(id string) bool { return r.peers[id].incarnation == "" })
	if len(names) == 0 {
		return
	}
	id := one(m, "whom", names)
	inc := r.peers[id].incarnation
	if m.chance("away", 50) {
		m.ok(m.s.HandOver(m.t.Context(), 0, []store.Place{{Room: r.name, Peer: id, Conn: r.peers[id].conn}}))
		r.handOver(id, r.peers[id].conn)
	}
	_, err := m.s.End(m.t.Context(), r.name, store.Writer{Key: "key"}, "over")
	m.ok(err)
	r.finish("ended", "", hearth.QuoteString("over"))
	dies := m.chance("its node dies", 30)
	if dies {
		m.dead[inc] = true
	}
	for range 4 {
		m.check()
		m.joinAs(one(m, "who comes", []string{"", id}))
	}
	m.check()
	if dies { // before what the session has left behind was swept
		m.tend(m.part.lease + 1000)
		m.tickAs("", 100)
		if m.part.ended[inc] != 0 {
			m.settle(store.DueItem{Kind: store.DueNode, Incarnation: inc})
		}
		return
	}
	if m.chance("compared", 50) {
		m.membersOf(inc)
		return
	}
	m.tend(m.part.grace + 1000)
	m.settle(store.DueItem{Kind: store.DuePeer, Room: r.name, Peer: id})
}

// settle settles an item, and does the same to the models.
func (m *machine) settle(item store.DueItem) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience) // a fault may be that it never ends
	defer cancel()
	m.ok(m.s.Settle(ctx, item))
	for _, r := range m.rooms {
		switch {
		case item.Kind == store.DueNode:
			r.reap(m.part, item.Incarnation, m.left(r))
		case r.name != item.Room || r.session == "":
		case item.Kind == store.DuePeer:
			r.expirePeer(m.part, item.Peer)
		case item.Kind == store.DueTimes:
			r.expire()
		}
	}
	if item.Kind == store.DueNode {
		delete(m.part.ended, item.Incarnation)
	}
}

// left returns who has just left, in the order in which it was told: the store chooses.
func (m *machine) left(r *watched) (out []string) {
	m.t.Helper()
	for _, text := range m.hear(r) {
		c, prev, rest, err := hearth.ParseCursorLine(text)
		m.ok(err)
		e, err := hearth.ParseEvent(c, prev, rest)
		m.ok(err)
		if e.Kind == hearth.KindLeave {
			out = append(out, e.Peer)
		}
	}
	return out
}

// checkPartition compares what the partition keeps about nodes. Who has a socket at which may have more than there is,
// until all is swept. Keys are built in store/keys.go.
func (m *machine) checkPartition(swept bool) {
	m.t.Helper()
	ctx := m.t.Context()
	tag := strings.TrimSuffix(m.s.Channel(m.rooms[0].name), "e:"+m.rooms[0].name)
	p := m.client.Pipeline()
	nodes, due, beat := p.ZRangeWithScores(ctx, tag+"nodes", 0, -1), p.ZRangeWithScores(ctx, tag+"due", 0, -1), p.HGetAll(ctx, tag+"beat")
	places := map[string]*redis.StringSliceCmd{}
	for _, inc := range m.incs {
		places[inc] = p.SMembers(ctx, tag+"node:"+inc)
	}
	_, err := p.Exec(ctx)
	m.ok(err)
	m.same("incarnations", scores(nodes.Val(), ""), m.part.nodes)
	m.same("incarnations that have ended", scores(due.Val(), "node/"), m.part.ended)
	at, _ := strconv.ParseInt(beat.Val()["at"], 10, 64)
	hold, _ := strconv.ParseInt(beat.Val()["hold"], 10, 64)
	m.same("looked after at", at, m.part.at)
	m.same("held until", hold, m.part.hold)
	for inc, cmd := range places {
		var want []string
		for _, r := range m.rooms {
			want = append(want, r.served(inc)...)
		}
		got := cmd.Val()
		slices.Sort(got)
		if !swept {
			got = slices.DeleteFunc(got, func(place string) bool { return !slices.Contains(want, place) })
		}
		m.same("who has a socket at "+inc, got, want)
	}
	if !swept {
		return
	}
	ends := map[string]int64{}
	for _, r := range m.rooms {
		for id, p := range r.peers {
			if p.leaseEnd > 0 {
				ends[r.name+"/"+id] = p.leaseEnd
			}
		}
	}
	m.same("leases and graces", scores(due.Val(), "peer/"), ends)
}

// scores are the members of a sorted set that begin with a prefix, without it.
func scores(set []redis.Z, prefix string) map[string]int64 {
	out := map[string]int64{}
	for _, z := range set {
		if name, ok := strings.CutPrefix(z.Member.(string), prefix); ok { //nolint:errcheck // they are all strings
			out[name] = int64(z.Score)
		}
	}
	return out
}
