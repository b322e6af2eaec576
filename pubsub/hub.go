// Package pubsub is the hub of a node: one Redis subscription a room, however many listen to it here, on one connection a
// server, however many rooms; changes handed on in the order of their seq, each once, or the listeners told that this
// can't be proven any more. A change that doesn't follow the one before it (by seq and by nonce) makes the hub read the
// room's log. Whether it hears at all is proven by probes, and what it has heard is compared with the store.
//
// It carries text and positions and knows nothing of what a change means, of sockets, or of who may see what.
package pubsub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/warm"
)

// Message is one change of a room.
type Message struct {
	hearth.Cursor
	Prev  string // nonce of the change before it; "" for a session's first
	Text  string // what follows the hub's line
	Value any    // what Options.Decode made of Text
	Last  bool   // the session ends with it: set by Options.Decode
}

// History is a part of a room's log.
type History struct {
	hearth.Cursor          // where the log stands
	Oldest        uint64   // seq of the oldest change that it still has
	Texts         []string // changes after the seq that was asked for, whole
}

// Options says what the hub is made of. Client, Channel, Probes, Read and Decode are required.
type Options struct {
	// Client is the store's, so that probes are published where changes are. If it is a cluster's, channels are sharded.
	// If its commands may come to go to another server it says so by a method Moved, see mover.
	Client  redis.UniversalClient
	Channel func(room string) string
	// Probes are channels of this hub's own, one for each tag in braces that channels of rooms have, so that each server
	// of a cluster has one. Without a cluster the first is enough.
	Probes []string
	// Notices are channels that are no room's, subscribed to for as long as the hub lives.
	Notices []Notice
	// Read returns changes of the room's live session after a seq, as many as it likes; an error of ReasonNoSession if
	// there is no session.
	Read func(ctx context.Context, room string, after uint64) (History, error)
	// Decode sets m.Value and m.Last. It is called once a change and must not block.
	Decode func(m *Message) error
	// Heads returns where the logs of rooms stand, whose channels share a tag: zero where there is no session. With nil
	// the hub does not compare.
	Heads func(ctx context.Context, rooms []string) ([]hearth.Cursor, error)
	// Rewound is called when the store has lost changes up to at, which the hub has heard, or has others in their place: a
	// failover to a replica that lagged, or data restored. It makes the session begin a new log, under another epoch, if
	// nobody has done so; the hub then tells all who were in the old one that they are lost. With nil only this hub's are.
	Rewound func(ctx context.Context, room string, at hearth.Cursor) error
	// Burst, if it is not nil, is told of times in which much is handed on.
	Burst Burst
	// Poller tells of what is published, together with what else it is told of; nil: a goroutine reads each connection.
	Poller *netpoll.Poller
	Log    *slog.Logger
	// ProbeEvery is how often each connection is proven to hear; 3 s. One that has not heard a probe for twice that is
	// made anew.
	ProbeEvery time.Duration
	// CompareEvery is how often rooms are compared with the store, those of one tag at a time; 500 ms.
	CompareEvery time.Duration
}

// Notice is a channel on which something is told that has no order to be kept: what goes unheard is not read from a log. The
// functions must not block and must not call back into the hub.
type Notice struct {
	Channel string
	Heard   func(text string)
	Missed  func() // it is subscribed to from now on; what was told before may have gone unheard
}

// Burst is told when changes are about to be handed to many subscribers, or to those of several rooms, and when they have been: what
// each of them does can be done for all at the end. There may be several at a time. Its methods must not block.
type Burst interface {
	Begin()
	End()
}

type noBurst struct{}

func (noBurst) Begin() {}
func (noBurst) End()   {}

// Subscriber is what the hub hands changes to. Its methods must not block and must not call back into the hub.
type Subscriber interface {
	// Deliver gets one change after another, in the order of seq.
	Deliver(m *Message)
	// Lost says that changes may have been missed: nothing is delivered any more.
	Lost()
}

// Stats counts what the hub did since it began.
type Stats struct {
	Received   atomic.Int64 // changes heard
	Delivered  atomic.Int64 // changes handed to subscribers
	Duplicates atomic.Int64 // changes heard again
	Repairs    atomic.Int64 // logs read because a change didn't follow, or a subscription was made anew
	Lost       atomic.Int64 // subscribers told that continuity is lost
	Deaf       atomic.Int64 // connections made anew because they did not hear
	Followed   atomic.Int64 // connections made anew because commands went to another server
	Moved      atomic.Int64 // times that the rooms of a tag were found on another server
	Compared   atomic.Int64 // rooms compared with the store
	Behind     atomic.Int64 // of those, rooms of which something had gone unheard
	Rewinds    atomic.Int64 // rooms whose store was found behind the hub
}

// Hub is one node's fan-out. Close it to end its goroutines.
type Hub struct {
	Stats Stats

	o       Options
	cluster cluster         // nil without shards
	mover   mover           // nil where the server stays
	ctx     context.Context //nolint:containedctx // the hub's own life, ended by Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	workers *warm.Pool[*room] // counted in wg while they work
	crew    *warm.Crew[*room] // the same, for rooms of few subscribers
	began   time.Time
	notices map[string]*Notice // by channel; never changed

	mu     sync.RWMutex // before a room's
	rooms  map[string]*room
	byChan map[string]*room
	slots  map[string]*slot // by tag
	links  map[string]*link // by the server's address

	astray atomic.Bool // slots may be on other servers than is known
	wake   chan struct{}
	doubts chan *room // rooms to be compared soon
}

// ErrClosed is returned by Subscribe once the hub is closed.
var ErrClosed = errors.New("pubsub: hub is closed")

// New starts a hub.
func New(o Options) *Hub {
	if o.ProbeEvery == 0 {
		o.ProbeEvery = 3 * time.Second
	}
	if o.CompareEvery == 0 {
		o.CompareEvery = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background()) // the hub's own life; no caller's call is it
	h := newHub(ctx, cancel, o)
	h.cluster, _ = o.Client.(cluster)
	h.mover, _ = o.Client.(mover)
	h.mu.Lock()
	for _, probe := range o.Probes {
		h.slotOf(probe).probe = probe
	}
	for channel := range h.notices {
		s := h.slotOf(channel)
		s.notices = append(s.notices, channel)
	}
	if h.cluster == nil {
		h.linkTo("", nil)
		h.assignProbes()
	}
	h.mu.Unlock()
	h.stir()
	h.wg.Go(h.steer)
	if o.Heads != nil {
		h.wg.Go(h.compare)
	}
	return h
}

func newHub(ctx context.Context, cancel context.CancelFunc, o Options) *Hub {
	if o.Burst == nil {
		o.Burst = noBurst{}
	}
	notices := make(map[string]*Notice, len(o.Notices))
	for i := range o.Notices {
		notices[o.Notices[i].Channel] = &o.Notices[i]
	}
	return &Hub{
		o: o, ctx: ctx, cancel: cancel, began: time.Now(), notices: notices,
		workers: warm.NewPool((*room).worked), crew: warm.NewCrew((*room).turn, o.Burst.Begin, o.Burst.End),
		rooms: map[string]*room{}, byChan: map[string]*room{}, slots: map[string]*slot{}, links: map[string]*link{},
		wake: make(chan struct{}, 1), doubts: make(chan *room, 256),
	}
}

// Close ends the subscriptions and waits for the hub's goroutines. Subscribers hear nothing more.
func (h *Hub) Close() {
	h.cancel()
	h.wg.Wait()
	h.workers.Close()
	h.crew.Close()
}

// Rooms returns how many rooms are subscribed to.
func (h *Hub) Rooms() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.rooms)
}

// Subscribe adds a subscriber to a room and returns when Redis has confirmed the subscription: every change published
// from then on is kept for it until Activate says where it begins. A fiber leaves if that has to be waited for.
func (h *Hub) Subscribe(ctx context.Context, name string, s Subscriber) (*Subscription, error) {
	return h.subscribe(ctx, name, &Subscription{to: s})
}

func (h *Hub) subscribe(ctx context.Context, name string, sub *Subscription) (*Subscription, error) {
	confirmed, err := h.enter(ctx, name, sub)
	if err != nil {
		return nil, err
	}
	select {
	case <-confirmed:
		return sub, nil
	default:
		fiber.From(ctx).Leave() // Redis is asked first
	}
	select {
	case <-confirmed:
		return sub, nil
	case <-ctx.Done():
		sub.Close()
		return nil, ctx.Err()
	case <-h.ctx.Done():
		sub.Close()
		return nil, ErrClosed
	}
}

// enter adds a subscription to its room. The hub's lock is not held while the room's is waited for, which a batch that is
// being written may have for a while; only a new room is added to at once.
func (h *Hub) enter(ctx context.Context, name string, sub *Subscription) (confirmed <-chan struct{}, err error) {
	for {
		h.mu.RLock()
		r := h.rooms[name]
		h.mu.RUnlock()
		if h.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if r == nil {
			confirmed = h.open(name, sub)
		} else {
			if sub.room = r; sub.Busy() {
				fiber.From(ctx).Leave()
			}
			confirmed = r.add(sub)
		}
		if confirmed != nil {
			return confirmed, nil
		}
	}
}

// open makes a room with its first subscription, as add does; nil if somebody else has just done so.
func (h *Hub) open(name string, sub *Subscription) (confirmed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[name] != nil {
		return nil
	}
	channel := h.o.Channel(name)
	r := &room{hub: h, name: name, channel: channel, slot: h.slotOf(channel), confirmed: make(chan struct{}), state: subscribing}
	h.rooms[name], h.byChan[channel], r.slot.rooms[channel] = r, r, r
	r.wish(true)
	sub.room = r
	return r.add(sub)
}

// hear takes what was published in a room's channel, or one of notices, and reports whether it is one. It is called in a round,
// whose turns are given. Whoever reads hears no more before a room that is behind has caught up.
func (h *Hub) hear(round *fiber.Round, t *turns, channel, text []byte) (ours bool, behind *room) {
	h.mu.RLock()
	r := h.byChan[string(channel)]
	h.mu.RUnlock()
	if r == nil {
		n := h.notices[string(channel)]
		if n != nil {
			n.Heard(string(text))
		}
		return n != nil, nil
	}
	h.Stats.Received.Add(1)
	if r.heard(round, t, string(text)) {
		return true, nil
	}
	return true, r
}

// decode reads a change as it was published or logged.
func (h *Hub) decode(text string) (*Message, error) {
	c, prev, rest, err := hearth.ParseCursorLine(text)
	if err != nil {
		return nil, err
	}
	m := &Message{Cursor: c, Prev: prev, Text: rest}
	return m, h.o.Decode(m)
}

// confirmed takes note that a channel is subscribed to on a link. had: its connection has had it before: a new connection
// asks for all that is wanted, and for what is wished for while it does that twice.
func (h *Hub) confirmed(l *link, channel string, had bool) {
	h.mu.RLock() // until the end: a room that is added meanwhile has to wish after this
	defer h.mu.RUnlock()
	if n := h.notices[channel]; n != nil && h.slots[tagOf(channel)].link.Load() == l {
		n.Missed()
		return
	}
	r := h.byChan[channel]
	if r == nil || r.slot.link.Load() != l { // nobody wants it any more, or not there
		l.wish(false, channel)
		return
	}
	r.confirm(!had)
}

// parted takes note that channels are not subscribed to any more on a link. A room that has subscribers again by now is
// subscribed to anew. said: the server said so; it does so unasked if the channels' slot has moved away.
func (h *Hub) parted(l *link, said bool, channels ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range channels {
		if s := h.slots[tagOf(c)]; h.notices[c] != nil && s.link.Load() == l {
			h.stray(s)
			continue
		}
		r := h.byChan[c]
		if r == nil || r.slot.link.Load() != l {
			continue
		}
		switch h.leave(r) {
		case stays:
			if said {
				h.stray(r.slot)
			}
		case again:
			r.wish(true)
		}
	}
}

// leave has a room whose unsubscription is through forgotten, if nobody wants it again. h.mu is held.
func (h *Hub) leave(r *room) outcome {
	was := r.parted()
	if was == isGone {
		delete(h.byChan, r.channel)
		delete(h.rooms, r.name)
		delete(r.slot.rooms, r.channel)
		if len(r.slot.rooms) == 0 && r.slot.probe == "" && r.slot.notices == nil {
			delete(h.slots, r.slot.tag)
		}
	}
	return was
}

func (h *Hub) now() time.Duration { return time.Since(h.began) }

// pause waits for d and reports whether the hub still runs.
func (h *Hub) pause(d time.Duration) bool { return pause(h.ctx, d) }

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
