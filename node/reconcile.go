package node

import "context"

// A hand-over may be lost with the process that owed it, a join may arrive at the store after its caller gave up, and an
// event that ends a membership may go unheard. So each node compares who the store says has a socket here with the sockets
// that it has, now and then and after the store failed.

// compareEvery is how many ticks are between two comparisons of a partition.
const compareEvery = 10

// doubtful takes note that the store failed, so that both are compared once it answers.
func (l *lease) doubtful() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt = true
}

// compareNow compares if it is time to.
func (l *lease) compareNow(ctx context.Context, inc *incarnation) {
	l.mu.Lock()
	l.ticks++
	now := l.doubt || l.ticks >= compareEvery
	if now {
		l.doubt, l.ticks = false, 0
	}
	l.mu.Unlock()
	if !now {
		return
	}
	if err := l.compare(ctx, inc); err != nil {
		l.node.log.Warn("members and sockets can't be compared", "partition", l.partition, "error", err)
		l.doubtful()
	}
}

// compare hands over members that have no socket here, and closes sockets that are no member's by 4412. Of the latter a
// first sign is not enough: what ended the membership may be on its way and says why.
func (l *lease) compare(ctx context.Context, inc *incarnation) error {
	l.mu.Lock()
	lost := map[string]*Member{}
	for secret, m := range l.members {
		if m.inc == inc && m.joined {
			lost[secret] = m
		}
	}
	l.mu.Unlock()
	for cursor, first := "", true; first || cursor != ""; first = false {
		places, next, err := l.node.store.Members(ctx, l.partition, inc.id, cursor)
		if err != nil {
			return err
		}
		for _, p := range places {
			delete(lost, p.Conn)
			l.mu.Lock()
			_, here := l.members[p.Conn]
			l.mu.Unlock()
			if !here {
				l.node.log.Info("a member had no socket", "room", p.Room, "peer", p.Peer)
				l.node.handOver(p.Room, p.Peer, p.Conn) //nolint:contextcheck // it has to be repeated after ctx has ended
			}
		}
		cursor = next
	}
	var strangers []*Member
	l.mu.Lock()
	for secret, m := range l.members {
		if lost[secret] != m {
			m.missed = false
			continue
		}
		if m.missed {
			strangers = append(strangers, m)
		}
		m.missed, l.doubt = true, true
	}
	l.mu.Unlock()
	for _, m := range strangers {
		l.node.log.Warn("a socket was no member's", "room", m.room, "peer", m.conn.Peer)
		m.Lost()
	}
	return nil
}
