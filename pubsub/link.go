package pubsub

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

const (
	breakPause    = 20 * time.Millisecond  // from a broken connection to the next one
	connectPause  = 50 * time.Millisecond  // from a failed attempt to the next one; it is doubled ...
	connectAtMost = 500 * time.Millisecond // ... up to that
	connectWithin = 5 * time.Second
)

// link is the one subscription connection to a server, for all rooms that are there. One goroutine reads it, which never
// waits for a subscriber, one writes to it and one proves that it hears. A connection that broke is not mended by the
// client library, which would subscribe to everything in one command (a cluster refuses that) and tell nobody: another one
// is opened, and is told what the rooms want by then. So all but the opening is given a context that is over, with which
// the library can't connect; it looks at it for nothing else.
type link struct {
	hub    *Hub
	addr   string                       // of the server; "" for the only one
	client atomic.Pointer[redis.Client] // of the server; nil for the only one, which is the hub's client's
	ctx    context.Context              //nolint:containedctx // the link's own life
	cancel context.CancelFunc
	wake   chan struct{} // of command
	ready  chan struct{} // of prove
	hurry  chan struct{} // of run: the next attempt may fare better
	// heard is when the newest probe that it has heard was sent, since the hub began; 0 for none yet.
	heard atomic.Int64

	mu     sync.Mutex          // after a room's
	conn   *redis.PubSub       // nil while there is none
	since  time.Duration       // when it was opened
	giveUp context.CancelFunc  // ends the newest attempt to open one
	moves  uint64              // how often the server had been replaced when that began
	name   string              // that it has at the server; "" if it may have none
	wishes map[string]bool     // by channel: subscribe (true) or unsubscribe; only the last wish counts
	on     map[string]struct{} // what the server has confirmed
	turns  int                 // counts commands and confirmations
	probe  string              // channel that it hears probes on
}

func newLink(h *Hub, addr string, client *redis.Client) *link {
	l := &link{
		hub: h, addr: addr, wake: make(chan struct{}, 1), ready: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		wishes: map[string]bool{},
	}
	l.ctx, l.cancel = context.WithCancel(h.ctx)
	l.giveUp = func() {}   // until there is an attempt
	l.client.Store(client) // before it runs: without one it would connect to any server
	return l
}

// run opens one connection after the other and reads it, until the link is closed.
func (l *link) run() {
	log := l.hub.o.Log.With("server", l.addr)
	wait, refusals := connectPause, seldom{}
	for l.ctx.Err() == nil {
		conn, err := l.connect()
		if err == nil {
			wait = connectPause
			err = l.listen(conn, refusals)
			l.drop(conn)
			if l.ctx.Err() == nil {
				log.Warn("subscription broke", "error", err)
				l.hub.refused(l) // its rooms may be elsewhere
				l.rest(breakPause)
			}
			continue
		}
		if l.ctx.Err() == nil && wait == connectPause {
			log.Warn("can't open a subscription", "error", err)
		}
		l.hub.refused(l)
		if l.rest(wait) {
			wait = connectPause
		} else {
			wait = min(2*wait, connectAtMost)
		}
	}
	l.drop(nil)
}

// connect opens a connection and asks for all that is wanted on it.
func (l *link) connect() (*redis.PubSub, error) {
	ctx, cancel := context.WithTimeout(l.ctx, connectWithin)
	defer cancel()
	moves, _ := l.hub.moved()
	l.mu.Lock()
	l.giveUp, l.moves = cancel, moves
	l.mu.Unlock()
	conn := l.open()
	opened := context.AfterFunc(ctx, func() { _ = conn.Close() })
	// The name is how the connection is found among the server's. Its answer also says that there is a connection.
	name := "hearth-" + hearth.NewEpoch()
	err := conn.ClientSetName(ctx, name)
	if err == nil {
		_, err = conn.ReceiveTimeout(l.hub.ended, connectWithin)
	}
	if isRefusal(err) { // it may not have a name
		name, err = "", nil
	}
	if !opened() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	context.AfterFunc(l.ctx, func() { _ = conn.Close() }) // that ends listen
	l.mu.Lock()
	l.conn, l.since, l.name, l.on = conn, l.hub.now(), name, map[string]struct{}{}
	clear(l.wishes)
	l.turns++
	l.mu.Unlock()
	now, _ := l.hub.moved()
	l.overtaken(now) // meanwhile there was nothing to replace
	wanted := l.hub.anew(l)
	if probe := l.probing(); probe != "" {
		wanted = append(wanted, probe)
	}
	l.wish(true, wanted...)
	return conn, nil
}

func (l *link) open() *redis.PubSub {
	if c := l.client.Load(); c != nil {
		return c.SSubscribe(l.ctx) // to nothing yet, so it is not connected
	}
	return l.hub.o.Client.Subscribe(l.ctx)
}

// drop gives a connection up.
func (l *link) drop(conn *redis.PubSub) {
	l.mu.Lock()
	l.conn, l.on = nil, nil
	clear(l.wishes)
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
	l.hub.anew(l) // what the old connection would have confirmed
}

// listen reads a connection until it breaks.
func (l *link) listen(conn *redis.PubSub, refusals seldom) error {
	for {
		got, err := conn.Receive(l.hub.ended)
		switch {
		case isRefusal(err):
			if l.ctx.Err() == nil && refusals.fresh(codeOf(err), l.hub.now()) {
				l.hub.o.Log.Warn("subscribing was refused", "server", l.addr, "error", err)
			}
			l.hub.refused(l)
			continue
		case err != nil:
			return err
		}
		switch got := got.(type) {
		case *redis.Message:
			if !l.hub.hear(got.Channel, got.Payload) && got.Channel == l.probing() {
				l.hearProbe(got.Payload)
			}
		case *redis.Subscription:
			l.note(got)
		}
	}
}

// note takes note of a confirmation.
func (l *link) note(got *redis.Subscription) {
	joined := got.Kind == "subscribe" || got.Kind == "ssubscribe"
	l.mu.Lock()
	l.turns++
	_, had := l.on[got.Channel]
	if joined {
		l.on[got.Channel] = struct{}{}
	} else {
		delete(l.on, got.Channel)
	}
	mine := got.Channel == l.probe
	l.mu.Unlock()
	switch {
	case mine && joined:
		select {
		case l.ready <- struct{}{}:
		default:
		}
	case mine: // its slot has moved
		l.hub.refused(l)
	case joined:
		l.hub.confirmed(l, got.Channel, had)
	default:
		l.hub.parted(l, true, got.Channel)
	}
}

// has reports whether the server has confirmed a channel.
func (l *link) has(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.on[channel]
	return ok
}

// wish queues channels for the next SUBSCRIBE or UNSUBSCRIBE: many rooms go in one command.
func (l *link) wish(join bool, channels ...string) {
	if len(channels) == 0 {
		return
	}
	l.mu.Lock()
	for _, c := range channels {
		l.wishes[c] = join
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// command sends what is queued. UNSUBSCRIBE goes first, so that it can't undo a newer SUBSCRIBE. What can't be sent breaks
// the connection, and the next one is asked for everything.
func (l *link) command() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wake:
		}
		conn, join, part := l.take()
		if conn == nil { // none is subscribed to; connect asks for what is wanted
			l.hub.parted(l, false, part...)
			continue
		}
		err := l.tell(part, conn.Unsubscribe, conn.SUnsubscribe)
		if err == nil {
			err = l.tell(join, conn.Subscribe, conn.SSubscribe)
		}
		if err != nil {
			_ = conn.Close()
		}
	}
}

// take empties the queue.
func (l *link) take() (conn *redis.PubSub, join, part []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, wanted := range l.wishes {
		if wanted {
			join = append(join, c)
		} else {
			part = append(part, c)
		}
	}
	clear(l.wishes)
	l.turns++
	return l.conn, join, part
}

// tell sends a command for channels; on a cluster one for each slot.
func (l *link) tell(channels []string, plain, sharded func(ctx context.Context, channels ...string) error) error {
	if len(channels) == 0 {
		return nil
	}
	if l.hub.cluster == nil {
		return plain(l.hub.ended, channels...)
	}
	bySlot := map[string][]string{}
	for _, c := range channels {
		bySlot[tagOf(c)] = append(bySlot[tagOf(c)], c)
	}
	for _, some := range bySlot {
		if err := sharded(l.hub.ended, some...); err != nil {
			return err
		}
	}
	return nil
}

// isRefusal reports whether the server answered, with an error: the connection stands.
func isRefusal(err error) bool {
	var e redis.Error
	return errors.As(err, &e) && !errors.Is(err, context.DeadlineExceeded)
}
