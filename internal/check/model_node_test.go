package check

import (
	"maps"
	"slices"

	"github.com/hearthstore/hearth"
)

// partition is the model of what a partition keeps about nodes.
type partition struct {
	now          int64 // the store's clock
	lease, grace int64
	nodes        map[string]int64 // incarnation → the end of its lease
	ended        map[string]int64 // those that have ended, and may have left somebody behind
	at, hold     int64            // when it was looked after last (0: never), and until when nobody is timed out
}

func newPartition(l hearth.Limits) *partition {
	return &partition{
		lease: l.NodeLease.Milliseconds(), grace: l.Grace.Milliseconds(), nodes: map[string]int64{}, ended: map[string]int64{},
	}
}

func (p *partition) begin(inc string) { p.nodes[inc] = p.now + p.lease }

// held returns until when nobody is timed out; 0 if somebody may be.
func (p *partition) held() int64 {
	if p.at != 0 && 2*(p.now-p.at) > p.lease {
		p.hold = p.now + p.lease + p.grace
	}
	if p.hold > p.now {
		return p.hold
	}
	return 0
}

// tick returns whether the incarnation has lapsed.
func (p *partition) tick(inc string, sweep bool) (lapsed bool) {
	if _, ok := p.nodes[inc]; ok {
		p.nodes[inc] = p.now + p.lease
	} else {
		lapsed = inc != ""
	}
	held := p.held()
	p.at = p.now
	if sweep && held == 0 {
		for inc, end := range p.nodes {
			if end <= p.now {
				p.ended[inc] = end
				delete(p.nodes, inc)
			}
		}
	}
	return lapsed
}

// away reports whether the peer's socket is gone.
func (p *peer) away() bool { return p.incarnation == "" && p.lease == 0 }

// graceOf is for how long a peer may be away.
func (r *room) graceOf(p *peer) int64 {
	if p.implicit {
		return max(r.limits.Grace, hearth.MinImplicitGrace).Milliseconds()
	}
	return r.limits.Grace.Milliseconds()
}

// await lets a peer be away until then; it waits for no lock any more.
func (r *room) await(p *peer, till int64) {
	p.incarnation, p.leaseEnd = "", till
	for name, q := range r.queues {
		r.queues[name] = slices.DeleteFunc(q, func(w *waiter) bool { return w.peer == p.ID })
	}
}

// handOver says that a connection's socket is gone.
func (r *room) handOver(id, conn string) {
	if p := r.peers[id]; p != nil && p.conn == conn && p.incarnation != "" {
		r.await(p, r.now+r.graceOf(p))
	}
}

// expirePeer ends a lease or a grace that is over.
func (r *room) expirePeer(part *partition, id string) {
	p := r.peers[id]
	if p == nil || p.incarnation != "" || !r.over(p.leaseEnd) {
		return
	}
	if till := part.held(); till > 0 {
		p.leaseEnd = till
		return
	}
	r.depart(id, hearth.TimedOut, "", `""`)
}

// reap ends the memberships that an incarnation has left behind: of these in this order, then of the others.
func (r *room) reap(part *partition, inc string, order []string) {
	last, ok := part.ended[inc]
	if !ok {
		last = r.now
	}
	for _, id := range slices.Concat(order, slices.Sorted(maps.Keys(r.peers))) {
		p := r.peers[id]
		if p == nil || p.incarnation != inc {
			continue
		}
		if till := max(last-part.lease+r.graceOf(p), part.held()); till > r.now {
			r.await(p, till)
		} else {
			r.depart(id, hearth.TimedOut, "", `""`)
		}
	}
}

// served are the places of those whose socket an incarnation has.
func (r *room) served(inc string) (out []string) {
	for _, id := range r.names() {
		if r.peers[id].incarnation == inc {
			out = append(out, r.name+"/"+id)
		}
	}
	return out
}
