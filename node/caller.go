package node

import (
	"context"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// Caller is on whose behalf a verb runs: a member by its socket (Member.Caller), a peer by its token and conn_id, or a
// server by a management token.
type Caller struct {
	Principal *auth.Principal
	Room      string
	Session   string         // the session that the call belongs to; "" for whichever is live
	Conn      hearth.ConnID  // fences a peer's writes; zero for a server that acts for itself, or a peer that only reads
	Role      string         // the peer's role; a member's is the one in the store
	Op        string         // op_id; "" for none
	member    *Member        // whose socket the call came by; nil for one over HTTP
	Lock      hearth.Holding // a metadata write is refused unless this is the current holding of the lock; zero for none
}

// writer returns the fence of a write that needs perm; "" needs no more than the room.
func (n *Node) writer(c *Caller, perm auth.Permission) (store.Writer, error) {
	if perm == "" {
		return n.allowed(c, nil)
	}
	return n.allowed(c, func(role string) error { return n.roles.Allow(c.Principal, c.Room, role, perm) })
}

// allowed returns the fence of a write that allow permits; nil permits every role. For a peer the role that counts is the
// one in the store: a token, and to a moment a socket, may have an older one. So what the caller's role permits is done
// if the store has that role, and else decided anew by the one it has; so is what the caller's role does not permit.
func (n *Node) allowed(c *Caller, allow func(role string) error) (store.Writer, error) {
	if err := c.check(); err != nil {
		return store.Writer{}, err
	}
	// Before the permission, which depends on whose connection it is.
	if c.Conn == (hearth.ConnID{}) && !c.Principal.Management {
		return store.Writer{}, hearth.BadParams("a peer's write names its connection: send the conn_id that join returned in the header Hearth-Conn")
	}
	w := store.Writer{Session: c.Session, Op: c.Op, Key: c.Principal.AccessKey}
	if c.Conn != (hearth.ConnID{}) {
		w.Peer, w.Conn, w.User = c.Conn.Peer, c.Conn.Secret, c.Principal.User
	}
	if allow != nil {
		err := allow(c.Role)
		if err != nil && (c.Principal.Management || hearth.ReasonOf(err) != hearth.ReasonForbidden) {
			return store.Writer{}, err
		}
		if err == nil {
			w.Role = c.Role
		}
		if !c.Principal.Management {
			w.Allow = allow
		}
	}
	return w, hearth.CheckOpID(c.Op)
}

// check returns an error if the caller has no business in its room, or by a socket that may be given up at any moment.
func (c *Caller) check() error {
	if c.member != nil && !c.member.inc.reliable() {
		return &hearth.Error{
			Reason: hearth.ReasonUnavailable, Detail: "the node is cut off from the store; reconnect and resume", RetryAfter: leaseMargin,
		}
	}
	return c.Principal.CheckRoom(c.Room)
}

// allow decides whether the caller may do what needs perm in its room: a read, which goes by the caller's role.
func (n *Node) allow(c *Caller, perm auth.Permission) error {
	if err := c.check(); err != nil {
		return err
	}
	return n.roles.Allow(c.Principal, c.Room, c.Role, perm)
}

// within is within for a call of c's, which counts for the rates.
func (n *Node) within(ctx context.Context, c *Caller) (context.Context, context.CancelFunc) {
	ctx, cancel := within(ctx)
	return n.counted(ctx, c), cancel
}

// counted makes a call count as one of the peer's by whose socket it came. Over HTTP a conn_id proves nothing before the store has
// seen it, and nobody may use up what is another's: so such a call counts as one of the peer that the token names, or else of
// its user. A server's don't count.
func (n *Node) counted(ctx context.Context, c *Caller) context.Context {
	switch p := c.Principal; {
	case p.Management:
		return ctx
	case c.member != nil:
		return n.store.Counted(ctx, c.member.conn.Peer, p.User)
	default:
		return n.store.Counted(ctx, p.Peer, p.User)
	}
}

// onPeer is the permission that a change to target needs: none if it is the caller itself.
func (c *Caller) onPeer(target string, others auth.Permission) auth.Permission {
	if !c.Principal.Management && target == c.Conn.Peer {
		return ""
	}
	return others
}
