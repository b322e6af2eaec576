package pubsub

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hearthstore/hearth"
)

// Bounds of what the hub keeps for others.
const (
	maxPending = 4096 // changes for a subscription that is not active yet; it is lost beyond that
	maxHeld    = 1024 // changes heard while a log is read; beyond that they are dropped and the log is read again
)

// state is where a room's Redis subscription stands. One command at a time is under way for a channel, so a confirmation
// always belongs to the last one.
type state int

const (
	subscribing state = iota
	subscribed
	unsubscribing
	gone
)

// outcome is what the end of an unsubscription means to a room.
type outcome int

const (
	stays  outcome = iota // there was none under way
	again                 // it has to be subscribed to anew
	isGone                // nobody wants it
)

// room is one room that somebody here listens to.
type room struct {
	hub     *Hub
	name    string
	channel string
	slot    *slot
	many    atomic.Bool  // it has more than few subscribers
	looked  atomic.Int64 // when something was heard of it last, or compared with the store, as nanoseconds since the hub began

	mu        sync.Mutex
	state     state
	confirmed chan struct{} // closed when Redis has confirmed
	subs      []*Subscription

	known     bool          // pos says where the hub is
	pos       hearth.Cursor // the last change taken
	told      bool          // pos is from Activate, and not heard yet
	ended     bool          // the change at pos ended its session
	repairing bool          // the log is being read; what is heard meanwhile is held
	reads     int           // how many reads of the log have begun
	hurry     chan struct{} // of who reads: what failed may succeed now; nil before the first read
	again     bool          // and has to be read once more after that
	held      []*Message

	batch      Batch         // changes that are to be handed on; empty whenever the lock is free
	before     hearth.Cursor // where the batch begins
	batchBytes int

	inbox inbox
}

// Subscription is one subscriber's place in a room.
type Subscription struct {
	room    *room
	to      Subscriber
	batches BatchSubscriber // to, if it is one
	follows bool            // the room: after a session's end it goes on with the next one; see Follow

	// Guarded by the room's lock.
	confirmed bool // Redis has confirmed the room's subscription since it was added
	active    bool
	at        hearth.Cursor // where Activate said it begins
	engaged   bool          // the hub has been in the session of at
	reads     int           // the room's reads when it became active
	doubt     bool          // its session may be over: the log is asked
	between   bool          // it follows the room and waits for a session's first change
	known     string        // epoch of a session that Await said is over
	skipped   bool          // before Activate, the hub gave up changes that it had missed
	gapped    bool          // before Activate, a whole session may have gone unheard: who follows the room can't go on to the next
	pending   []*Message    // before Activate
	over      bool          // closed, lost or overrun
}

// add adds a subscriber and returns what is closed once Redis has confirmed; nil if the room has been forgotten meanwhile.
func (r *room) add(s *Subscription) (confirmed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == gone {
		return nil
	}
	s.confirmed = r.state == subscribed
	s.batches, _ = s.to.(BatchSubscriber)
	r.subs = append(r.subs, s)
	r.many.Store(len(r.subs) > few)
	return r.confirmed
}

// confirm is called for each confirmation of a subscription. fresh: the connection did not have it before.
func (r *room) confirm(fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.state {
	case subscribing:
		r.state = subscribed
		close(r.confirmed)
		for _, s := range r.subs {
			s.confirmed = true
		}
		if len(r.subs) == 0 { // who wanted it gave up meanwhile
			r.part()
		}
	case subscribed:
		if !fresh { // nothing is missing
			return
		}
		r.drain() // the connection was made anew: what was published in between is missing
		r.gap()
		r.repair()
		r.hasten()
	case unsubscribing: // a new connection was given the channel again, perhaps after it was told to drop it
		r.wish(false)
	}
}

// wish has the channel subscribed to, or unsubscribed from, where it is. Who has it may not be known yet: move then wishes.
func (r *room) wish(join bool) {
	if l := r.slot.link.Load(); l != nil {
		l.wish(join, r.channel)
	}
}

// part begins to unsubscribe; who subscribes from now on waits for a confirmation of its own. r.mu is held.
func (r *room) part() {
	r.state = unsubscribing
	r.confirmed = make(chan struct{})
	r.wish(false)
}

// parting reports whether a confirmation of an unsubscription is awaited.
func (r *room) parting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == unsubscribing
}

// parted is called when the room is not subscribed to any more, whether that was asked for or not. The hub's lock is held.
func (r *room) parted() outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != unsubscribing {
		return stays
	}
	_ = r.inbox.take() // of the old subscription
	r.known, r.told, r.ended, r.held, r.again = false, false, false, nil, r.repairing
	if len(r.subs) > 0 {
		r.state = subscribing
		return again
	}
	r.state = gone
	return isGone
}

// At returns the position up to which the subscriber was handed all changes.
func (s *Subscription) At() hearth.Cursor {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.at
}

// Busy reports whether Close and Activate have to wait, or may, for what is handed on to many others.
func (s *Subscription) Busy() bool {
	r := s.room
	if r.many.Load() || !r.mu.TryLock() {
		return true
	}
	r.mu.Unlock()
	return false
}

// Close removes the subscriber, which hears nothing once Close has returned, and reports whether it was the first to do so.
func (s *Subscription) Close() bool {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	s.over = true
	s.pending = nil
	for i, other := range r.subs {
		if other == s {
			last := len(r.subs) - 1
			r.subs[i], r.subs[last] = r.subs[last], nil
			r.subs = r.subs[:last]
			r.many.Store(last > few)
			if last == 0 && r.state == subscribed {
				r.part()
			}
			return true
		}
	}
	return false
}

// Activate says that the subscriber knows all changes up to at. It is given the later ones that are kept for it at once,
// and then all that come. If some in between are missing it is told Lost.
func (s *Subscription) Activate(at hearth.Cursor) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.over {
		return
	}
	s.active, s.at, s.reads = true, at, r.reads
	pending := s.pending
	s.pending = nil
	// Sessions before its own are nothing to it.
	if i := slices.IndexFunc(pending, func(m *Message) bool { return m.Epoch == at.Epoch }); i > 0 {
		pending = pending[i:]
	}
	for _, m := range pending {
		r.offer(s, m)
	}
	r.settle(s)
}

// settle compares where a subscription stands, which has just become active and was given what was kept for it, with
// where the hub does. r.mu is held.
func (r *room) settle(s *Subscription) {
	defer func() { s.gapped = false }()
	switch {
	case s.over:
	case s.between: // a session's end was among what was kept, or none is on: what comes next is news to it
		if s.gapped {
			s.lose()
		}
	case s.skipped && (!r.known || r.pos.Epoch != s.at.Epoch): // what was given up may be this session's: the log tells
		s.doubt = true
		r.repair()
	case !r.known && !r.repairing:
		r.known, r.told, r.pos, r.ended = true, true, s.at, false
		s.engaged = true
	case r.known && r.pos.Epoch == s.at.Epoch:
		s.engaged = true
		switch {
		case s.at.Seq > r.pos.Seq || s.at == r.pos:
		case r.told && s.at.Seq < r.pos.Seq: // the first to activate knew more, but the hub has not heard it yet
			r.pos = s.at
			r.again = r.again || r.repairing
		default: // the hub is further than what was kept, or the store was rewound
			s.lose()
		}
	}
}

// offer hands a change to an active subscriber if it is one that it doesn't know. r.mu is held.
func (r *room) offer(s *Subscription, m *Message) {
	if s.between {
		switch {
		case m.Seq != 1 || m.Epoch == s.at.Epoch || m.Epoch == s.known: // of a session that was over when the subscriber looked
		case s.gapped: // perhaps a whole session
			s.lose()
		default:
			s.between, s.engaged = false, true
			r.give(s, m)
		}
		return
	}
	if m.Epoch != s.at.Epoch {
		switch {
		case s.engaged: // the hub has gone on to another session
			s.lose()
		case m.Seq == 1:
			// Another session begins: one before this one, heard late, or one after it, which then came and went unheard.
			// The log tells.
			s.doubt = true
			r.repair()
		}
		return
	}
	s.engaged = true
	switch {
	case m.Seq < s.at.Seq && !m.Last || m.Cursor == s.at:
		return
	case m.Seq != s.at.Seq+1 || m.Prev != s.at.Nonce: // a change is missing, or was replaced as the store was rewound
		s.lose()
		return
	}
	r.give(s, m)
}

// give hands a change on. r.mu is held.
func (r *room) give(s *Subscription, m *Message) {
	s.at = m.Cursor
	if s.follows && m.Last {
		s.between, s.engaged = true, false
	}
	r.hub.Stats.Delivered.Add(1)
	s.to.Deliver(m)
}

// lose ends a subscription whose continuity can't be proven. The room's lock is held.
func (s *Subscription) lose() {
	if s.over {
		return
	}
	s.over = true
	s.pending = nil
	s.room.hub.Stats.Lost.Add(1)
	s.to.Lost()
}

// follows reports whether m is the change that comes after the newest one. r.mu is held.
func (r *room) follows(m *Message) bool {
	if !r.known || r.ended && m.Epoch != r.pos.Epoch && m.Seq == 1 {
		return true
	}
	return m.Epoch == r.pos.Epoch && m.Seq == r.pos.Seq+1 && m.Prev == r.pos.Nonce
}

// take accepts a change that follows, drops one that is known, and has the log read for any other. r.mu is held.
func (r *room) take(m *Message) {
	switch {
	case r.follows(m):
		r.accept(m)
	case m.Epoch == r.pos.Epoch && (m.Seq < r.pos.Seq || m.Seq == r.pos.Seq && m.Nonce == r.pos.Nonce):
		r.hub.Stats.Duplicates.Add(1)
		if m.Seq < r.pos.Seq { // a change once more, or another one of a store that was rewound
			r.suspect()
		}
		if r.told { // new to who is not active yet and may know less, or waits for a session to begin
			r.told = m.Seq < r.pos.Seq
			r.handOn(m)
			r.keep(m)
		}
	default:
		r.held = append(r.held, m)
		r.repair()
	}
}

// accept makes m the newest change and hands it on. r.mu is held.
func (r *room) accept(m *Message) {
	r.known, r.told, r.pos, r.ended = true, false, m.Cursor, m.Last
	r.handOn(m)
	r.keep(m)
}

// handOn offers m to all who are active. r.mu is held.
func (r *room) handOn(m *Message) {
	for _, s := range r.subs {
		if s.active && !s.over {
			r.offer(s, m)
		}
	}
}

// keep adds m to what is kept for subscriptions that are not active yet. r.mu is held.
func (r *room) keep(m *Message) {
	for _, s := range r.subs {
		if !s.active && !s.over {
			s.keep(m)
		}
	}
}

// keep keeps m for a subscription that is not active yet. The room's lock is held.
func (s *Subscription) keep(m *Message) {
	switch {
	case s.over || !s.confirmed: // where it begins is not before its confirmation
	case len(s.pending) >= maxPending:
		s.lose()
	default:
		s.pending = append(s.pending, m)
	}
}
