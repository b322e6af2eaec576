// Package pubsub is the hub of a node: one Redis subscription a room, however many listen to it here; changes handed on
// in the order of their seq, each once, or the listeners told that this can't be proven any more. A change that doesn't
// follow the one before it (by seq and by nonce) makes the hub read the room's log.
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

// Options says what the hub is made of. Client, Channel, Read and Decode are required.
type Options struct {
	Client  redis.UniversalClient
	Channel func(room string) string
	// Read returns changes of the room's live session after a seq, as many as it likes; an error of ReasonNoSession if
	// there is no session.
	Read func(ctx context.Context, room string, after uint64) (History, error)
	// Decode sets m.Value and m.Last. It is called once a change and must not block.
	Decode func(m *Message) error
	Log    *slog.Logger
	// PingEvery is how often the subscription is proven to answer; 3 s. After three times that without a word it is
	// made anew.
	PingEvery time.Duration
}

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
}

// Hub is one node's fan-out. Close it to end its goroutines.
type Hub struct {
	Stats Stats

	o      Options
	ctx    context.Context //nolint:containedctx // the hub's own life, ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	heard  atomic.Int64 // when the subscription last said something, as nanoseconds since began
	began  time.Time

	mu     sync.RWMutex // before a room's
	rooms  map[string]*room
	byChan map[string]*room
	link   *redis.PubSub

	cmdMu   sync.Mutex      // after a room's
	wishes  map[string]bool // by channel: subscribe (true) or unsubscribe; only the last wish counts
	cmdWake chan struct{}
}

// ErrClosed is returned by Subscribe once the hub is closed.
var ErrClosed = errors.New("pubsub: hub is closed")

// New starts a hub.
func New(o Options) *Hub {
	if o.PingEvery == 0 {
		o.PingEvery = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background()) // the hub's own life; no caller's call is it
	h := &Hub{
		o: o, ctx: ctx, cancel: cancel, began: time.Now(),
		rooms: map[string]*room{}, byChan: map[string]*room{}, wishes: map[string]bool{}, cmdWake: make(chan struct{}, 1),
		link: o.Client.Subscribe(ctx),
	}
	h.touch()
	h.wg.Go(h.receive)
	h.wg.Go(h.command)
	h.wg.Go(h.watch)
	return h
}

// Close ends the subscription and waits for the hub's goroutines. Subscribers hear nothing more.
func (h *Hub) Close() {
	h.cancel()
	h.mu.Lock()
	_ = h.link.Close()
	h.mu.Unlock()
	h.wg.Wait()
}

// Rooms returns how many rooms are subscribed to.
func (h *Hub) Rooms() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.rooms)
}

// Silent returns for how long the subscription has not said anything. It is asked every PingEvery, so more than three
// times that means that it does not work.
func (h *Hub) Silent() time.Duration { return time.Since(h.began) - time.Duration(h.heard.Load()) }

// Healthy reports whether the subscription answers.
func (h *Hub) Healthy() bool { return h.Silent() < 3*h.o.PingEvery }

func (h *Hub) touch() { h.heard.Store(int64(time.Since(h.began))) }

// Subscribe adds a subscriber to a room and returns when Redis has confirmed the subscription: every change published
// from then on is kept for it until Activate says where it begins.
func (h *Hub) Subscribe(ctx context.Context, name string, s Subscriber) (*Subscription, error) {
	return h.subscribe(ctx, name, &Subscription{to: s})
}

func (h *Hub) subscribe(ctx context.Context, name string, sub *Subscription) (*Subscription, error) {
	h.mu.Lock()
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	r := h.rooms[name]
	if r == nil {
		r = &room{hub: h, name: name, channel: h.o.Channel(name), confirmed: make(chan struct{}), state: subscribing}
		h.rooms[name], h.byChan[r.channel] = r, r
		h.send(true, r.channel)
	}
	sub.room = r
	confirmed := r.add(sub)
	h.mu.Unlock()
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

// send queues channels for the next SUBSCRIBE or UNSUBSCRIBE: many rooms go in one command.
func (h *Hub) send(join bool, channels ...string) {
	h.cmdMu.Lock()
	for _, c := range channels {
		h.wishes[c] = join
	}
	h.cmdMu.Unlock()
	select {
	case h.cmdWake <- struct{}{}:
	default:
	}
}

// command sends what is queued. A failed SUBSCRIBE is sent again: go-redis resubscribes to what it knew when it
// reconnects, but may not have known these. UNSUBSCRIBE goes first, lest it waits for a SUBSCRIBE that keeps failing and
// then undoes a newer one.
func (h *Hub) command() {
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.cmdWake:
		}
		var join, part []string
		h.cmdMu.Lock()
		for c, wanted := range h.wishes {
			if wanted {
				join = append(join, c)
			} else {
				part = append(part, c)
			}
		}
		clear(h.wishes)
		h.cmdMu.Unlock()
		if len(part) > 0 {
			if err := h.current().Unsubscribe(h.ctx, part...); err != nil {
				h.o.Log.Warn("unsubscribe failed", "channels", len(part), "error", err)
				h.parted(part...) // the connection is gone, and the subscriptions with it
			}
		}
		for len(join) > 0 {
			err := h.current().Subscribe(h.ctx, join...)
			if err == nil {
				break
			}
			h.o.Log.Warn("subscribe failed", "channels", len(join), "error", err)
			if !h.pause(100 * time.Millisecond) {
				return
			}
		}
	}
}

// receive is the one reader of the subscription. It never waits for a subscriber.
func (h *Hub) receive() {
	failed := false
	for h.ctx.Err() == nil {
		link := h.current()
		got, err := link.Receive(h.ctx)
		if err != nil {
			if h.ctx.Err() != nil || link != h.current() {
				continue
			}
			if !failed {
				h.o.Log.Warn("subscription broke", "error", err)
			}
			failed = true
			h.partedAll()
			if !h.pause(50 * time.Millisecond) {
				return
			}
			continue
		}
		failed = false
		h.touch()
		switch got := got.(type) {
		case *redis.Message:
			h.Stats.Received.Add(1)
			h.mu.RLock()
			r := h.byChan[got.Channel]
			h.mu.RUnlock()
			if r != nil {
				r.hear(got.Payload)
			}
		case *redis.Subscription:
			switch got.Kind {
			case "subscribe":
				h.confirmed(got.Channel)
			case "unsubscribe":
				h.parted(got.Channel)
			}
		}
	}
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

// confirmed takes note that a channel is subscribed to.
func (h *Hub) confirmed(channel string) {
	h.mu.RLock() // until the end: a room that is added meanwhile has to wish after this
	defer h.mu.RUnlock()
	if r := h.byChan[channel]; r != nil {
		r.confirm()
		return
	}
	h.send(false, channel) // a new connection was given it although nobody wants it any more
}

// parted takes note that channels are not subscribed to any more. A room that has subscribers again by now is
// subscribed to anew.
func (h *Hub) parted(channels ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range channels {
		r := h.byChan[c]
		if r == nil {
			continue
		}
		switch again, gone := r.parted(); {
		case again:
			h.send(true, c)
		case gone:
			delete(h.byChan, c)
			delete(h.rooms, r.name)
		}
	}
}

// partedAll does that for all rooms being unsubscribed from, whose confirmation died with the connection.
func (h *Hub) partedAll() {
	h.mu.RLock()
	var channels []string
	for c, r := range h.byChan {
		if r.parting() {
			channels = append(channels, c)
		}
	}
	h.mu.RUnlock()
	h.parted(channels...)
}

// watch proves that the subscription answers, and makes it anew when it doesn't.
func (h *Hub) watch() {
	renewed := h.began
	for h.pause(h.o.PingEvery) {
		if err := h.current().Ping(h.ctx); err != nil && h.ctx.Err() == nil {
			h.o.Log.Warn("subscription does not answer", "error", err)
		}
		if !h.Healthy() && time.Since(renewed) > 3*h.o.PingEvery {
			h.renew()
			renewed = time.Now()
		}
	}
}

// renew replaces the subscription's connection; each confirmation then makes its room look into its log.
func (h *Hub) renew() {
	h.mu.Lock()
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return
	}
	_ = h.link.Close()
	h.link = h.o.Client.Subscribe(h.ctx)
	h.mu.Unlock()
	h.partedAll() // what the old connection would have confirmed
	h.mu.RLock()
	channels := make([]string, 0, len(h.byChan))
	for c := range h.byChan {
		channels = append(channels, c)
	}
	h.mu.RUnlock()
	h.o.Log.Warn("subscription made anew", "rooms", len(channels))
	h.send(true, channels...)
}

func (h *Hub) current() *redis.PubSub {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.link
}

// pause waits for d and reports whether the hub still runs.
func (h *Hub) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-h.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
