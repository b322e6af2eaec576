package node

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/pubsub"
	"github.com/hearthstore/hearth/store"
)

// Stream is where a watcher's notifications go. Its methods don't block and may be called by any goroutine.
type Stream interface {
	// Send queues a notification. What is over the queue's bound ends the stream, which its reader resumes.
	Send(n *Notice)
	// Snapshot queues one of a snapshot or of what was missed: it doesn't count against the bound.
	Snapshot(n *Notice)
	// Lost says that continuity can't be proven: nothing comes any more until Watcher.Resume has been called, which is
	// for the stream's own goroutine, after it has sent what is queued.
	Lost()
	// End ends the stream because its reader may not read any more.
	End(err error)
}

// WatchParams says what a watcher wants.
type WatchParams struct {
	From hearth.Cursor   // what its reader knows; zero for nothing
	Keys hearth.Patterns // of the entries whose changes it is sent
}

// Watcher follows a room from session to session on behalf of one who is no member by it.
type Watcher struct {
	node   *Node
	caller *Caller
	to     Stream
	keys   hearth.Patterns

	mu   sync.Mutex
	view view
	sub  *pubsub.Subscription
	at   hearth.Cursor // what it was sent before sub was active
	over bool
}

// Watch begins to watch the caller's room. The stream is sent, in this order:
//
//   - without a cursor: the live session's snapshot, on-session-start, peer-list and the watched entries; nothing if
//     there is no session;
//   - with one of the live session: what was missed since, all of it, or if that can't be had the snapshot, whose
//     on-session-start says recovered: false;
//   - with one of a session that is over: its on-session-end with recovered: false, then the snapshot;
//
// and then all that happens, also in the sessions that follow: on-session-start, changes, on-session-end.
//
// A peer without the permission history is given what it missed only from its own join on; if it is no member, nothing.
func (n *Node) Watch(ctx context.Context, c *Caller, q WatchParams, to Stream) (*Watcher, error) {
	if err := c.Principal.CheckRoom(c.Room); err != nil {
		return nil, err
	}
	w := &Watcher{node: n, caller: c, to: to, keys: q.Keys}
	if err := w.start(ctx, q.From, false); err != nil {
		return nil, err
	}
	return w, nil
}

// Resume goes on after Lost: from where the watcher was, as Watch does with that cursor.
func (w *Watcher) Resume(ctx context.Context) error { return w.start(ctx, w.Cursor(), true) }

// Cursor returns up to where the stream has been queued all that its reader may see; its epoch is "" while there has been
// no session.
func (w *Watcher) Cursor() hearth.Cursor {
	w.mu.Lock()
	sub, at := w.sub, w.at
	w.mu.Unlock()
	if sub != nil {
		if now := sub.At(); now.Seq > 0 {
			return now
		}
	}
	return at
}

// Close ends the watcher: its stream is called no more once Close has returned.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.over = true
	sub := w.sub
	w.mu.Unlock()
	sub.Close()
}

func (w *Watcher) start(ctx context.Context, from hearth.Cursor, again bool) error {
	ctx, cancel := within(ctx)
	defer cancel()
	sub, err := w.node.hub.Follow(ctx, w.caller.Room, w)
	if err != nil {
		return unavailable(notSubscribed, err)
	}
	w.mu.Lock()
	old := w.sub
	w.sub, w.at = sub, from
	w.mu.Unlock()
	if old != nil {
		old.Close()
	}
	if err := w.begin(ctx, from, again); err != nil {
		sub.Close()
		return err
	}
	return nil
}

func (w *Watcher) begin(ctx context.Context, from hearth.Cursor, again bool) error {
	n, c := w.node, w.caller
	if !again {
		ctx = n.counted(ctx, c)
	}
	r, err := n.reader(ctx, c, w.keys)
	if err != nil {
		return err
	}
	if from.Epoch != "" {
		missed, err := n.missed(ctx, c, &r, from)
		if err == nil {
			w.replay(&r, from, missed)
			return nil
		}
		if !errors.Is(err, pubsub.ErrGone) {
			return err
		}
	}
	snap, err := n.store.Snapshot(ctx, c.Room, r.id, hearth.MaxSnapshotPeer, c.Principal.Management, w.keys)
	switch {
	case hearth.ReasonOf(err) == hearth.ReasonNoSession:
		r.adopt(nil)
		if from.Epoch != "" || again {
			w.to.Snapshot(&Notice{Method: endMethod, Params: n.endedParams(ctx, c.Room, from.Epoch)})
		}
		w.setView(r.view)
		w.sub.Await(from.Epoch)
		return nil
	case err != nil:
		return err
	}
	r.adopt(snap.Own)
	if err := n.roles.Allow(c.Principal, c.Room, r.role, auth.Read); err != nil {
		return err
	}
	if from.Epoch != "" && from.Epoch != snap.Epoch && !n.goesOn(ctx, c.Room, from.Epoch, snap.ID) {
		w.to.Snapshot(&Notice{Method: endMethod, Params: n.endedParams(ctx, c.Room, from.Epoch)})
	}
	w.setView(r.view)
	w.snapshot(&snap, from.Epoch != "" || again)
	w.mu.Lock()
	w.at = snap.Cursor()
	w.mu.Unlock()
	w.sub.Activate(snap.Cursor())
	return nil
}

func (w *Watcher) setView(v view) {
	w.mu.Lock()
	w.view = v
	w.mu.Unlock()
}

// replay sends what was missed and lets what follows it come.
func (w *Watcher) replay(r *reader, from hearth.Cursor, missed []*change) {
	w.mu.Lock()
	w.view = r.view
	for _, c := range missed {
		if notice := w.view.take(c); notice != nil {
			w.to.Snapshot(notice)
		}
		from = c.Cursor
	}
	w.at = from
	w.mu.Unlock()
	w.sub.Activate(from)
}

// snapshot sends what there is at a seq. Only its last notice bears the cursor: who did not get all of it begins again.
func (w *Watcher) snapshot(s *store.Snapshot, lost bool) {
	total := s.PeerCount
	if w.view.all {
		total += s.HiddenCount
	}
	notices := []*Notice{
		{Method: startMethod, Params: appendStart(nil, &s.Session, lost)},
		{Method: "peer-list", Params: appendPeerList(nil, &s.Session, s.Peers, total)},
	}
	if len(w.keys) > 0 {
		entryFrames(s.Seq, s.Entries, func(method string, params func(dst []byte) []byte) {
			notices = append(notices, &Notice{Method: method, Params: params(nil)})
		})
	}
	notices[len(notices)-1].Cursor = s.Cursor()
	for _, n := range notices {
		w.to.Snapshot(n)
	}
}

// Deliver is called by the hub with every change of the room, in order.
func (w *Watcher) Deliver(m *pubsub.Message) {
	c := changeOf(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	if c == nil || w.over {
		return
	}
	if c.Seq == 1 {
		w.to.Send(w.sessionStart(c))
	}
	before := w.view.role
	notice := w.view.take(c)
	if w.view.role != before {
		if err := w.node.roles.Allow(w.caller.Principal, w.caller.Room, w.view.role, auth.Read); err != nil {
			w.over = true
			w.to.End(err)
			return
		}
	}
	if notice != nil {
		w.to.Send(notice)
	}
}

// Lost is called by the hub when changes may have been missed.
func (w *Watcher) Lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.to.Lost()
	}
}

const (
	startMethod = "on-session-start"
	endMethod   = "on-session-end"
)

// sessionStart tells of a session that begins with c. Who was told no more than that resumes before its first change.
func (w *Watcher) sessionStart(c *change) *Notice {
	return &Notice{
		Method: startMethod, Cursor: hearth.Cursor{Epoch: c.Epoch, Nonce: c.Epoch},
		Params: appendStart(nil, &hearth.Session{Room: w.caller.Room, ID: c.Session, Epoch: c.Epoch, StartedAt: c.At}, false),
	}
}

// appendStart appends the params of on-session-start: the changes after the session's seq follow. lost says that the
// reader may have missed some before.
func appendStart(dst []byte, s *hearth.Session, lost bool) []byte {
	dst = strconv.AppendUint(append(dst, `{"seq":`...), s.Seq, 10)
	dst = append(append(append(dst, `,"session_id":"`...), s.ID...), `","room_id":"`...)
	dst = append(append(append(dst, s.Room...), `","epoch":"`...), s.Epoch...)
	dst = strconv.AppendInt(append(dst, `","started_at":`...), s.StartedAt, 10)
	if lost {
		dst = append(dst, `,"recovered":false`...)
	}
	return append(dst, '}')
}

// goesOn reports whether the session whose log had that epoch is still on, in another log: see store.Rewound.
func (n *Node) goesOn(ctx context.Context, room, epoch, session string) bool {
	sum, err := n.store.SummaryByEpoch(ctx, room, epoch)
	return err == nil && sum.Live() && sum.ID == session
}

// endedParams returns the params of on-session-end for one who was not there, or can't be sure that it was all it missed.
// epoch may be "": then sessions may have come and gone.
func (n *Node) endedParams(ctx context.Context, room, epoch string) []byte {
	b := []byte{'{'}
	if epoch != "" {
		if s, err := n.store.SummaryByEpoch(ctx, room, epoch); err == nil { // else it isn't kept, or can't be asked
			b = strconv.AppendUint(append(b, `"seq":`...), s.Seq, 10)
			b = append(append(append(b, `,"session_id":"`...), s.ID...), `","reason":"`...)
			b = append(append(b, s.Reason...), `",`...)
		}
		b = append(append(append(b, `"epoch":"`...), epoch...), `",`...)
	}
	return append(b, `"recovered":false}`...)
}
