package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/redispipe"
)

const (
	breakPause    = 20 * time.Millisecond  // from a broken connection to the next one
	connectPause  = 50 * time.Millisecond  // from a failed attempt to the next one; it is doubled ...
	connectAtMost = 500 * time.Millisecond // ... up to that
	connectWithin = 5 * time.Second
)

// link is the one subscription connection to a server, for all rooms that are there. Whoever reads it never waits for a
// subscriber; one goroutine writes to it, one proves that it hears, and one makes another connection of it when it broke, which
// is told what the rooms want by then.
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
	heard    atomic.Int64
	refusals seldom // of whoever reads

	mu     sync.Mutex          // after a room's
	conn   *line               // nil while there is none
	since  time.Duration       // when it was opened
	giveUp context.CancelFunc  // ends the newest attempt to open one
	moves  uint64              // how often the server had been replaced when that began
	name   string              // that it has at the server; "" if it may have none
	wishes map[string]bool     // by channel: subscribe (true) or unsubscribe; only the last wish counts
	on     map[string]struct{} // what the server has confirmed
	steps  int                 // counts commands and confirmations
	probe  string              // channel that it hears probes on
}

func newLink(h *Hub, addr string, client *redis.Client) *link {
	l := &link{
		hub: h, addr: addr, wake: make(chan struct{}, 1), ready: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		wishes: map[string]bool{}, refusals: seldom{},
	}
	l.ctx, l.cancel = context.WithCancel(h.ctx)
	l.giveUp = func() {}   // until there is an attempt
	l.client.Store(client) // before it runs: without one it would connect to any server
	return l
}

// run opens one connection after the other and reads it, until the link is closed.
func (l *link) run() {
	log := l.hub.o.Log.With("server", l.addr)
	wait := connectPause
	for l.ctx.Err() == nil {
		conn, err := l.connect()
		if err == nil {
			wait = connectPause
			err = l.listen(conn)
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
func (l *link) connect() (*line, error) {
	ctx, cancel := context.WithTimeout(l.ctx, connectWithin)
	defer cancel()
	moves, _ := l.hub.moved()
	l.mu.Lock()
	l.giveUp, l.moves = cancel, moves
	l.mu.Unlock()
	var server redis.UniversalClient = l.client.Load()
	if l.hub.cluster == nil {
		server = l.hub.o.Client
	}
	name := "hearth-" + hearth.NewEpoch() // how the connection is found among the server's
	sub, named, err := redispipe.Subscribe(ctx, server, name)
	if err != nil {
		return nil, err //nolint:wrapcheck // run says of what
	}
	if !named {
		name = ""
	}
	conn := &line{Subscription: sub, link: l, turns: turns{hub: l.hub}, broken: make(chan error, 1)}
	l.mu.Lock()
	l.conn, l.since, l.name, l.on = conn, l.hub.now(), name, map[string]struct{}{}
	clear(l.wishes)
	l.steps++
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

// drop gives a connection up.
func (l *link) drop(conn *line) {
	if conn != nil {
		conn.Wait() // first: who reads it may still be told what is confirmed
	}
	l.mu.Lock()
	l.conn, l.on = nil, nil
	clear(l.wishes)
	l.mu.Unlock()
	l.hub.anew(l) // what the old connection would have confirmed
}

// listen has a connection read until it breaks.
func (l *link) listen(conn *line) error {
	conn.Start(l.hub.o.Poller, conn)
	select {
	case err := <-conn.broken:
		return err
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}

// line is a connection of a link.
type line struct {
	*redispipe.Subscription

	turns
	link   *link
	broken chan error // gets why it is of no use any more
}

// breaks has the link open another connection.
func (c *line) breaks(err error) {
	select {
	case c.broken <- err:
	default:
	}
}

// Message implements redispipe.Listener.
func (c *line) Message(r *fiber.Round, channel, text []byte) (more bool) {
	l := c.link
	ours, behind := l.hub.hear(r, &c.turns, channel, text)
	if !ours && string(channel) == l.probing() {
		l.hearProbe(string(text))
	}
	if behind != nil {
		l.hub.wg.Go(func() { // ends when the room has caught up
			behind.drainAll()
			c.Resume()
		})
	}
	return behind == nil
}

// Refused implements redispipe.Listener.
func (c *line) Refused(err error) {
	l := c.link
	if l.ctx.Err() == nil && l.refusals.fresh(codeOf(err), l.hub.now()) {
		l.hub.o.Log.Warn("subscribing was refused", "server", l.addr, "error", err)
	}
	l.hub.refused(l)
}

// Broken implements redispipe.Listener.
func (c *line) Broken(err error) { c.breaks(err) }

// Confirmed implements redispipe.Listener.
func (c *line) Confirmed(channel string, joined bool) {
	l := c.link
	l.mu.Lock()
	l.steps++
	_, had := l.on[channel]
	if joined {
		l.on[channel] = struct{}{}
	} else {
		delete(l.on, channel)
	}
	mine := channel == l.probe
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
		l.hub.confirmed(l, channel, had)
	default:
		l.hub.parted(l, true, channel)
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
		err := l.tell(conn, "unsubscribe", part)
		if err == nil {
			err = l.tell(conn, "subscribe", join)
		}
		if err != nil {
			conn.breaks(err)
		}
	}
}

// take empties the queue.
func (l *link) take() (conn *line, join, part []string) {
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
	l.steps++
	return l.conn, join, part
}

// tell sends a command for channels; on a cluster one for each slot.
func (l *link) tell(conn *line, command string, channels []string) error {
	if len(channels) == 0 {
		return nil
	}
	if l.hub.cluster == nil {
		return conn.Tell(command, channels...) //nolint:wrapcheck // listen's
	}
	bySlot := map[string][]string{}
	for _, c := range channels {
		bySlot[tagOf(c)] = append(bySlot[tagOf(c)], c)
	}
	for _, some := range bySlot {
		if err := conn.Tell("s"+command, some...); err != nil {
			return err //nolint:wrapcheck // listen's
		}
	}
	return nil
}
