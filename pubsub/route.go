package pubsub

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// cluster is a client that knows which server has which channel.
type cluster interface {
	// ForEachMaster asks the servers for the slots before it calls f.
	ForEachMaster(ctx context.Context, f func(ctx context.Context, c *redis.Client) error) error
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
}

const (
	routeEvery  = time.Second            // how often a cluster's slots are compared with what the client knows of them
	routePause  = 20 * time.Millisecond  // how long it takes at least from one look at the cluster to the next; it is doubled ...
	routeAtMost = 500 * time.Millisecond // ... up to that while looks show nothing new
	askWithin   = 2 * time.Second        // how long the cluster may take to say where its slots are
)

// slot is what the channels that share a tag share: they are on one server, and move together. A cluster takes several
// channels in one command only if they are of one slot.
type slot struct {
	tag     string
	probe   string               // a probe's channel with that tag, "" if there is none
	notices []string             // channels of notices with that tag
	link    atomic.Pointer[link] // set under the hub's lock; nil while it is not known who has it
	rooms   map[string]*room     // by channel; guarded by the hub's lock
	// dubious: its channels may not be subscribed to although that was asked for.
	dubious atomic.Bool
}

// tagOf returns by what Redis Cluster chooses a channel's slot.
func tagOf(channel string) string {
	if _, rest, ok := strings.Cut(channel, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag
		}
	}
	return channel
}

// slotOf returns the slot of a channel. h.mu is held.
func (h *Hub) slotOf(channel string) *slot {
	tag := tagOf(channel)
	s := h.slots[tag]
	if s == nil {
		s = &slot{tag: tag, rooms: map[string]*room{}}
		h.slots[tag] = s
		if h.cluster == nil {
			s.link.Store(h.links[""])
		} else {
			h.stir()
		}
	}
	return s
}

// stir has steer look again at where the slots are.
func (h *Hub) stir() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// stray says that a slot is not where it is taken to be, or its channels not subscribed to.
func (h *Hub) stray(s *slot) {
	s.dubious.Store(true)
	h.astray.Store(true)
	h.stir()
}

// steer keeps the slots on links to the servers that have them, until the hub closes.
func (h *Hub) steer() {
	tick := time.NewTicker(routeEvery)
	defer tick.Stop()
	wait := routePause
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.wake:
		case <-tick.C:
		}
		fresh := h.astray.Swap(false)
		open, err := h.route(fresh)
		if err != nil && h.ctx.Err() == nil {
			h.o.Log.Warn("can't tell which server has which rooms", "error", err)
			fresh = true
			h.astray.Store(true)
			h.stir()
		}
		if !fresh {
			continue
		}
		if !open && err == nil {
			wait = routePause
		}
		if !h.pause(wait) {
			return
		}
		wait = min(2*wait, routeAtMost)
	}
}

// route puts each slot on the link to its server. fresh: the cluster is asked, else the client's memory of it. open: of some
// slots channels are not subscribed to, although the servers are those that were known.
func (h *Hub) route(fresh bool) (open bool, err error) {
	h.mu.RLock()
	slots := slices.Collect(maps.Values(h.slots))
	h.mu.RUnlock()
	servers, err := h.locate(slots, fresh)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return false, nil
	}
	for i, s := range slots {
		l := s.link.Load()
		if h.cluster != nil {
			if servers[i] == nil {
				continue
			}
			l = h.linkTo(servers[i].Options().Addr, servers[i])
		}
		if l != s.link.Load() {
			h.move(s, l)
		} else if s.dubious.Swap(false) {
			open = h.insist(s, l) || open
		}
	}
	h.assignProbes()
	return open, err
}

// locate returns each slot's server; nil where that is not to be had.
func (h *Hub) locate(slots []*slot, fresh bool) ([]*redis.Client, error) {
	if h.cluster == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(h.ctx, askWithin)
	defer cancel()
	var failed error
	if fresh {
		failed = h.cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
	}
	servers := make([]*redis.Client, len(slots))
	for i, s := range slots {
		c, err := h.cluster.MasterForKey(ctx, "{"+s.tag+"}")
		if err != nil {
			failed = errors.Join(failed, err)
			break // the others fare no better
		}
		servers[i] = c
	}
	return servers, failed
}

// move has a slot's channels subscribed to on another link. What is published before that is confirmed is read from the
// logs. h.mu is held.
func (h *Hub) move(s *slot, to *link) {
	from := s.link.Swap(to)
	s.dubious.Store(false)
	if from != nil {
		h.Stats.Moved.Add(1)
		h.o.Log.Info("rooms are on another server now", "tag", s.tag, "rooms", len(s.rooms), "from", from.addr, "to", to.addr)
	}
	for _, r := range slices.Collect(maps.Values(s.rooms)) {
		if from != nil && from.has(r.channel) {
			from.wish(false, r.channel)
		}
		if h.leave(r) != isGone {
			r.wish(true)
		}
	}
	for _, c := range s.notices {
		if from != nil && from.has(c) {
			from.wish(false, c)
		}
		to.wish(true, c)
	}
}

// insist asks once more for what was asked for and not confirmed, and reports whether there was any. h.mu is held.
func (h *Hub) insist(s *slot, l *link) (open bool) {
	for _, r := range slices.Collect(maps.Values(s.rooms)) {
		has := l.has(r.channel)
		switch {
		case has && r.parting():
			r.wish(false)
			open = true
		case !has && h.leave(r) != isGone:
			r.wish(true)
			open = true
		}
	}
	for _, c := range s.notices {
		if !l.has(c) {
			l.wish(true, c)
			open = true
		}
	}
	if s.probe != "" && s.probe == l.probing() && !l.has(s.probe) {
		l.wish(true, s.probe)
		open = true
	}
	return open
}

// anew says that a link has a new connection, or none: what was being unsubscribed from is so now. It returns the channels
// that are wanted.
func (h *Hub) anew(l *link) (channels []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.slots {
		if s.link.Load() != l {
			continue
		}
		channels = append(channels, s.notices...)
		for _, r := range slices.Collect(maps.Values(s.rooms)) {
			if h.leave(r) != isGone {
				channels = append(channels, r.channel)
			}
		}
	}
	return channels
}

// refused says that the server of a link did not do what it was asked: which command that was is not told, so all that is
// not confirmed is dubious.
func (h *Hub) refused(l *link) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.slots {
		if s.link.Load() == l {
			h.stray(s)
		}
	}
}

// linkTo returns the link to a server, which client is for; nil for the only one. h.mu is held.
func (h *Hub) linkTo(addr string, client *redis.Client) *link {
	l := h.links[addr]
	if l != nil {
		l.client.Store(client) // the one from before may be closed
	} else {
		l = newLink(h, addr, client)
		h.links[addr] = l
		if h.cluster == nil {
			for _, s := range h.slots {
				s.link.Store(l)
			}
		}
		h.wg.Go(l.run)
		h.wg.Go(l.command)
		h.wg.Go(l.prove)
		if h.mover != nil {
			h.wg.Go(l.follow)
		}
	}
	return l
}

// assignProbes sees to it that each link has a probe's channel that its server has, and closes those without slots. h.mu is
// held.
func (h *Hub) assignProbes() {
	used := map[*link][]*slot{}
	for _, s := range h.slots {
		if l := s.link.Load(); l != nil {
			used[l] = append(used[l], s)
		}
	}
	for addr, l := range h.links {
		slots := used[l]
		if len(slots) == 0 && h.cluster != nil {
			delete(h.links, addr)
			l.cancel()
			continue
		}
		if slices.ContainsFunc(slots, func(s *slot) bool { return s.probe != "" && s.probe == l.probing() }) {
			continue
		}
		if i := slices.IndexFunc(slots, func(s *slot) bool { return s.probe != "" }); i >= 0 {
			l.probeBy(slots[i].probe)
		}
	}
}
