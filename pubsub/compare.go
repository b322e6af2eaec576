package pubsub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hearthstore/hearth"
)

const (
	compareMost   = 200             // rooms that are compared by one call
	compareWithin = 2 * time.Second // how long that may take
)

// glimpse is a room and where the hub was in it.
type glimpse struct {
	room *room
	at   hearth.Cursor
}

// compare looks, room by room, whether the store's logs stand where the hub is, until it closes: a change that went unheard
// with nothing after it is noticed by nothing else. One call of the store is about quiet rooms of one tag; a room that
// differs has until the next call to hear what may be on its way, then its log is read.
func (h *Hub) compare() {
	var behind []glimpse
	turn := 0
	for h.pause(h.o.CompareEvery) {
		for _, g := range behind {
			if g.room.remains(g.at) {
				h.Stats.Behind.Add(1)
				h.o.Log.Warn("changes of a room went unheard", "room", g.room.name)
			}
		}
		behind = h.differing(h.quiet(&turn))
	}
}

// quiet returns rooms of one tag of which nothing was heard for a while, the longest first: of one that is suspected, or of
// the next tag in turn that has any.
func (h *Hub) quiet(turn *int) []glimpse {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if r := h.suspected(); r != nil {
		if at, ok := r.position(); ok {
			return []glimpse{{r, at}}
		}
	}
	tags := slices.Sorted(maps.Keys(h.slots))
	now, old := h.now(), h.now()-h.o.ProbeEvery
	for range tags {
		s := h.slots[tags[*turn%len(tags)]]
		*turn = (*turn + 1) % len(tags)
		var out []glimpse
		for _, r := range s.rooms {
			if time.Duration(r.looked.Load()) <= old {
				if at, ok := r.position(); ok {
					out = append(out, glimpse{r, at})
				}
			}
		}
		if len(out) == 0 {
			continue
		}
		if len(out) > compareMost {
			slices.SortFunc(out, func(a, b glimpse) int { return cmp.Compare(a.room.looked.Load(), b.room.looked.Load()) })
			out = out[:compareMost]
		}
		for _, g := range out {
			g.room.looked.Store(int64(now))
		}
		return out
	}
	return nil
}

// suspected returns a room that is to be compared soon, nil if there is none.
func (h *Hub) suspected() *room {
	select {
	case r := <-h.doubts:
		return r
	default:
		return nil
	}
}

// differing returns those of the rooms whose logs stand elsewhere.
func (h *Hub) differing(rooms []glimpse) (out []glimpse) {
	if len(rooms) == 0 {
		return nil
	}
	names := make([]string, len(rooms))
	for i, g := range rooms {
		names[i] = g.room.name
	}
	ctx, cancel := context.WithTimeout(h.ctx, compareWithin)
	defer cancel()
	heads, err := h.o.Heads(ctx, names)
	if err != nil || len(heads) != len(rooms) {
		if h.ctx.Err() == nil {
			h.o.Log.Warn("can't compare rooms with the store", "rooms", len(rooms), "error", err)
		}
		return nil
	}
	h.Stats.Compared.Add(int64(len(rooms)))
	for i, g := range rooms {
		if heads[i] != g.at {
			out = append(out, g)
		}
	}
	return out
}

// position returns where the hub is in the room, zero if its session has ended; ok is false while that isn't known or is
// being found out.
func (r *room) position() (at hearth.Cursor, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known || r.repairing || r.state != subscribed || !r.inbox.empty() {
		return hearth.Cursor{}, false
	}
	if r.ended {
		return hearth.Cursor{}, true
	}
	return r.pos, true
}

// remains reports whether the room still is at a position, and has its log read then.
func (r *room) remains(at hearth.Cursor) bool {
	now, ok := r.position()
	if !ok || now != at {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gap()
	r.repair()
	return true
}

// suspect has the room compared soon.
func (r *room) suspect() {
	select {
	case r.hub.doubts <- r:
	default: // many are; its turn comes
	}
}
