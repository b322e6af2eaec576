package node

import (
	"slices"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/pubsub"
)

// maxRuns bounds how many different selections of a batch are kept for those who are shown the same.
const maxRuns = pubsub.MaxBatch + 1

// cast is a batch of changes as the members of a room are sent it here: who is shown the same changes is sent the same
// bytes, in one piece. The room's lock guards it.
type cast struct {
	changes []*pubsub.Message
	plain   bool      // all are messages to everybody but their senders, whose peer_ids follow
	senders []string  // each once
	one     [1]string // space for them, which does for most batches
	all     selection
	runs    []run
}

// selection is a set of a batch's changes, one bit each.
type selection uint64

// run is the frames of a selection, one after the other.
type run struct {
	of     selection
	frames []byte
}

// castOf returns what the members share of a batch.
func castOf(b *pubsub.Batch) *cast {
	if c, ok := b.Value.(*cast); ok {
		return c
	}
	c := &cast{changes: b.Messages, plain: true, all: 1<<len(b.Messages) - 1}
	c.senders = c.one[:0]
	for _, m := range b.Messages {
		ch := changeOf(m)
		if ch.Kind != hearth.KindMsg || !ch.Audience.All || ch.Audience.Listeners || ch.Audience.Peer != "" || ch.PeerCount > 0 {
			c.plain = false
			break
		}
		if except := ch.Audience.Except; except != "" && !slices.Contains(c.senders, except) {
			c.senders = append(c.senders, except)
		}
	}
	b.Value = c
	return c
}

// frames returns the frames of a selection that is not empty.
func (c *cast) frames(of selection) []byte {
	if of&(of-1) == 0 {
		for i, m := range c.changes {
			if of == 1<<i {
				return changeOf(m).frame()
			}
		}
	}
	for i := range c.runs {
		if c.runs[i].of == of {
			return c.runs[i].frames
		}
	}
	size := 0
	for i, m := range c.changes {
		if of&(1<<i) != 0 {
			size += len(changeOf(m).frame())
		}
	}
	b := make([]byte, 0, size)
	for i, m := range c.changes {
		if of&(1<<i) != 0 {
			b = append(b, changeOf(m).frame()...)
		}
	}
	if len(c.runs) < maxRuns {
		c.runs = append(c.runs, run{of, b})
	}
	return b
}

// DeliverBatch is called by the hub with changes of the session, in order.
func (m *Member) DeliverBatch(b *pubsub.Batch) {
	c := castOf(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over:
	case m.meet != nil: // something else may be sent between two of them
		for _, msg := range b.Messages {
			if ch := changeOf(msg); !m.over {
				m.take(ch, m.sink.Send)
			}
		}
	case c.plain && !m.view.blind && !slices.Contains(c.senders, m.conn.Peer): // most often
		m.sink.Send(c.frames(c.all))
		m.idle.knows(b.Messages[len(b.Messages)-1].Seq)
	default:
		m.pick(c)
	}
}

// pick sends the member what it is shown of a batch. m.mu is held.
func (m *Member) pick(c *cast) {
	var shown selection
	own := true // all of those that are shown are the member's
	send := func() {
		switch {
		case shown == 0:
		case own:
			m.sink.Echo(c.frames(shown))
		default:
			m.sink.Send(c.frames(shown))
		}
		shown, own = 0, true
	}
	for i, msg := range c.changes {
		if m.over {
			break
		}
		ch := changeOf(msg)
		if m.acts(ch) {
			send()
		}
		switch m.follow(ch) {
		case nothing:
		case whole:
			shown |= 1 << i
			own = own && ch.Peer == m.conn.Peer
			m.idle.knows(ch.Seq)
		case some:
			send()
			m.sink.Send(m.part(ch))
			m.idle.knows(ch.Seq)
		}
	}
	send()
}

// acts reports whether a change may make the member answer somebody or end, before which it has been sent what came before.
func (m *Member) acts(c *change) bool {
	switch c.Kind {
	case hearth.KindEnd:
		return true
	case hearth.KindLock, hearth.KindConn, hearth.KindLeave:
		return c.Peer == m.conn.Peer
	}
	return false
}
