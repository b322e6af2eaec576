package store

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
)

// JoinRequest is what Join needs to know. The caller has checked names and sizes.
type JoinRequest struct {
	Room string
	Peer hearth.Peer // JoinedAt is ignored
	// KeepName and KeepData: a takeover keeps what the store has, because the client gave none.
	KeepName, KeepData bool
	Conn               string          // secret of the new connection
	Incarnation        string          // of the node that has its socket, begun by Begin
	Lease              time.Duration   // 0: the peer has a socket
	Implicit           bool            // a 100ms client, whose grace is longer
	Peers              int             // how many peers the snapshot has at most, the joining one included; 0: none
	Watch              hearth.Patterns // of a 100ms client it is kept for its return
	// Return makes nothing happen unless the peer is a member: its connection is replaced and that is all. Its role, name,
	// data and what it watches are as they were.
	Return bool
	// Again: Conn has joined, and is given another snapshot; ErrSuperseded if it is not the peer's connection any more.
	Again bool
	// NotAfter is the last moment, in epoch milliseconds by the store's clock, at which the join may happen: a LateError says
	// that it arrived later, and nothing happened. 0: whenever it arrives.
	NotAfter int64
}

// LateError says that a join arrived at the store after its NotAfter.
type LateError struct {
	Now int64 // by the store's clock
}

func (e *LateError) Error() string { return "store: the join arrived too late" }

// ErrSuperseded says that the connection that has joined is none any more: another one took the peer over, or it is no member.
var ErrSuperseded = errors.New("store: the connection is not the peer's any more")

// What a return finds if the peer is no member.
var (
	ErrAbsent   = errors.New("store: the peer is no member, or another user's")
	ErrTimedOut = errors.New("store: the peer has timed out lately")
)

// Joined is the membership that Join made and the snapshot at the session's seq.
type Joined struct {
	hearth.Session
	Own       hearth.Peer
	OwnSeq    uint64 // of its join, which no takeover changes
	TakenOver bool   // the peer was a member already: nobody is told of a join
	ExpiresAt int64  // of the lease, epoch milliseconds; 0 without one
	Peers     []hearth.Peer
	Entries   []hearth.Entry // those watched; absent ones that were named exactly have no data
	// Watch is what the peer watches: as the request said, or of a return as it was kept.
	Watch hearth.Patterns
	// Left are the texts of changes, in order: of a return, the last leaves of those who left since the peer joined and are
	// not seen as members now, as far as the log has them. In a large room Peers has the peer alone, else all.
	Left []string
}

// Join makes a peer a member of the room's session, beginning one if there is none. A peer of the same id and user is
// taken over: it keeps its role, groups and joined_at, its connection becomes Conn, and the node that serves the old one
// is told. ErrLapsed says that the incarnation was ended, and nothing happened; so do ErrAbsent and ErrTimedOut of a return.
// Errors: peer_exists (the id is another user's), room_closed (a new peer, and the room is shut), too_many (peers,
// or peers of the user), too_large, rate_limited.
func (s *Store) Join(ctx context.Context, q JoinRequest) (Joined, error) {
	p := &q.Peer
	name, data := hearth.QuoteString(p.Name), hearth.QuoteString(p.Data)
	if q.KeepName {
		name = ""
	}
	if q.KeepData {
		data = ""
	}
	flags, lease := "", ""
	if p.Hidden {
		flags = "h"
	}
	if q.Implicit {
		flags += "i"
	}
	if q.Lease > 0 {
		lease = millis(q.Lease)
	}
	kept := ""
	switch {
	case q.Return:
		kept = "*"
	case q.Implicit:
		kept = keptText(q.Watch)
	}
	session := ""
	if !q.Again {
		session = s.newSessionID(q.Room)
	}
	args := append([]any{
		q.Room, hearth.NewNonce(), p.ID, hearth.QuoteString(p.User), p.Role, name, data, strings.Join(p.Groups, ","),
		q.Conn, q.Incarnation, flags, lease, session, hearth.NewEpoch(), q.Peers, kept, q.NotAfter,
	}, watchArgs(q.Watch)...)
	r, err := s.run(ctx, verbJoin, s.rooms.of(q.Room), args...)
	if err == nil {
		switch r.str(0) {
		case "lapsed":
			return Joined{}, ErrLapsed
		case "late":
			return Joined{}, &LateError{Now: r.num(1)}
		case "superseded":
			return Joined{}, ErrSuperseded
		case "absent":
			return Joined{}, ErrAbsent
		case "timed_out":
			return Joined{}, ErrTimedOut
		}
	}
	if err == nil && r.str(0) == "too_many_of_user" {
		s.rates.refused[UserBound].Add(1)
	}
	if r, err = statusOf(r, err); err != nil {
		return Joined{}, err
	}
	if r.list(10).long() || r.list(11).long() {
		fiber.From(ctx).Leave()
	}
	j := Joined{Session: sessionOf(q.Room, r), TakenOver: r.num(6) == 1, ExpiresAt: r.num(7)}
	own, err := peerOf(p.ID, r.str(8), r.str(9))
	if err != nil {
		return Joined{}, err
	}
	j.Own, j.OwnSeq = own, joinSeq(r.str(8))
	if q.Peers > 0 || q.Return {
		if j.Peers, err = peersOf(r.list(10)); err != nil {
			return Joined{}, err
		}
		j.Peers = append(j.Peers, own)
	}
	if j.Watch = q.Watch; q.Return {
		j.Watch = keptPatterns(r.str(12))
	}
	j.Entries = watchedEntries(j.Watch, r.list(11))
	for i := range r.list(13) {
		j.Left = append(j.Left, r.list(13).str(i))
	}
	slices.Reverse(j.Left)
	return j, nil
}

// Leave ends the membership of w's connection. It returns whether the session ended with it. A repeat gets not_member or
// session_ended.
func (s *Store) Leave(ctx context.Context, room string, w Writer, reason hearth.LeaveReason) (ended bool, err error) {
	r, err := s.write(ctx, verbLeave, room, &w, string(reason))
	if err != nil {
		return false, err
	}
	return r.num(0) == 1, nil
}

// Remove ends another peer's membership, which is told text. Errors: the fence's, not_found.
func (s *Store) Remove(ctx context.Context, room string, w Writer, peer, text string) (ended bool, err error) {
	r, err := s.write(ctx, verbRemove, room, &w, peer, hearth.QuoteString(text))
	if err != nil {
		return false, err
	}
	return r.num(0) == 1, nil
}

// Renew extends the lease of a peer that joined over HTTP and returns its new deadline in epoch milliseconds. Errors: the
// fence's; bad_params if the peer has no lease.
func (s *Store) Renew(ctx context.Context, room string, w Writer) (int64, error) {
	r, err := s.write(ctx, verbRenew, room, &w)
	if err != nil {
		return 0, err
	}
	return r.num(0), nil
}

// End ends the room's session for all and returns its id; members are told text.
func (s *Store) End(ctx context.Context, room string, w Writer, text string) (string, error) {
	return s.end(ctx, room, w, text, "")
}

// EndAndShut is End, after which the room takes no new peers for a time.
func (s *Store) EndAndShut(ctx context.Context, room string, w Writer, text string, shut time.Duration) (string, error) {
	return s.end(ctx, room, w, text, millis(shut))
}

func (s *Store) end(ctx context.Context, room string, w Writer, text, shut string) (string, error) {
	r, err := s.write(ctx, verbEnd, room, &w, hearth.QuoteString(text), shut)
	if err != nil {
		return "", err
	}
	return r.str(0), nil
}

// UpdatePeer changes a peer's name and data; nil keeps what is there. Errors: the fence's, not_found, too_large.
func (s *Store) UpdatePeer(ctx context.Context, room string, w Writer, peer string, name, data *string) (hearth.Peer, error) {
	quoted := func(v *string) string {
		if v == nil {
			return ""
		}
		return hearth.QuoteString(*v)
	}
	r, err := s.write(ctx, verbPeerUpdate, room, &w, peer, quoted(name), quoted(data))
	if err != nil {
		return hearth.Peer{}, err
	}
	return peerOf(peer, r.str(0), r.str(1))
}

// AddToGroup puts a peer into a group and returns all its groups. Errors: the fence's, not_found, too_many.
func (s *Store) AddToGroup(ctx context.Context, room string, w Writer, peer, group string) ([]string, error) {
	return s.regroup(ctx, verbGroupAdd, room, w, peer, group)
}

// RemoveFromGroup takes a peer out of a group and returns what is left of its groups. Errors: the fence's, not_found.
func (s *Store) RemoveFromGroup(ctx context.Context, room string, w Writer, peer, group string) ([]string, error) {
	return s.regroup(ctx, verbGroupRemove, room, w, peer, group)
}

func (s *Store) regroup(ctx context.Context, v verb, room string, w Writer, peer, group string) ([]string, error) {
	r, err := s.write(ctx, v, room, &w, peer, group)
	if err != nil {
		return nil, err
	}
	return splitNames(r.str(0)), nil
}

// Peer returns one peer, hidden or not. session may be "" for whichever is live.
// Errors: no_session, session_ended, not_found.
func (s *Store) Peer(ctx context.Context, room, session, peer string) (hearth.Session, hearth.Peer, error) {
	ses, r, err := s.read(ctx, verbPeerGet, room, session, peer)
	if err != nil {
		return hearth.Session{}, hearth.Peer{}, err
	}
	p, err := peerOf(peer, r.str(0), r.str(1))
	return ses, p, err
}

// Snapshot is what somebody who begins to watch a room is shown, all of it at the session's seq.
type Snapshot struct {
	hearth.Session
	HiddenCount int
	Own         *hearth.Peer // the peer that was asked for, without its data; nil if there is none of that id
	OwnSeq      uint64       // of its join, which no takeover changes
	Peers       []hearth.Peer
	Entries     []hearth.Entry // those watched; absent ones that were named exactly have no data
}

// Snapshot returns the live session's state, the peer own ("" for none), at most limit peers, hidden ones only if they
// are asked for, and the watched entries. Errors: no_session.
func (s *Store) Snapshot(ctx context.Context, room, own string, limit int, hidden bool, watch hearth.Patterns) (Snapshot, error) {
	flag := ""
	if hidden {
		flag = "1"
	}
	ses, r, err := s.read(ctx, verbSnapshot, room, "", append([]any{own, limit, flag}, watchArgs(watch)...)...)
	if err != nil {
		return Snapshot{}, err
	}
	snap := Snapshot{Session: ses, HiddenCount: int(r.num(0))}
	if r.has(1) {
		p, err := peerOf(own, r.str(1), "")
		if err != nil {
			return Snapshot{}, err
		}
		snap.Own, snap.OwnSeq = &p, joinSeq(r.str(1))
	}
	if snap.Peers, err = peersOf(r.list(2)); err != nil {
		return Snapshot{}, err
	}
	snap.Entries = watchedEntries(watch, r.list(3))
	return snap, nil
}

// scanCount is how many peers one step of a scan asks for: what a script may read without holding up others.
const scanCount = 500

// Peers returns the session's peers, hidden ones too, sorted by peer_id. A peer that joins or leaves meanwhile may be in
// it or not. session may be "" for whichever is live.
func (s *Store) Peers(ctx context.Context, room, session string) (hearth.Session, []hearth.Peer, error) {
	byID := map[string]hearth.Peer{} // a scan may return one peer twice
	var ses hearth.Session
	for cursor := "0"; ; {
		now, r, err := s.read(ctx, verbPeerScan, room, session, cursor, scanCount)
		if err != nil {
			return hearth.Session{}, nil, err
		}
		session, ses = now.ID, now // what follows is of the same session
		peers, err := peersOf(r.list(1))
		if err != nil {
			return hearth.Session{}, nil, err
		}
		for _, p := range peers {
			byID[p.ID] = p
		}
		if cursor = r.str(0); cursor == "0" {
			break
		}
	}
	out := make([]hearth.Peer, 0, len(byID))
	for _, p := range byID {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return ses, out, nil
}

// recordFields is how many lines a peer's record has; lua/_peer.lua says which.
const recordFields = 10

func peerOf(id, record, data string) (hearth.Peer, error) {
	f := strings.Split(record, "\n")
	if len(f) != recordFields+1 {
		return hearth.Peer{}, hearth.Errorf(hearth.ReasonInternal, "malformed record of peer %s", id)
	}
	return hearth.Peer{
		ID: id, User: hearth.UnquoteString(f[1]), Role: f[2], Groups: splitNames(f[3]), Name: hearth.UnquoteString(f[4]),
		Hidden: strings.Contains(f[6], "h"), JoinedAt: parseInt(f[8]), Data: hearth.UnquoteString(data),
	}, nil
}

// joinSeq returns the seq of the join in a record that peerOf has read.
func joinSeq(record string) uint64 {
	return uint64(parseInt(strings.Split(record, "\n")[recordFields-1]))
}

// peersOf reads triples of peer, record and data.
func peersOf(r reply) ([]hearth.Peer, error) {
	out := make([]hearth.Peer, 0, len(r)/3+1)
	for i := 0; i+2 < len(r); i += 3 {
		p, err := peerOf(r.str(i), r.str(i+1), r.str(i+2))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func splitNames(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
