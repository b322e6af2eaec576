package node

import (
	"context"
	"slices"
	"strings"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// UpdatePeer changes the name and data of a peer: the caller's own, or with the permission update_others another's. nil
// keeps what is there.
func (n *Node) UpdatePeer(ctx context.Context, c *Caller, peer string, name, data *string) (hearth.Peer, error) {
	w, err := n.writer(c, c.onPeer(peer, auth.UpdateOthers))
	if err != nil {
		return hearth.Peer{}, err
	}
	if err := hearth.CheckName("peer_id", peer); err != nil {
		return hearth.Peer{}, err
	}
	if name != nil {
		if err := hearth.CheckPeerName(*name); err != nil {
			return hearth.Peer{}, err
		}
	}
	if data != nil {
		if err := hearth.CheckPeerData(*data); err != nil {
			return hearth.Peer{}, err
		}
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.UpdatePeer(ctx, c.Room, w, peer, name, data)
}

// AddToGroup puts a peer into a group and returns its groups: the caller itself, or with update_others another peer.
func (n *Node) AddToGroup(ctx context.Context, c *Caller, peer, group string) ([]string, error) {
	w, err := n.groupWriter(c, peer, group)
	if err != nil {
		return nil, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.AddToGroup(ctx, c.Room, w, peer, group)
}

// RemoveFromGroup takes a peer out of a group and returns what is left: as AddToGroup.
func (n *Node) RemoveFromGroup(ctx context.Context, c *Caller, peer, group string) ([]string, error) {
	w, err := n.groupWriter(c, peer, group)
	if err != nil {
		return nil, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.RemoveFromGroup(ctx, c.Room, w, peer, group)
}

// Remove ends another peer's membership, which is told text.
func (n *Node) Remove(ctx context.Context, c *Caller, peer, text string) (ended bool, err error) {
	w, err := n.writer(c, auth.RemoveOthers)
	if err != nil {
		return false, err
	}
	if err := hearth.CheckName("peer_id", peer); err != nil {
		return false, err
	}
	if err := hearth.CheckText("reason", text, hearth.MaxReasonLen); err != nil {
		return false, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Remove(ctx, c.Room, w, peer, text)
}

// groupWriter checks a call that changes a peer's groups and returns its fence.
func (n *Node) groupWriter(c *Caller, peer, group string) (store.Writer, error) {
	w, err := n.writer(c, c.onPeer(peer, auth.UpdateOthers))
	if err != nil {
		return store.Writer{}, err
	}
	if err := hearth.CheckName("peer_id", peer); err != nil {
		return store.Writer{}, err
	}
	return w, hearth.CheckGroup("name", group)
}

// LeaveByConn ends the caller's own membership, which its conn_id names.
func (n *Node) LeaveByConn(ctx context.Context, c *Caller) (ended bool, err error) {
	w, err := n.writer(c, "")
	if err != nil {
		return false, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	return n.store.Leave(ctx, c.Room, w, hearth.Left)
}

// Peer returns one peer. A hidden one is not_found but for itself and for servers.
func (n *Node) Peer(ctx context.Context, c *Caller, peer string) (hearth.Peer, error) {
	if err := n.allow(c, auth.Read); err != nil {
		return hearth.Peer{}, err
	}
	if err := hearth.CheckName("peer_id", peer); err != nil {
		return hearth.Peer{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	_, p, err := n.store.Peer(ctx, c.Room, c.Session, peer)
	if err == nil && !c.sees(&p) {
		err = hearth.Errorf(hearth.ReasonNotFound, "no such peer in this session")
	}
	return p, err
}

// sees reports whether the caller may know of the peer.
func (c *Caller) sees(p *hearth.Peer) bool {
	return !p.Hidden || c.Principal.Management || c.Conn.Peer == p.ID && c.Principal.User == p.User
}

// PeerFilter picks peers; an empty field picks all.
type PeerFilter struct {
	IDs   []string `json:"i,omitempty"`
	Role  string   `json:"r,omitempty"`
	Group string   `json:"g,omitempty"`
	User  string   `json:"u,omitempty"`
	Name  string   `json:"n,omitempty"` // part of the name, whatever the case
}

func (f *PeerFilter) check() error {
	if len(f.IDs) > hearth.MaxPage {
		return hearth.Errorf(hearth.ReasonTooMany, "at most %d peers can be asked for", hearth.MaxPage)
	}
	for _, id := range f.IDs {
		if err := hearth.CheckName("peers", id); err != nil {
			return err
		}
	}
	if f.Role != "" {
		if err := hearth.CheckName("role", f.Role); err != nil {
			return err
		}
	}
	if f.Group != "" {
		if err := hearth.CheckGroup("group", f.Group); err != nil {
			return err
		}
	}
	if err := hearth.CheckText("user_id", f.User, hearth.MaxUserLen); err != nil {
		return err
	}
	return hearth.CheckText("query", f.Name, hearth.MaxPeerNameLen)
}

func (f *PeerFilter) match(p *hearth.Peer) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, p.ID)) &&
		(f.Role == "" || f.Role == p.Role) &&
		(f.Group == "" || p.InGroup(f.Group)) &&
		(f.User == "" || f.User == p.User) &&
		(f.Name == "" || strings.Contains(strings.ToLower(p.Name), strings.ToLower(f.Name)))
}

// PeerPage is one page of peers, in the order of their ids.
type PeerPage struct {
	hearth.Session
	Peers []hearth.Peer
	Total int    // how many match, over all pages
	Next  string // iterator of the next page; after the last page it gives none
	EOF   bool   // this is the last page
}

// peerCursor is what an iterator holds.
type peerCursor struct {
	PeerFilter
	After   string `json:"a,omitempty"`
	Session string `json:"s,omitempty"`
}

// FindPeers returns the first page of the peers that match.
func (n *Node) FindPeers(ctx context.Context, c *Caller, f PeerFilter, limit int) (PeerPage, error) {
	if err := f.check(); err != nil {
		return PeerPage{}, err
	}
	return n.peerPage(ctx, c, peerCursor{PeerFilter: f}, limit)
}

// NextPeers returns the page that an earlier page's Next stands for. Peers that came or went meanwhile are in it or not.
func (n *Node) NextPeers(ctx context.Context, c *Caller, iterator string, limit int) (PeerPage, error) {
	var cur peerCursor
	if err := decodeCursor(iterator, &cur); err != nil {
		return PeerPage{}, err
	}
	if err := cur.check(); err != nil {
		return PeerPage{}, err
	}
	return n.peerPage(ctx, c, cur, limit)
}

func (n *Node) peerPage(ctx context.Context, c *Caller, cur peerCursor, limit int) (PeerPage, error) {
	limit, err := pageSize(limit)
	if err != nil {
		return PeerPage{}, err
	}
	ses, peers, err := n.matching(ctx, c, &cur.PeerFilter)
	if err != nil {
		return PeerPage{}, err
	}
	page := PeerPage{Session: ses, Total: len(peers)}
	if cur.Session != "" && cur.Session != ses.ID {
		return PeerPage{}, hearth.Errorf(hearth.ReasonSessionEnded, "the session that the iterator is of is over")
	}
	i, found := slices.BinarySearchFunc(peers, cur.After, func(p hearth.Peer, id string) int { return strings.Compare(p.ID, id) })
	if found {
		i++
	}
	end := min(i+limit, len(peers))
	page.Peers, page.EOF = peers[i:end], end == len(peers)
	cur.Session = ses.ID
	if len(page.Peers) > 0 {
		cur.After = page.Peers[len(page.Peers)-1].ID
	}
	page.Next = encodeCursor(cur)
	return page, nil
}

// SearchPeers returns the peers whose name contains query, from offset on, and how many there are.
func (n *Node) SearchPeers(ctx context.Context, c *Caller, query string, offset, limit int) (PeerPage, error) {
	limit, err := pageSize(limit)
	if err != nil {
		return PeerPage{}, err
	}
	if offset < 0 {
		return PeerPage{}, hearth.BadParams("offset must not be negative")
	}
	f := PeerFilter{Name: query}
	if err := f.check(); err != nil {
		return PeerPage{}, err
	}
	ses, peers, err := n.matching(ctx, c, &f)
	if err != nil {
		return PeerPage{}, err
	}
	offset = min(offset, len(peers))
	end := min(offset+limit, len(peers))
	return PeerPage{Session: ses, Peers: peers[offset:end], Total: len(peers), EOF: end == len(peers)}, nil
}

// matching returns the peers that match and that the caller may know of, sorted by id.
func (n *Node) matching(ctx context.Context, c *Caller, f *PeerFilter) (hearth.Session, []hearth.Peer, error) {
	if err := n.allow(c, auth.Read); err != nil {
		return hearth.Session{}, nil, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	ses, peers, err := n.store.Peers(ctx, c.Room, c.Session)
	if err != nil {
		return hearth.Session{}, nil, err
	}
	return ses, slices.DeleteFunc(peers, func(p hearth.Peer) bool { return !c.sees(&p) || !f.match(&p) }), nil
}
