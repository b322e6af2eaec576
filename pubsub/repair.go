package pubsub

import (
	"time"

	"github.com/hearthstore/hearth"
)

// repair has the room's log read by a goroutine of the hub; what is heard meanwhile is held. r.mu is held.
func (r *room) repair() {
	if r.repairing || r.hub.ctx.Err() != nil {
		r.again = r.again || r.repairing
		return
	}
	r.repairing = true
	if r.hurry == nil {
		r.hurry = make(chan struct{}, 1)
	}
	r.hub.Stats.Repairs.Add(1)
	r.hub.wg.Go(r.catchUp)
}

// hasten ends the pause of a read that has failed: the server has just answered, and may be away again by its end. r.mu is held.
func (r *room) hasten() {
	select {
	case r.hurry <- struct{}{}:
	default:
	}
}

// rest waits for d, or until it is hastened; open is false when the hub closes.
func (r *room) rest(d time.Duration) (hastened, open bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.hub.ctx.Done():
		return false, false
	case <-r.hurry:
		return true, true
	case <-t.C:
		return false, true
	}
}

// catchUp reads the log until nothing is missing, then lets the held changes follow. If the store was rewound it sees to it
// that a new log begins, before anybody is told to come back: else who does would be told twice.
func (r *room) catchUp() {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	wait := least
	var told hearth.Cursor // of which the store has been told that it was rewound
	for {
		r.mu.Lock()
		r.drain() // what was heard before the log is read
		pos, before := r.pos, len(r.held)
		r.reads++
		r.mu.Unlock()
		h, err := r.hub.o.Read(r.hub.ctx, r.name, pos.Seq)
		noSession := hearth.ReasonOf(err) == hearth.ReasonNoSession
		done := false
		switch {
		case err != nil && !noSession:
			r.hub.o.Log.Warn("can't read the log", "room", r.name, "error", err)
		case !noSession && r.hub.o.Rewound != nil && told != pos && r.rewound(&h):
			if err = r.hub.o.Rewound(r.hub.ctx, r.name, pos); err != nil {
				r.hub.o.Log.Warn("can't begin a new log", "room", r.name, "error", err)
				break
			}
			told, wait = pos, least
			continue
		default:
			err = nil
			r.mu.Lock()
			r.hub.o.Burst.Begin()
			done = r.merge(h, noSession, before)
			r.mu.Unlock()
			r.hub.o.Burst.End()
		}
		if done {
			return
		}
		if err != nil {
			hastened, open := r.rest(wait)
			if !open {
				return
			}
			if wait = min(2*wait, most); hastened {
				wait = least
			}
		}
	}
}

// rewound reports whether the log shows that the store has lost a change that the hub has heard: it stands before it, or
// has another one in its place. Of what the log no longer has that can't be told.
func (r *room) rewound(h *History) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known || r.again || h.Epoch != r.pos.Epoch {
		return false
	}
	is := h.Seq < r.pos.Seq || h.Seq == r.pos.Seq && h.Nonce != r.pos.Nonce
	if !is && h.Seq > r.pos.Seq && h.Oldest <= r.pos.Seq+1 && len(h.Texts) > 0 {
		next, prev, _, err := hearth.ParseCursorLine(h.Texts[0])
		is = err == nil && next.Seq == r.pos.Seq+1 && prev != r.pos.Nonce
	}
	if is {
		r.hub.Stats.Rewinds.Add(1)
		r.hub.o.Log.Error("the store has lost changes that were heard", "room", r.name, "heard", r.pos.Seq, "store", h.Seq)
	}
	return is
}

// merge takes what the log says and reports whether that was all. The first `before` held changes were heard before the
// log was read, so it has them, or they are of a session that is over. r.mu is held.
func (r *room) merge(h History, noSession bool, before int) bool {
	if r.again { // what was read is too old, or not all that was heard could be held
		if len(r.held) > 0 {
			r.gap()
		}
		r.again, r.held = false, nil
		return false
	}
	for _, s := range r.subs {
		if s.doubt && s.active && !s.engaged && (noSession && !s.between || !noSession && h.Epoch != s.at.Epoch) {
			s.lose()
		}
		s.doubt = false
	}
	unheard := !noSession || before > 0 // who waits for a session may have missed one that is on, or is dropped below

	// What was held may follow after all: nothing was missed, or only what is not in the log, a session's end. The log
	// was read from before that, perhaps even earlier than it was published, so it isn't compared with where r is now.
	followed := false
	for len(r.held) > 0 && r.known && r.follows(r.held[0]) {
		r.accept(r.held[0])
		r.held = r.held[1:]
		followed = true
	}
	if followed {
		r.repairing = len(r.held) > 0 || r.again
		return !r.repairing
	}
	switch ahead := r.known && h.Epoch == r.pos.Epoch && h.Seq <= r.pos.Seq; {
	case r.known && r.ended && noSession: // a session that somebody else is in has ended, too
		r.loseAll(unheard, func(s *Subscription) bool { return s.at.Epoch != r.pos.Epoch })
	case ahead && !r.ended && h.Cursor == r.pos:
	case noSession:
		// Who is active missed the end of its session.
		r.loseAll(unheard, func(*Subscription) bool { return true })
		r.known = false
	case !r.known || h.Epoch != r.pos.Epoch:
		r.loseAll(unheard, func(s *Subscription) bool {
			return s.at.Epoch != h.Epoch || s.at.Seq == h.Seq && s.at.Nonce != h.Nonce
		})
		from := r.earliest(h.Cursor)
		r.moveTo(from)
		if from != h.Cursor { // somebody needs changes that were not asked for
			return false
		}
	case ahead || h.Oldest > r.pos.Seq+1 || !r.replay(h):
		// The store was rewound, or no longer has what is missing.
		r.loseAll(unheard, func(s *Subscription) bool { return s.at != h.Cursor })
		r.moveTo(r.earliest(h.Cursor)) // who became active during the read is not lost, and may need what comes after it
	case r.pos.Seq < h.Seq: // the log is longer than one read
		return false
	}
	if r.again { // a doubt arose on the way
		return false
	}
	held := r.held
	r.held, r.repairing = nil, false
	for i, m := range held {
		switch {
		case r.known && r.follows(m):
			r.accept(m)
		case i < before:
		default:
			r.take(m)
		}
		if r.repairing { // a gap again; what is left has its turn after it
			r.held = append(r.held, held[i+1:]...)
			break
		}
	}
	return true
}

// replay accepts the changes that were read and reports whether they followed. r.mu is held.
func (r *room) replay(h History) bool {
	for _, text := range h.Texts {
		m, err := r.hub.decode(text)
		if err != nil || m.Seq != r.pos.Seq+1 || m.Prev != r.pos.Nonce {
			return false
		}
		r.accept(m)
	}
	return len(h.Texts) > 0
}

// loseAll tells the active subscriptions that match that they missed something, and those that wait for a session if one
// may have gone unheard; of the others it is not known yet where they begin. r.mu is held.
func (r *room) loseAll(unheard bool, match func(*Subscription) bool) {
	for _, s := range r.subs {
		match := !s.between && match(s) || s.between && unheard
		switch {
		case !s.active:
			s.skipped = true
			s.gapped = s.gapped || unheard
		case match && s.reads == r.reads: // it is younger than what was read
			s.doubt, r.again = true, true
		case match:
			s.lose()
		}
	}
}

// earliest returns the position that is furthest behind c among the active subscriptions in c's session, c if none is.
// r.mu is held.
func (r *room) earliest(c hearth.Cursor) hearth.Cursor {
	for _, s := range r.subs {
		if s.active && !s.over && s.at.Epoch == c.Epoch && s.at.Seq < c.Seq {
			c = s.at
		}
	}
	return c
}

// moveTo sets the hub's position to where the log stands. r.mu is held.
func (r *room) moveTo(c hearth.Cursor) {
	r.known, r.told, r.pos, r.ended = true, false, c, false
	for _, s := range r.subs {
		if s.active && s.at.Epoch == c.Epoch {
			s.engaged = true
		}
	}
}
