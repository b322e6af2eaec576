package pubsub

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// countEvery is how often a link's channels are counted by the server, in probes.
const countEvery = 10

// Health is how one subscription connection is.
type Health struct {
	Server   string        // its address; "" for the only one
	Channels int           // that it is subscribed to
	Silent   time.Duration // since the newest probe was sent that it has heard, or since the hub began
	Healthy  bool
}

// Links returns how the subscription connections are, in the order of their servers.
func (h *Hub) Links() []Health {
	h.mu.RLock()
	out := make([]Health, 0, len(h.links))
	for _, l := range h.links {
		l.mu.Lock()
		out = append(out, Health{Server: l.addr, Channels: len(l.on), Silent: l.silent(), Healthy: l.healthy()})
		l.mu.Unlock()
	}
	h.mu.RUnlock()
	slices.SortFunc(out, func(a, b Health) int { return strings.Compare(a.Server, b.Server) })
	return out
}

// Silent returns for how long no subscription connection has proven that it hears. Each is asked every ProbeEvery, so more
// than twice that means that none works.
func (h *Hub) Silent() time.Duration {
	least := h.now()
	for _, l := range h.Links() {
		least = min(least, l.Silent)
	}
	return least
}

// Healthy reports whether a subscription connection hears. One that does is enough: if one server of a cluster is away
// its rooms suffer on every node, so no node is the better place for the others.
func (h *Hub) Healthy() bool {
	return slices.ContainsFunc(h.Links(), func(l Health) bool { return l.Healthy })
}

func (l *link) silent() time.Duration { return l.hub.now() - time.Duration(l.heard.Load()) }

func (l *link) healthy() bool { return l.heard.Load() > 0 && l.silent() < 2*l.hub.o.ProbeEvery }

// probing returns the channel that the link hears probes on.
func (l *link) probing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.probe
}

// probeBy has the link hear probes on another channel from now on.
func (l *link) probeBy(channel string) {
	l.mu.Lock()
	old := l.probe
	l.probe = channel
	_, had := l.on[old]
	l.mu.Unlock()
	if had {
		l.wish(false, old)
	}
	l.wish(true, channel)
}

// hearProbe takes a probe, which says when it was sent.
func (l *link) hearProbe(text string) {
	if sent, err := strconv.ParseInt(text, 10, 64); err == nil {
		l.heard.Store(max(sent, l.heard.Load()))
	}
}

// prove has the link hear what the hub itself publishes, through the store's client: where changes are published. A
// connection that is alive and yet hears none (its server was demoted, say, or has forgotten it) is made anew.
func (l *link) prove() {
	every := l.hub.o.ProbeEvery
	next := l.hub.now() + every
	var answered time.Duration // when the first probe was sent that was published and is not heard yet; 0 for none
	for n := 1; ; {
		last := l.last()
		timer := time.NewTimer(min(next, max(last+2*every, l.hub.now()+every/8)) - l.hub.now())
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return
		case <-l.ready: // it can hear them from now on
			next = 0
		case <-timer.C:
		}
		timer.Stop()
		now := l.hub.now()
		last = l.last()
		if answered <= last {
			answered = 0
		}
		// While nothing can be published nothing is proven, but a connection that is silent for that long is not trusted.
		if silent := now - last; silent >= 2*every && (answered > 0 && now-answered > every/2 || silent >= 4*every) {
			l.renew("it does not hear what is published")
			answered = 0
		}
		if now < next {
			continue
		}
		next = now + time.Duration(float64(every)*(0.9+0.2*rand.Float64())) //nolint:gosec // so that nodes don't do it together
		sent, ok := l.sendProbe()
		switch {
		case !ok: // soon once more: a connection that is new is not healthy before it has heard one
			next = min(next, l.hub.now()+time.Second)
		case answered == 0:
			answered = sent
		}
		if n++; n%countEvery == 0 {
			l.count()
		}
	}
}

// last is when the link was known to hear, or has begun anew.
func (l *link) last() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return l.hub.now()
	}
	return max(time.Duration(l.heard.Load()), l.since)
}

// sendProbe publishes a probe and reports whether the server has taken it.
func (l *link) sendProbe() (sent time.Duration, ok bool) {
	channel := l.probing()
	if channel == "" || !l.has(channel) {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.hub.o.ProbeEvery)
	defer cancel()
	sent = l.hub.now()
	text := strconv.FormatInt(int64(sent), 10)
	var err error
	if l.hub.cluster == nil {
		err = l.hub.o.Client.Publish(ctx, channel, text).Err()
	} else {
		err = l.hub.o.Client.SPublish(ctx, channel, text).Err()
	}
	return sent, err == nil
}

// renew replaces the connection; each confirmation then makes its room look into its log.
func (l *link) renew(why string) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return
	}
	l.hub.Stats.Deaf.Add(1)
	l.replace(conn, why)
}

func (l *link) replace(conn *line, why string) {
	l.hub.o.Log.Warn("subscription made anew", "server", l.addr, "why", why)
	conn.breaks(errReplaced)
}

// errReplaced is why a connection is given up that has not failed.
var errReplaced = errors.New("it is made anew")

// count compares how many channels the server thinks that the link has with what the link does, and renews it if they
// differ while nothing is under way. It is left out where the server does not tell.
func (l *link) count() {
	for range 2 {
		l.mu.Lock()
		name, steps, mine := l.name, l.steps, len(l.on)
		l.mu.Unlock()
		if name == "" {
			return
		}
		theirs, ok := l.countThere(name)
		l.mu.Lock()
		quiet := steps == l.steps && len(l.wishes) == 0
		l.mu.Unlock()
		if !ok || !quiet || theirs == mine {
			return
		}
		if !pause(l.ctx, l.hub.o.ProbeEvery) { // a command may be under way that is not answered yet
			return
		}
		l.mu.Lock()
		quiet = steps == l.steps
		l.mu.Unlock()
		if !quiet {
			return
		}
	}
	l.renew("the server counts other channels")
}

// countThere asks the server how many channels the connection of that name has.
func (l *link) countThere(name string) (channels int, ok bool) {
	ctx, cancel := context.WithTimeout(l.ctx, l.hub.o.ProbeEvery)
	defer cancel()
	list := redis.NewStringCmd(ctx, "client", "list", "type", "pubsub")
	var err error
	if c := l.client.Load(); c != nil {
		err = c.Process(ctx, list)
	} else {
		err = l.hub.o.Client.Process(ctx, list)
	}
	if err != nil {
		return 0, false
	}
	field := " sub="
	if l.hub.cluster != nil {
		field = " ssub="
	}
	for line := range strings.Lines(list.Val()) {
		if !strings.Contains(line, " name="+name+" ") {
			continue
		}
		_, rest, found := strings.Cut(line, field)
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		return n, found && err == nil
	}
	return 0, false
}
