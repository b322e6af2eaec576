package check

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

// diff compares without regard to what is nil and what is empty.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) { // which is quick
		return ""
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// begin makes the room ready for a new session's log.
func (r *watched) begin() { r.log, r.logged, r.replayed, r.last = nil, 0, newReplay(), "" }

// check compares all that the store told and keeps with the models.
func (m *machine) check() {
	m.t.Helper()
	for _, r := range m.rooms {
		m.checkTold(r)
		m.checkState(r)
		m.checkRaw(r)
	}
	m.checkPartition(false)
}

// hear returns all that was published of the room and not compared yet.
func (m *machine) hear(r *watched) []string {
	m.t.Helper()
	ctx := m.t.Context()
	mark := "mark " + hearth.NewNonce()
	m.ok(m.client.Publish(ctx, m.s.Channel(r.name), mark).Err())
	for {
		got, err := r.sub.ReceiveTimeout(ctx, patience)
		m.ok(err)
		msg, ok := got.(*redis.Message)
		if !ok {
			continue
		}
		if msg.Payload == mark {
			return r.heard
		}
		r.heard = append(r.heard, msg.Payload)
	}
}

// checkTold compares what was published, and what the log kept of it, with what the model tells.
func (m *machine) checkTold(r *watched) {
	m.t.Helper()
	texts := m.hear(r)
	r.heard = nil
	events := make([]hearth.Event, len(texts))
	for i, text := range texts {
		c, prev, rest, err := hearth.ParseCursorLine(text)
		m.ok(err)
		e, err := hearth.ParseEvent(c, prev, rest)
		m.ok(err)
		if prev != r.last || c.Nonce == prev || c.Nonce == "" {
			m.t.Fatalf("%s: seq %d has nonce %q after %q, not after %q", r.name, c.Seq, c.Nonce, prev, r.last)
		}
		if r.replayed == nil {
			r.begin()
		}
		r.last = c.Nonce
		m.replay(r, &e, text)
		e.Nonce, e.Prev = "", ""
		events[i] = e
	}
	m.steps.events.Add(int64(len(events)))
	for i := range r.told { // epoch and room of a session that begins are learned from the join
		if r.told[i].Kind == hearth.KindEnd {
			r.begin()
		}
	}
	if d := diff(r.told, events); d != "" {
		m.t.Fatalf("told of %s (-want +got):\n%s", r.name, d)
	}
	r.told = nil
}

// replay keeps an event as the log should and follows it.
func (m *machine) replay(r *watched, e *hearth.Event, text string) {
	if e.Kind == hearth.KindEnd {
		return
	}
	r.log = append(r.log, text)
	r.replayed.follow(m, e)
}

// checkState compares what the store's reads return.
func (m *machine) checkState(r *watched) {
	m.t.Helper()
	ctx := m.t.Context()
	if r.session == "" {
		_, err := m.s.Room(ctx, r.name)
		if hearth.ReasonOf(err) != hearth.ReasonNoSession {
			m.t.Fatalf("%s: gave %v, not no_session", r.name, err)
		}
		return
	}
	ses := hearth.Session{
		Room: r.name, ID: r.session, Epoch: r.epoch, StartedAt: r.started, Seq: r.seq, Nonce: r.last, PeerCount: r.count(),
	}
	got, peers, err := m.s.Peers(ctx, r.name, r.session)
	m.ok(err)
	m.same("session", got, ses)
	var want []hearth.Peer
	for _, id := range r.names() {
		want = append(want, r.peers[id].Peer)
	}
	m.same("peers", peers, want)

	_, entries, more, err := m.s.List(ctx, r.name, r.session, "", "", 100)
	m.ok(err)
	m.same("more", more, false)
	m.same("entries", entries, r.list())

	_, locks, err := m.s.Locks(ctx, r.name, r.session)
	m.ok(err)
	var held []hearth.Lock
	for _, name := range slices.Sorted(maps.Keys(r.locks)) {
		l := r.locks[name].shown()
		l.Waiters = len(r.queues[name])
		held = append(held, *l)
	}
	m.same("locks", locks, held)

	// The whole of it now and then, else what is new.
	after := uint64(0)
	if m.steps.all.Load()%20 > 0 {
		after = r.logged
	}
	log, err := m.s.Log(ctx, r.name, r.session, after, 1_000_000)
	m.ok(err)
	m.same("log", log.Events, r.log[after:])
	r.logged = uint64(len(r.log))
	m.same("oldest change of the log", log.Oldest, uint64(1))
	r.replayed.compare(m, r)
}

// checkRaw compares the queues and what finds things by time and by peer, which no read shows, and expects that nothing is
// left of a session that is over. Keys are built in store/keys.go.
func (m *machine) checkRaw(r *watched) {
	m.t.Helper()
	ctx := m.t.Context()
	tag := strings.TrimSuffix(m.s.Channel(r.name), "e:"+r.name)
	key := func(kind string) string { return tag + kind + ":" + r.name }
	p := m.client.Pipeline()
	exist := p.Exists(ctx, key("s"), key("c"), key("p"), key("m"), key("l"), key("k"), key("q"), key("z"), key("w"), key("x"), key("v"),
		key("o")+"/a", key("o")+"/b")
	queue, wishes := p.ZRange(ctx, key("q"), 0, -1), p.HGetAll(ctx, key("z"))
	with, times := p.ZRange(ctx, key("w"), 0, -1), p.ZRangeWithScores(ctx, key("x"), 0, -1)
	due, rooms := p.ZRangeWithScores(ctx, tag+"due", 0, -1), p.ZRange(ctx, tag+"rooms", 0, -1)
	_, err := p.Exec(ctx)
	m.ok(err)
	m.same("listed as live", slices.Contains(rooms.Val(), r.name), r.session != "")
	items := map[string]int64{}
	for _, z := range due.Val() {
		item, _ := z.Member.(string)
		items[item] = int64(z.Score)
	}
	if r.session == "" {
		m.same("keys of a session that is over", exist.Val(), int64(0))
		m.same("its items in due", items["time/"+r.name]+items["log/"+r.name], int64(0))
		return
	}
	m.checkQueues(r, queue.Val(), wishes.Val())

	var goes []string // what goes with each peer
	for k, e := range r.entries {
		if e.Owner != "" {
			goes = append(goes, e.Owner+"/k/"+k)
		}
	}
	for name, l := range r.locks {
		goes = append(goes, l.peer+"/l/"+name)
	}
	for _, place := range queue.Val() {
		goes = append(goes, strings.SplitN(wishes.Val()[place], " ", 2)[0]+"/q/"+place)
	}
	slices.Sort(goes)
	m.same("what goes with peers", with.Val(), goes)

	var ends []deadline
	for _, z := range times.Val() {
		member, _ := z.Member.(string)
		ends = append(ends, deadline{int64(z.Score), member})
	}
	if d := cmp.Diff(r.deadlines(), ends, cmpopts.EquateEmpty(), cmp.AllowUnexported(deadline{})); d != "" {
		m.t.Fatalf("deadlines of %s (-want +got):\n%s", r.name, d)
	}
	if at, ok := items["time/"+r.name]; len(ends) > 0 && (!ok || at > ends[0].at) {
		m.t.Fatalf("%s: the first deadline is %d, but due says %d", r.name, ends[0].at, at)
	}
	for id, p := range r.peers {
		if at := items["peer/"+r.name+"/"+id]; p.leaseEnd > 0 && at != p.leaseEnd {
			m.t.Fatalf("the lease or grace of %s ends at %d, but due says %d", id, p.leaseEnd, at)
		}
	}
}

// checkQueues compares who waits for what, in order.
func (m *machine) checkQueues(r *watched, places []string, wishes map[string]string) {
	m.t.Helper()
	got, want := map[string][]string{}, map[string][]string{}
	for _, place := range places {
		name, _, _ := strings.Cut(place, "/")
		got[name] = append(got[name], wishes[place])
	}
	for name, q := range r.queues {
		for _, w := range q {
			text := w.peer + " " + w.conn + " " + num(w.deadline) + " " + num(w.ttl) + " " + w.role + "\n"
			if w.op != "" {
				verb, rest, _ := strings.Cut(w.op, "/")
				id, rest, _ := strings.Cut(rest, "/")
				by, op, _ := strings.Cut(rest, "/")
				if id != "" {
					text += "p/" + id + "/" + verb + "/" + op
				} else {
					text += "k/" + by + "/" + verb + "/" + op
				}
			}
			var patterns strings.Builder
			for _, k := range w.keys {
				patterns.WriteString(string(k) + "\n")
			}
			want[name] = append(want[name], text+"\n"+patterns.String())
		}
		if len(q) > 0 && r.locks[name] == nil {
			m.t.Fatalf("%d wait for %s, which nobody holds", len(q), name)
		}
	}
	m.same("queues", got, want)
	m.same("places", len(wishes), len(places))
}
