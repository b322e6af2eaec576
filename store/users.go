package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
)

// UserPeer is one place where a user is.
type UserPeer struct {
	Room    string
	Session string
	Peer    hearth.Peer
}

// UserPeers returns where a user is, hidden or not, in all rooms or one ("" for all), sorted by room and peer_id. What
// changes meanwhile may be in it or not.
func (s *Store) UserPeers(ctx context.Context, user, room string) ([]UserPeer, error) {
	first, last := 0, len(s.keys.tags)-1
	if room != "" {
		first = s.keys.partitionOf(room)
		last = first
	}
	var runs []invocation
	for p := first; p <= last; p++ {
		runs = append(runs, invocation{verbUserPeers, s.keys.whole(p, s.keys.users(p)), []any{hearth.QuoteString(user), room}})
	}
	replies, err := s.runEach(ctx, runs)
	if err != nil {
		return nil, readError(err)
	}
	out := []UserPeer{}
	for _, r := range replies {
		for ; len(r) >= 5; r = r[5:] {
			p, err := peerOf(r.str(2), r.str(3), r.str(4))
			if err != nil {
				return nil, err
			}
			out = append(out, UserPeer{Room: r.str(0), Session: r.str(1), Peer: p})
		}
	}
	sortBy(out, func(u UserPeer) string { return u.Room + "/" + u.Peer.ID }) // '/' is in no name, and before all that is
	return out, nil
}

// disconnectBatch is how many peers of a user are removed from a room by one script.
const disconnectBatch = 200

// Disconnect removes a user's peers from a room, who are told text, and returns how many they were. w is a server.
// Errors: the fence's; no_session means that there was nobody.
func (s *Store) Disconnect(ctx context.Context, room string, w Writer, user, text string) (removed int, err error) {
	op := w.Op
	for batch := 0; ; batch++ {
		if batch > 0 && op != "" {
			w.Op = op + "/" + strconv.Itoa(batch)
		}
		r, err := s.write(ctx, verbDisconnect, room, &w, hearth.QuoteString(user), hearth.QuoteString(text), disconnectBatch)
		if batch > 0 && hearth.ReasonOf(err) == hearth.ReasonNoSession {
			return removed, nil // it ended with the batch before
		}
		if err != nil {
			return removed, err
		}
		some, more, _ := strings.Cut(r.str(0), " ")
		removed += int(parseInt(some))
		if more != "1" {
			return removed, nil
		}
	}
}
