package pubsub

import (
	"context"
	"errors"

	"github.com/hearthstore/hearth"
)

// Follow adds a subscriber that follows the room rather than one session, as Subscribe does: after a session's end it is
// given the next one from its first change on. Activate says where in a session it begins, Await that none is on. It is
// told Lost also if a whole session may have come and gone unheard, which no log tells of.
func (h *Hub) Follow(ctx context.Context, name string, s Subscriber) (*Subscription, error) {
	return h.subscribe(ctx, name, &Subscription{to: s, follows: true})
}

// Await takes the place of Activate if the subscriber, who follows the room, has found it without a session since Follow
// returned: it begins with the first change of the next one, or of an earlier one that is heard late, whole. known is the
// epoch of a session whose end it knows of, "" for none: nothing of that one is delivered.
func (s *Subscription) Await(known string) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.over || !s.follows {
		return
	}
	s.active, s.between, s.known, s.reads = true, true, known, r.reads
	pending := s.pending
	s.pending = nil
	for _, m := range pending {
		r.offer(s, m)
	}
	r.settle(s)
}

// gap says that changes were given up unread. If they were of a session that is over nothing tells of them any more, so
// whoever waits for a session can't know whether one came and went. r.mu is held.
func (r *room) gap() {
	for _, s := range r.subs {
		switch {
		case !s.follows:
		case !s.active:
			s.gapped = true
		case s.between:
			s.lose()
		}
	}
}

// ErrGone is returned by Missed if the log does not tell all that came after a position: its session is over, the log
// no longer reaches back to it, or the store was rewound and the change at that seq is another one.
var ErrGone = errors.New("pubsub: the log does not reach back to this position")

// Missed returns every change of the room's live session after from, in order, up to where the log stands: all of them or
// an error, ErrGone if they can't be had. A subscriber that comes back is handed them after Subscribe or Follow has
// returned, and then activated at the last of them, or at from if there are none. A from with seq 0 is before the first
// change of its epoch.
func (h *Hub) Missed(ctx context.Context, name string, from hearth.Cursor) ([]*Message, error) {
	at := from
	if at.Seq == 0 {
		at.Nonce = ""
	}
	var out []*Message
	for {
		l, err := h.o.Read(ctx, name, at.Seq)
		if hearth.ReasonOf(err) == hearth.ReasonNoSession {
			return nil, ErrGone
		}
		if err != nil {
			return nil, err
		}
		if l.Epoch != at.Epoch || l.Seq > at.Seq && len(l.Texts) == 0 {
			return nil, ErrGone
		}
		for _, text := range l.Texts {
			m, err := h.decode(text)
			if err != nil || m.Epoch != at.Epoch || m.Seq != at.Seq+1 || m.Prev != at.Nonce {
				return nil, ErrGone
			}
			out = append(out, m)
			at = m.Cursor
		}
		switch {
		case at == l.Cursor:
			return out, nil
		case at.Seq >= l.Seq: // the change there is another one
			return nil, ErrGone
		}
	}
}
