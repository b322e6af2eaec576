package node

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/pubsub"
	"github.com/hearthstore/hearth/store"
)

// reader is who reads a room by a token, without a socket of its own.
type reader struct {
	view
	id     string        // peer_id that may be its membership; "" for none
	since  hearth.Cursor // of the session that it is a member of: where that was asked, and
	joined uint64        // the seq of its join; 0 if it is no member
	free   bool          // it may read all of the log
}

// reader finds out who the caller is in its room and whether it may read there: the peer that its conn_id or its token
// names, or else the first that its user has in the session. Its role there is the store's.
func (n *Node) reader(ctx context.Context, c *Caller, keys hearth.Patterns) (reader, error) {
	p := c.Principal
	r := reader{view: n.readerView(p, c.Room, p.Peer, keys), id: cmp.Or(p.Peer, c.Conn.Peer)}
	if !p.Management {
		// A conn_id is not proven here: one that is none of the user's must not hide the peer, and the role, that it has.
		if r.id != p.Peer {
			_, q, err := n.store.Peer(ctx, c.Room, "", r.id)
			switch reason := hearth.ReasonOf(err); {
			case err != nil && reason != hearth.ReasonNoSession && reason != hearth.ReasonNotFound:
				return reader{}, err
			case err != nil || q.User != p.User:
				r.id = ""
			}
		}
		if r.id == "" {
			_, peers, err := n.store.Peers(ctx, c.Room, "")
			if err != nil && hearth.ReasonOf(err) != hearth.ReasonNoSession {
				return reader{}, err
			}
			if i := slices.IndexFunc(peers, func(q hearth.Peer) bool { return q.User == p.User }); i >= 0 {
				r.id = peers[i].ID
			}
		}
		if r.id != "" {
			snap, err := n.store.Snapshot(ctx, c.Room, r.id, 0, false, nil)
			if err != nil && hearth.ReasonOf(err) != hearth.ReasonNoSession {
				return reader{}, err
			}
			if r.since = snap.Cursor(); r.adopt(snap.Own) {
				r.joined = snap.OwnSeq
			}
		}
	}
	if err := n.roles.Allow(p, c.Room, r.role, auth.Read); err != nil {
		return reader{}, err
	}
	r.free = p.Management || n.roles.Allow(p, c.Room, r.role, auth.History) == nil
	return r, nil
}

// reaches reports whether the reader may be given what came after from.
func (r *reader) reaches(from hearth.Cursor) bool {
	return r.free || r.joined > 0 && r.since.Epoch == from.Epoch && from.Seq >= r.joined
}

// missed returns all that came after from, and makes r what the reader was there; pubsub.ErrGone if it can't be had or is
// not for the reader.
func (n *Node) missed(ctx context.Context, c *Caller, r *reader, from hearth.Cursor) ([]*change, error) {
	msgs, err := n.reads.missed(ctx, c.Room, from)
	if err != nil {
		return nil, err
	}
	if len(msgs) > 0 && !r.reaches(from) {
		return nil, pubsub.ErrGone
	}
	out := make([]*change, len(msgs))
	for i, m := range msgs {
		out[i] = changeOf(m)
	}
	known, err := n.roleAt(ctx, c.Room, r, from, out)
	if err == nil && !known {
		err = pubsub.ErrGone
	}
	return out, err
}

// roleAt sets the reader's role to the one that it had at from; after is what followed, up to now at least. known is false
// if the log doesn't tell and it would matter: a role is known from where it was given, and where it was taken the old one
// isn't told.
func (n *Node) roleAt(ctx context.Context, room string, r *reader, from hearth.Cursor, after []*change) (known bool, err error) {
	if r.since.Epoch != from.Epoch { // a membership of another session, which ended meanwhile
		r.adopt(nil)
	}
	placed := slices.IndexFunc(after, r.tells)
	if r.all || placed <= 0 { // it is as it was, or told in time
		return true, nil
	}
	switch c := after[placed]; c.Kind {
	case hearth.KindConn: // a takeover keeps the role
		r.setRole(c.Role)
		return true, nil
	case hearth.KindJoin:
		peer := r.peer
		r.adopt(nil)
		left := slices.IndexFunc(after[:placed], func(c *change) bool {
			return c.Kind == hearth.KindLeave && c.Peer == peer && c.IsOf(r.user)
		})
		if left < 0 {
			return true, nil
		}
		placed, r.peer, r.joined = left, peer, 0 // it was a member before, too
	}
	toRoles := slices.IndexFunc(after[:placed], func(c *change) bool { return len(c.Audience.Roles) > 0 })
	if toRoles < 0 && n.roles.AllMay(auth.Read) {
		return true, nil
	}
	for seq := uint64(0); seq < from.Seq; {
		l, err := n.store.Log(ctx, room, "", seq, logStep)
		if hearth.ReasonOf(err) == hearth.ReasonNoSession {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if l.Epoch != from.Epoch || len(l.Events) == 0 {
			break
		}
		for _, text := range l.Events {
			c, err := n.parse(text)
			if err != nil {
				return false, err
			}
			if seq = c.Seq; seq > from.Seq {
				break
			}
			if r.tells(c) {
				r.setRole(c.Role)
				known = true
			}
		}
	}
	return known, nil
}

// tells reports whether a change tells the role of the reader's membership.
func (r *reader) tells(c *change) bool {
	if r.peer == "" || c.Peer != r.peer || c.Seq < r.joined {
		return false
	}
	return c.Kind == hearth.KindConn || r.places(c)
}

// logStep is how many changes of a log are read at once.
const logStep = 500

// parse reads a change as the log has it.
func (n *Node) parse(text string) (*change, error) {
	m := &pubsub.Message{}
	var err error
	if m.Cursor, m.Prev, m.Text, err = hearth.ParseCursorLine(text); err != nil {
		return nil, err
	}
	if err := n.decode(m); err != nil {
		return nil, err
	}
	return changeOf(m), nil
}

// LogPage is one page of a session's log, as its reader may see it.
type LogPage struct {
	hearth.Session
	Oldest    uint64 // seq of the oldest change that the log still has
	Notices   []*Notice
	Cursor    hearth.Cursor // where the next page begins; at the session's seq there is nothing more yet
	Recovered bool          // the page goes on where the caller was
}

// Log returns a page of the log of the room's live session: of the changes after from, at most limit, those that the
// caller may see. If they can't be had, or from is zero, it begins with the oldest that it may. Errors: no_session.
func (n *Node) Log(ctx context.Context, c *Caller, q WatchParams, limit int) (LogPage, error) {
	limit, err := pageSize(limit)
	if err != nil {
		return LogPage{}, err
	}
	if err := c.Principal.CheckRoom(c.Room); err != nil {
		return LogPage{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	r, err := n.reader(ctx, c, q.Keys)
	if err != nil {
		return LogPage{}, err
	}
	page := LogPage{Recovered: q.From.Epoch != ""}
	var all []*change
	if page.Recovered {
		if all, err = n.missed(ctx, c, &r, q.From); errors.Is(err, pubsub.ErrGone) {
			page.Recovered = false
		} else if err != nil {
			return LogPage{}, err
		}
	}
	l, err := n.store.Log(ctx, c.Room, "", 0, 0)
	if err != nil {
		return LogPage{}, err
	}
	page.Session, page.Oldest, page.Cursor = l.Session, l.Oldest, q.From
	page.Recovered = page.Recovered && l.Epoch == q.From.Epoch
	if !page.Recovered {
		if all, page.Cursor, err = n.readable(ctx, c, &r, &l); err != nil {
			return LogPage{}, err
		}
	}
	for i, e := range all {
		if i == limit {
			break
		}
		if notice := r.take(e); notice != nil {
			page.Notices = append(page.Notices, notice)
		}
		page.Cursor = e.Cursor
	}
	return page, nil
}

// readable returns all changes that the log has and the reader may see, and the position before the first.
func (n *Node) readable(ctx context.Context, c *Caller, r *reader, l *store.Log) ([]*change, hearth.Cursor, error) {
	first := l.Oldest
	switch {
	case r.free:
	case r.joined > 0 && r.since.Epoch == l.Epoch:
		first = max(first, r.joined)
	default:
		first = l.Seq + 1
	}
	at := l.Cursor()
	if first > l.Seq {
		return nil, at, nil
	}
	var out []*change
	for seq := first - 1; seq < l.Seq; {
		step, err := n.store.Log(ctx, c.Room, l.ID, seq, logStep)
		if err != nil {
			return nil, at, err
		}
		if len(step.Events) == 0 {
			break
		}
		for _, text := range step.Events {
			e, err := n.parse(text)
			if err != nil {
				return nil, at, err
			}
			out = append(out, e)
			seq = e.Seq
		}
	}
	if len(out) == 0 {
		return nil, at, nil
	}
	at = hearth.Cursor{Epoch: l.Epoch, Seq: out[0].Seq - 1, Nonce: out[0].Prev}
	if at.Seq == 0 {
		at.Nonce = at.Epoch
	}
	known, err := n.roleAt(ctx, c.Room, r, at, out)
	if err == nil && !known { // nobody was promised those: what depends on the role is shown from where the log tells it
		r.setRole("")
	}
	return out, at, err
}
