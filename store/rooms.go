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
