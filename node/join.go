package node

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/store"
)

// JoinParams is what a peer says when it joins.
type JoinParams struct {
	Room   string
	Peer   string  // wanted peer_id; "" for the token's, or one made by the server
	Name   *string // nil: the token's, or on a takeover what the store has
	Data   *string // nil: none, or on a takeover what the store has
	Groups []string
	Hidden bool
	Listen hearth.Patterns
	Peers  bool    // as by ListenPeers
	Resume *Resume // nil: of who comes anew
	// Implicit: a 100ms client, which comes back by Return. Its grace is longer, and what it watches is kept for it.
	Implicit bool
	// Meet, if not nil, is told the role of each peer that joins or is updated, and what role the member is asked to take,
	// before the sink is sent the notification of it; own tells that the role is the member's. It must not block: delivery
	// waits for it.
	Meet func(own bool, role string)
}

// request checks what a peer says and makes the store's request of it.
func (n *Node) request(p *auth.Principal, role string, q *JoinParams) (store.JoinRequest, error) {
	if err := hearth.CheckName("room_id", q.Room); err != nil {
		return store.JoinRequest{}, err
	}
	if err := n.roles.Allow(p, q.Room, role, auth.Read); err != nil {
		return store.JoinRequest{}, err
	}
	if q.Hidden {
		if err := n.roles.Allow(p, q.Room, role, auth.Hidden); err != nil {
			return store.JoinRequest{}, err
		}
	}
	id, err := wantedPeer(p, q.Peer)
	if err != nil {
		return store.JoinRequest{}, err
	}
	groups, err := hearth.CheckGroups(q.Groups)
	if err != nil {
		return store.JoinRequest{}, err
	}
	r := store.JoinRequest{
		Room:     q.Room,
		Peer:     hearth.Peer{ID: id, User: p.User, Role: role, Name: p.Name, Groups: groups, Hidden: q.Hidden},
		KeepName: q.Name == nil && p.Name == "", KeepData: q.Data == nil,
		Conn: hearth.NewConnSecret(), Watch: q.Listen, Implicit: q.Implicit,
	}
	if q.Name != nil {
		r.Peer.Name = *q.Name
	}
	if q.Data != nil {
		r.Peer.Data = *q.Data
	}
	if err := hearth.CheckPeerName(r.Peer.Name); err != nil {
		return store.JoinRequest{}, err
	}
	return r, hearth.CheckPeerData(r.Peer.Data)
}

// wantedPeer returns the peer_id that a token and a wish make: the token's wins, and a wish for another one is refused.
func wantedPeer(p *auth.Principal, wish string) (string, error) {
	switch {
	case p.Peer != "" && wish != "" && p.Peer != wish:
		return "", hearth.Errorf(hearth.ReasonForbidden, "the token is for peer %s only", p.Peer)
	case p.Peer != "":
		return p.Peer, nil
	case wish == "":
		return hearth.NewPeerID(), nil
	}
	return wish, hearth.CheckName("peer_id", wish)
}

// Join makes the caller a member of the room's session with sink as its socket. The subscription is confirmed before the
// script runs, so nothing that follows the snapshot is missed. The transport sends its reply and then calls
// Member.Begin, from which on the sink is sent the snapshot, or if the caller resumes and that can be had all that it
// missed, and then the changes after it. A resume that can't be is a join.
func (n *Node) Join(ctx context.Context, p *auth.Principal, q JoinParams, sink Sink) (*Member, error) {
	if p.Management {
		return nil, hearth.Errorf(hearth.ReasonForbidden, "a server's token is no peer: join with a peer's, or over HTTP")
	}
	r, err := n.request(p, p.Role, &q)
	if err != nil {
		return nil, err
	}
	r.Peers = hearth.MaxSnapshotPeer
	return n.admit(ctx, p, &q, &r, sink)
}

// admit is the rest of Join and Return.
func (n *Node) admit(ctx context.Context, p *auth.Principal, q *JoinParams, r *store.JoinRequest, sink Sink) (m *Member, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	m = &Member{node: n, principal: p, sink: sink, meet: q.Meet, implicit: q.Implicit}
	m.view = view{
		peer: r.Peer.ID, user: hearth.QuoteString(p.User), keys: q.Listen, allPeers: q.Peers, may: n.mayRead(p, q.Room),
	}
	m.conn = hearth.ConnID{Secret: r.Conn, Peer: r.Peer.ID}
	m.room, m.lease = q.Room, n.leaseOf(q.Room)
	if m.sub, err = n.hub.Subscribe(ctx, q.Room, m); err != nil {
		return nil, unavailable(notSubscribed, err)
	}
	if err := m.enter(ctx, q, r); err != nil {
		m.sub.Close()
		if hearth.ReasonOf(err) == hearth.ReasonOutcomeUnknown {
			// It may have become a member that nobody serves, or may still become one: the script can be on its way. That
			// is looked at again.
			n.handOver(m.room, r.Peer.ID, r.Conn) //nolint:contextcheck // it has to be repeated after ctx has ended
			m.lease.doubtful()
		}
		return nil, err
	}
	j := m.Welcome
	m.session = j.ID
	m.lease.settle(m)
	if r.Return {
		m.view.keys = j.Watch
	}
	m.listens = len(m.view.keys) > 0
	m.view.setRole(j.Own.Role)
	n.members.Add(1)
	if m.sub.Busy() || n.log.Enabled(ctx, slog.LevelDebug) { // Begin may have to wait, and the log be slow
		fiber.From(ctx).Leave()
	}
	n.log.Debug("joined", "room", m.room, "session", j.ID, "peer", j.Own.ID, "resumed", m.Resumed, "recovered", m.Recovered)
	return m, nil
}

// Leased is a membership without a socket.
type Leased struct {
	store.Joined
	Conn hearth.ConnID
}

// JoinLeased makes a peer a member for as long as it renews its lease. With a peer's token the user and role are the
// token's; a server names them.
func (n *Node) JoinLeased(ctx context.Context, p *auth.Principal, user, role string, q JoinParams, lease time.Duration) (*Leased, error) {
	switch {
	case lease == 0:
		lease = hearth.DefaultLease
	case lease < hearth.MinLease || lease > hearth.MaxLease:
		return nil, hearth.BadParams("lease_ms must be %d–%d", hearth.MinLease.Milliseconds(), hearth.MaxLease.Milliseconds())
	}
	if !p.Management {
		user, role = p.User, p.Role
	} else {
		// It speaks for a user and may replace that user's live connection, so a narrowed token needs both.
		for _, perm := range []auth.Permission{auth.UpdateOthers, auth.RemoveOthers} {
			if err := n.roles.Allow(p, q.Room, role, perm); err != nil {
				return nil, err
			}
		}
	}
	if err := hearth.CheckName("role", role); err != nil {
		return nil, err
	}
	r, err := n.request(p, role, &q)
	if err != nil {
		return nil, err
	}
	if r.Peer.User = user; p.Management {
		if err := hearth.CheckUser(user); err != nil {
			return nil, err
		}
	}
	r.Lease = lease
	ctx, cancel := n.within(ctx, &Caller{Principal: p})
	defer cancel()
	j, err := n.leaseOf(q.Room).joinInTime(ctx, &r)
	if err != nil {
		return nil, err
	}
	n.sweeper.expect(q.Room, lease)
	return &Leased{Joined: j, Conn: hearth.ConnID{Secret: r.Conn, Peer: r.Peer.ID}}, nil
}

// Renew extends the lease of a membership without a socket.
func (n *Node) Renew(ctx context.Context, c *Caller) (expiresAt int64, err error) {
	w, err := n.writer(c, "")
	if err != nil {
		return 0, err
	}
	if w.Peer == "" { // a server renews for the peer whose conn_id it got when it joined it
		return 0, hearth.BadParams("conn_id is missing")
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Renew(ctx, c.Room, w)
}

// appendPeerList appends the params of the peer-list that follows a join or begins a stream.
func appendPeerList(dst []byte, s *hearth.Session, peers []hearth.Peer, total int) []byte {
	dst = append(dst, `{"snapshot":true,"peers":{`...)
	for i := range peers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), peers[i].ID...), `":`...)
		dst = peers[i].AppendJSON(dst)
	}
	dst = strconv.AppendInt(append(dst, `},"total":`...), int64(total), 10)
	dst = strconv.AppendBool(append(dst, `,"truncated":`...), len(peers) < total)
	dst = append(append(append(dst, `,"room":{"name":"`...), s.Room...), `","session_id":"`...)
	dst = append(append(dst, s.ID...), `","started_at":`...)
	dst = strconv.AppendInt(dst, s.StartedAt, 10)
	dst = strconv.AppendUint(append(dst, `},"seq":`...), s.Seq, 10)
	return append(dst, '}')
}
