package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

// Room returns the state of the room's session. Errors: no_session.
func (s *Store) Room(ctx context.Context, room string) (hearth.Session, error) {
	ses, _, err := s.read(ctx, verbRoom, room, "")
	return ses, err
}

// Rooms returns a page of live rooms, and the cursor of the next page ("" after the last). A room whose session begins or
// ends meanwhile may be in it or not.
func (s *Store) Rooms(ctx context.Context, cursor string, limit int) ([]hearth.Session, string, error) {
	if limit < 1 {
		return nil, "", hearth.BadParams("limit must be at least 1")
	}
	p, after, err := parseRoomsCursor(cursor, len(s.keys.tags))
	if err != nil {
		return nil, "", err
	}
	var out []hearth.Session
	for ; p < len(s.keys.tags); p, after = p+1, "" {
		names, err := s.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.keys.rooms(p), Start: 0, Stop: -1}).Result()
		if err != nil {
			return nil, "", readError(failure("rooms", err))
		}
		for _, room := range sortedAfter(names, after) {
			if len(out) == limit {
				return out, roomsCursor(p, out[len(out)-1].Room, s.keys), nil
			}
			ses, err := s.Room(ctx, room)
			if hearth.ReasonOf(err) == hearth.ReasonNoSession {
				continue
			}
			if err != nil {
				return nil, "", err
			}
			out = append(out, ses)
		}
	}
	return out, "", nil
}

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

// expireBatch is how many entries and locks of a room end by one script.
const expireBatch = 100

// revokedBatch is how many revocations that are over are forgotten by one script.
const revokedBatch = 500

// sumsBatch is how many summaries of ended sessions are forgotten by one script.
const sumsBatch = 500

// Settle does what an item's deadline asks for, if it is still due: any node may call it, any number of times.
func (s *Store) Settle(ctx context.Context, item DueItem) error {
	v, keys, args := verbLogTrim, s.keys.room(item.Room), []any{item.Room}
	switch item.Kind {
	case DueSums:
		v, args = verbSumsTrim, []any{sumsBatch}
		keys = s.keys.whole(item.Partition, s.keys.due(item.Partition), s.keys.sums(item.Partition), s.keys.ended(item.Partition))
	case DueRevoked:
		v, keys, args = verbRevokedTrim, s.keys.whole(item.Partition, s.keys.due(item.Partition)), []any{revokedBatch}
	case DueGone:
		v, keys, args = verbGoneTrim, s.keys.whole(item.Partition, s.keys.due(item.Partition)), nil
	case DuePeer:
		v, args = verbExpirePeer, []any{item.Room, hearth.NewNonce(), item.Peer}
	case DueTimes:
		v, args = verbExpire, []any{item.Room, hearth.NewNonce(), expireBatch}
	case DueDead:
		return s.bury(ctx, item.Room, item.Session)
	case DueNode:
		return s.reap(ctx, item.Partition, item.Incarnation)
	case DueEmpty:
		v, args = verbRoomEmpty, []any{item.Room, hearth.NewNonce()}
	case DueRoom:
		v, args = verbRoomExpire, []any{item.Room, ""}
	case DueLog:
	}
	for {
		r, err := s.call(ctx, v, keys, args...)
		if err != nil || item.Kind != DueTimes || r.num(0) == 0 {
			return err
		}
		args[1] = hearth.NewNonce() // what is over at once ends at once, a batch after the other
	}
}

// Live says that a node lives, for as long as ttl, and returns all nodes that do.
func (s *Store) Live(ctx context.Context, node string, ttl time.Duration) ([]string, error) {
	r, err := s.run(ctx, verbLive, []string{s.keys.live()}, node, ttl.Milliseconds())
	if err != nil {
		return nil, readError(err)
	}
	nodes := make([]string, len(r))
	for i := range r {
		nodes[i] = r.str(i)
	}
	return nodes, nil
}

// Gone takes a node off the live ones at once.
func (s *Store) Gone(ctx context.Context, node string) error {
	if err := s.client.ZRem(ctx, s.keys.live(), node).Err(); err != nil {
		return failure("gone", err)
	}
	return nil
}

func roomsCursor(partition int, room string, k keyspace) string {
	if k.partitionOf(room) != partition { // the page ended with the partition before
		room = ""
	}
	return strconv.Itoa(partition) + "." + room
}

func parseRoomsCursor(cursor string, partitions int) (partition int, after string, err error) {
	if cursor == "" {
		return 0, "", nil
	}
	p, after, ok := strings.Cut(cursor, ".")
	n, err := strconv.Atoi(p)
	if !ok || err != nil || n < 0 || n >= partitions || after != "" && !hearth.ValidName(after) {
		return 0, "", hearth.BadParams("cursor must be one that an earlier page gave")
	}
	return n, after, nil
}

// sortedAfter sorts names and returns those after one.
func sortedAfter(names []string, after string) []string {
	slices.Sort(names)
	i, found := slices.BinarySearch(names, after)
	if found {
		i++
	}
	return names[i:]
}
