package store

import (
	"context"
	"slices"
	"strings"

	"github.com/hearthstore/hearth"
)

// DueItem is something that ends by time.
type DueItem struct {
	Kind DueKind
	Room string
	Peer string // of a lease or a grace

	Session     string // that ended for all
	Incarnation string // of a node that was not heard of
	Partition   int    // of what belongs to no room
}

// DueKind says what it is that ends.
type DueKind string

// What ends by time. Each is settled by a script of its own.
const (
	DuePeer  DueKind = "peer"  // the lease of a peer that joined over HTTP, or the grace of one whose socket is gone
	DueNode  DueKind = "node"  // the lease of a node
	DueTimes DueKind = "time"  // the earliest of a room's entries and locks
	DueLog   DueKind = "log"   // the oldest change of a log
	DueEmpty DueKind = "empty" // a session that lingers without peers
	DueDead  DueKind = "dead"  // what names those who were in a session that ended for all
	DueRoom  DueKind = "room"  // what a room keeps beyond its sessions
	DueGone  DueKind = "gone"  // what is known of 100ms clients that timed out
	DueSums  DueKind = "sums"  // the oldest summary of a partition's ended sessions

	DueRevoked DueKind = "revoked" // revocations of tokens
)

// Long reports whether such an item may be many round trips.
func (k DueKind) Long() bool { return k == DueNode || k == DueDead }

func parseDueItem(s string) DueItem {
	kind, rest, _ := strings.Cut(s, "/")
	room, peer, _ := strings.Cut(rest, "/")
	switch DueKind(kind) {
	case DueDead:
		return DueItem{Kind: DueDead, Room: room, Session: peer}
	case DueNode:
		return DueItem{Kind: DueNode, Incarnation: room}
	}
	return DueItem{Kind: DueKind(kind), Room: room, Peer: peer}
}

const (
	expireBatch  = 100 // entries and locks of a room that end by one script
	revokedBatch = 500 // revocations that are over and are forgotten by one
	sumsBatch    = 500 // summaries of ended sessions
	reapBatch    = 100 // peers of a dead node that leave by one round trip
	buryBatch    = 500 // peers of a session that ended for all that are forgotten by one script, about
)

// Settle does what the deadlines of items ask for, of those that are still due: any node may call it, any number of times.
// Most items are a run of a script each, and these are one round trip. One that fails does not hold up the others; the error
// is of the first such, or of one that says of the store that it doesn't answer.
func (s *Store) Settle(ctx context.Context, items ...DueItem) (failed error) {
	note := func(err error) { failed = graver(failed, err) }
	single := make([]DueItem, 0, len(items))
	runs := make([]invocation, 0, len(items))
	for _, item := range items {
		if !item.Kind.Long() {
			single, runs = append(single, item), append(runs, s.settling(item))
		}
	}
	replies, err := s.runEach(ctx, runs)
	note(err)
	for i, res := range replies {
		if res == nil {
			continue
		}
		r, err := statusOf(res, nil)
		note(err)
		if single[i].Kind == DueTimes && r.num(0) == 1 {
			note(s.expire(ctx, single[i].Room))
		}
	}
	for _, item := range items {
		switch item.Kind { //nolint:exhaustive // the others are settled
		case DueDead:
			note(s.bury(ctx, item.Room, item.Session))
		case DueNode:
			note(s.reap(ctx, item.Partition, item.Incarnation))
		}
	}
	return failed
}

// settling returns the run of a script that settles an item.
func (s *Store) settling(item DueItem) invocation {
	room := func(v verb, args ...any) invocation {
		return invocation{v, s.keys.room(item.Room), append([]any{item.Room}, args...)}
	}
	p := item.Partition
	switch item.Kind {
	case DueSums:
		return invocation{verbSumsTrim, s.keys.whole(p, s.keys.due(p), s.keys.sums(p), s.keys.ended(p)), []any{sumsBatch}}
	case DueRevoked:
		return invocation{verbRevokedTrim, s.keys.whole(p, s.keys.due(p)), []any{revokedBatch}}
	case DueGone:
		return invocation{verbGoneTrim, s.keys.whole(p, s.keys.due(p)), nil}
	case DuePeer:
		return room(verbExpirePeer, hearth.NewNonce(), item.Peer)
	case DueTimes:
		return room(verbExpire, hearth.NewNonce(), expireBatch)
	case DueEmpty:
		return room(verbRoomEmpty, hearth.NewNonce())
	case DueRoom:
		return room(verbRoomExpire, "")
	case DueLog, DueDead, DueNode:
	}
	return room(verbLogTrim)
}

// expire has all of a room's entries and locks end that are over, a batch after the other.
func (s *Store) expire(ctx context.Context, room string) error {
	for {
		r, err := s.call(ctx, verbExpire, s.keys.room(room), room, hearth.NewNonce(), expireBatch)
		if err != nil || r.num(0) == 0 {
			return err
		}
	}
}

// reap lets everybody leave whom an incarnation that has ended has left behind. Any node may call it, any number of times.
func (s *Store) reap(ctx context.Context, partition int, incarnation string) error {
	for {
		places, err := s.call(ctx, verbOrphans, s.keys.whole(partition, s.keys.due(partition)), incarnation, reapBatch)
		if err != nil || len(places) == 0 {
			return err
		}
		runs := make([]invocation, len(places))
		for i := range places {
			room, peer, _ := strings.Cut(places.str(i), "/")
			runs[i] = invocation{verb: verbReap, keys: s.keys.room(room), args: []any{room, hearth.NewNonce(), peer, incarnation}}
		}
		done, err := s.runEach(ctx, runs)
		if !slices.ContainsFunc(done, func(r reply) bool { return r != nil }) { // else the others have their turn
			return err
		}
	}
}

// bury forgets where those were who were in a session that ended for all.
func (s *Store) bury(ctx context.Context, room, session string) error {
	for cursor := "0"; ; {
		r, err := s.call(ctx, verbBury, s.keys.room(room), room, session, cursor, buryBatch)
		if err != nil || r.num(1) == 0 {
			return err
		}
		cursor = r.str(0)
	}
}
