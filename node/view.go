package node

import (
	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// view is what one reader of a room may see of its changes, and which it wants. It is the one filter: members, streams,
// what is replayed to them and pages of the log all ask it, change by change and in order.
type view struct {
	all      bool   // a server's: all that any client is told
	peer     string // the reader's membership; "" if it has none
	user     string // its user as a JSON string
	role     string // at the seq that it was shown last
	keys     hearth.Patterns
	allPeers bool // in a large room it is told of each peer
	// may reports whether a role may read; nil: any. blind: the reader's may not (any more), so it is told of itself alone.
	may   func(role string) bool
	blind bool

	// Of a reader that is no member by its socket:
	named string // peer_id that it is, once that is its user's; "" for whichever of its user's joins
	base  string // its role while it is no member
	roams bool   // its membership comes and goes under its eyes
}

// mayRead returns a view's may.
func (n *Node) mayRead(p *auth.Principal, room string) func(role string) bool {
	return func(role string) bool { return n.roles.Allow(p, room, role, auth.Read) == nil }
}

// setRole takes note of the role that the reader has from here on.
func (v *view) setRole(role string) {
	v.role = role
	v.blind = v.may != nil && !v.may(role)
}

// readerView is the view of who reads by a token alone.
func (n *Node) readerView(p *auth.Principal, room, named string, keys hearth.Patterns) view {
	return view{
		may: n.mayRead(p, room), all: p.Management, user: hearth.QuoteString(p.User), role: p.Role, keys: keys,
		named: named, base: p.Role, roams: !p.Management,
	}
}

// adopt makes a membership, which the store has, the reader's; nil or another user's is none.
func (v *view) adopt(p *hearth.Peer) (member bool) {
	v.peer = ""
	v.setRole(v.base)
	if v.all || p == nil || hearth.QuoteString(p.User) != v.user {
		return false
	}
	v.peer = p.ID
	v.setRole(p.Role)
	return true
}

// note follows what a change does to the reader itself. It comes before sees, but for a leave, which is one's own to the end.
func (v *view) note(c *change) {
	switch {
	case c.Kind == hearth.KindEnd && v.roams:
		v.adopt(nil)
	case c.Kind == hearth.KindLeave && v.roams && c.Peer == v.peer:
		v.adopt(nil)
	case v.places(c):
		v.peer = c.Peer
		v.setRole(c.Role)
	}
}

// places reports whether a change tells the reader's role from there on.
func (v *view) places(c *change) bool {
	switch c.Kind {
	case hearth.KindJoin:
		if !v.roams {
			return c.Peer == v.peer
		}
		return (v.peer == "" || v.peer == c.Peer) && (v.named == "" || v.named == c.Peer) && c.IsOf(v.user)
	case hearth.KindUpdate:
		return v.peer != "" && c.Peer == v.peer && (!v.roams || c.IsOf(v.user))
	}
	return false
}

// sight is how much of a change a reader is shown.
type sight int

const (
	nothing sight = iota
	some          // of a change of several keys, those that it watches
	whole
)

// sees decides what the reader is shown of a change.
func (v *view) sees(c *change) sight {
	if c.method == "" || !v.all && !c.Audience.Includes(v.peer, v.user, v.role, v.allPeers) {
		return nothing
	}
	if v.blind && c.Peer != v.peer && c.Kind != hearth.KindAsk && c.Kind != hearth.KindEnd {
		return nothing
	}
	if c.Kind != hearth.KindMeta {
		return whole
	}
	watched := 0
	for i := range c.Entries {
		if v.keys.Match(c.Entries[i].Key) {
			watched++
		}
	}
	switch watched {
	case 0:
		return nothing
	case len(c.Entries):
		return whole
	}
	return some
}

// take follows a change and returns what a stream is sent of it, nil for nothing.
func (v *view) take(c *change) *Notice {
	if c.Kind == hearth.KindLeave {
		defer v.note(c)
	} else {
		v.note(c)
	}
	switch v.sees(c) {
	case whole:
		return c.notice()
	case some:
		return &Notice{Method: c.method, Cursor: c.Cursor, Params: c.AppendParams(nil, v.keys.Match)}
	}
	return nil
}
