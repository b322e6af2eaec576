package httpapi

import (
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// rpcVerb is one JSON-RPC method.
type rpcVerb struct {
	name  string
	run   func(*call) ([]byte, error)
	early bool // may be called before join
	write bool // would change the session
	// inline: what it does is one step of the store, and nothing else for which it might have to wait, unless its fiber leaves before.
	inline bool
	// preview: a 100ms client may call it before join.
	preview bool
}

// verbs is every method that a client may call. It is filled by init because its handlers reach it through the call.
var verbs map[string]rpcVerb

func init() {
	verbs = map[string]rpcVerb{
		"ping":                   {run: ping, early: true},
		"join":                   {run: join, early: true, write: true, inline: true},
		"leave":                  {run: leave, write: true, inline: true},
		"refresh-token":          {run: refreshToken, early: true},
		"set-metadata":           {run: setMetadata, write: true, inline: true},
		"get-metadata":           {run: getMetadata, inline: true},
		"list-metadata":          {run: listMetadata},
		"update-metadata":        {run: updateMetadata, write: true, inline: true},
		"listen-metadata-change": {run: listenMetadata},
		"broadcast":              {run: broadcast, write: true, inline: true},
		"peer-update":            {run: peerUpdate, write: true, inline: true},
		"get-peer":               {run: getPeer, preview: true},
		"find-peer":              {run: findPeer, preview: true},
		"peer-iter-next":         {run: peerIterNext, preview: true},
		"peer-name-search":       {run: peerNameSearch, preview: true},
		"listen-peers":           {run: listenPeers},
		"group-join":             {run: groupOwn(true), write: true},
		"group-leave":            {run: groupOwn(false), write: true},
		"group-add":              {run: groupOther(true), write: true},
		"group-remove":           {run: groupOther(false), write: true},
		"lock-acquire":           {run: lockAcquire, write: true, inline: true},
		"lock-renew":             {run: lockRenew, write: true, inline: true},
		"lock-release":           {run: lockRelease, write: true, inline: true},
		"role-change-request":    {run: roleChangeRequest, write: true},
		"role-change":            {run: roleChange, write: true},
		"peer-leave-request":     {run: peerLeaveRequest, write: true},
		"end-room":               {run: endRoom, write: true},
		"analytics":              {run: ignored, early: true},
		"track-update":           {run: ignored, early: true},
		"trickle":                {run: ignored, early: true},
		"answer":                 {run: ignored, early: true},
	}
	for name, v := range verbs {
		v.name = name
		verbs[name] = v
	}
}

var empty = []byte("{}")

// ignored accepts what the media signaling of a 100ms client sends.
func ignored(*call) ([]byte, error) { return empty, nil }

func ping(k *call) ([]byte, error) {
	b := strconv.AppendInt([]byte(`{"timestamp":`), time.Now().UnixMilli(), 10)
	if m := k.member; m != nil {
		b = append(append(append(b, `,"cursor":"`...), m.Cursor().String()...), '"')
	}
	return append(b, '}'), nil
}

type joinParams struct {
	Name   *string  `json:"name"`
	Data   *string  `json:"data"`
	Groups []string `json:"groups"`
	Hidden bool     `json:"hidden"`
	Listen []string `json:"listen"`
	Peers  bool     `json:"listen_peers"`
	Resume *resume  `json:"resume"`
}

func join(k *call) ([]byte, error) {
	c := k.conn
	if c.member != nil && !c.attached {
		return nil, hearth.Errorf(hearth.ReasonBadRequest, "this connection has joined already; open another one")
	}
	var q joinParams
	if !q.quick(k.params) {
		q = joinParams{}
		if err := k.bind(&q); err != nil {
			return nil, err
		}
	}
	listen, err := hearth.ParsePatterns(q.Listen)
	if err != nil {
		return nil, err
	}
	from, err := q.Resume.check()
	if err != nil {
		return nil, err
	}
	if from != nil || c.member != nil || c.implicit != nil { // it takes several steps
		c.fiber.Leave()
	}
	p := c.principal.Load()
	params := node.JoinParams{
		Room: p.Room, Peer: c.wanted, Name: q.Name, Data: q.Data, Groups: q.Groups, Hidden: q.Hidden,
		Listen: listen, Peers: q.Peers, Resume: from,
	}
	if c.implicit != nil {
		params.Meet, params.Implicit = c.implicit.meet, true
	}
	var m *node.Member
	enter := func() (err error) {
		m, err = c.srv.node.Join(k.ctx(), p, params, c)
		return err
	}
	if c.member != nil { // it was attached, and its client begins anew
		k.hold() // as in leave
		err = c.member.Supersede(enter)
	} else {
		err = enter()
	}
	if err != nil {
		switch hearth.ReasonOf(err) {
		case hearth.ReasonUnavailable, hearth.ReasonOutcomeUnknown, hearth.ReasonRateLimited:
			c.unserved.Store(true)
		default:
			c.unserved.Store(false)
		}
		return nil, err
	}
	c.member, c.attached = m, false
	c.joined.Store(true)
	if c.implicit != nil {
		k.after = append(k.after, func() { c.implicit.joined(m) })
	}
	k.after = append(k.after, m.Begin)
	j := m.Welcome
	b := append([]byte(`{"peer_id":"`), m.Peer()...)
	b = append(append(b, `","room_id":"`...), j.Room...)
	b = append(append(b, `","session_id":"`...), j.ID...)
	b = strconv.AppendInt(append(b, `","started_at":`...), j.StartedAt, 10)
	b = append(append(b, `,"cursor":"`...), m.From().String()...)
	b = strconv.AppendUint(append(b, `","seq":`...), j.Seq, 10)
	b = append(append(b, `,"conn_id":"`...), m.Conn().String()...)
	b = strconv.AppendBool(append(b, `","resumed":`...), m.Resumed)
	b = strconv.AppendBool(append(b, `,"recovered":`...), m.Recovered)
	return append(b, '}'), nil
}

// resume is what a client that comes back says.
type resume struct {
	SessionID string `json:"session_id"`
	Cursor    string `json:"cursor"`
}

// check returns what it means; nil of nil.
func (r *resume) check() (*node.Resume, error) {
	if r == nil {
		return nil, nil
	}
	if err := hearth.CheckName("resume.session_id", r.SessionID); err != nil {
		return nil, err
	}
	at, err := hearth.ParseCursor(r.Cursor)
	if err != nil {
		return nil, hearth.BadParams("resume.%s", hearth.AsError(err).Detail)
	}
	return &node.Resume{Session: r.SessionID, At: at}, nil
}

func leave(k *call) ([]byte, error) {
	k.hold() // what else ends it may come first, and then it fails
	ended, err := k.member.Leave(k.ctx())
	if err != nil {
		return nil, err
	}
	k.leave = true
	return append(strconv.AppendBool([]byte(`{"session_ended":`), ended), '}'), nil
}

func refreshToken(k *call) ([]byte, error) {
	var q struct {
		Token string `json:"token"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	p, err := k.conn.srv.verify(q.Token)
	if err != nil {
		return nil, err
	}
	old := k.conn.principal.Load()
	if p.Management || p.Room != old.Room || p.User != old.User || p.Peer != old.Peer {
		return nil, hearth.Errorf(hearth.ReasonForbidden, "the new token has to be of the same room, user and peer")
	}
	k.conn.renew(p)
	if m := k.member; m != nil {
		m.Refresh(p)
	}
	return append(strconv.AppendInt([]byte(`{"exp":`), p.Expires.Unix(), 10), '}'), nil
}

// opID is the op_id that every write takes.
type opID struct {
	OpID string `json:"op_id"`
}

func peerUpdate(k *call) ([]byte, error) {
	var q struct {
		opID
		Name   *string `json:"name"`
		Data   *string `json:"data"`
		PeerID string  `json:"peer_id"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	m := k.member
	if q.PeerID == "" {
		q.PeerID = m.Peer()
	}
	p, err := k.conn.srv.node.UpdatePeer(k.ctx(), m.Caller(q.OpID), q.PeerID, q.Name, q.Data)
	if err != nil {
		return nil, err
	}
	return p.AppendJSON(nil), nil
}

func getPeer(k *call) ([]byte, error) {
	var q struct {
		PeerID string `json:"peer_id"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	p, err := k.conn.srv.node.Peer(k.conn.ctx, k.caller(), q.PeerID)
	if err != nil {
		return nil, err
	}
	k.meet(p)
	return p.AppendJSON(nil), nil
}

func findPeer(k *call) ([]byte, error) {
	var q struct {
		Peers   []string `json:"peers"`
		PeerIDs []string `json:"peerIds"` // what 100ms's iterator sends
		Role    string   `json:"role"`
		Group   string   `json:"group"`
		Limit   int      `json:"limit"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	q.Peers = append(q.Peers, q.PeerIDs...)
	page, err := k.conn.srv.node.FindPeers(k.conn.ctx, k.caller(),
		node.PeerFilter{IDs: q.Peers, Role: q.Role, Group: q.Group}, q.Limit)
	return iteratorPage(k, &page, err)
}

func peerIterNext(k *call) ([]byte, error) {
	var q struct {
		Iterator string `json:"iterator"`
		Limit    int    `json:"limit"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	page, err := k.conn.srv.node.NextPeers(k.conn.ctx, k.caller(), q.Iterator, q.Limit)
	return iteratorPage(k, &page, err)
}

func iteratorPage(k *call, page *node.PeerPage, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	k.meet(page.Peers...)
	b := append(append([]byte(`{"iterator":"`), page.Next...), '"')
	b = strconv.AppendInt(append(b, `,"total":`...), int64(page.Total), 10)
	b = strconv.AppendBool(append(b, `,"eof":`...), page.EOF)
	return append(appendPeers(append(b, `,"peers":`...), page.Peers), '}'), nil
}

func peerNameSearch(k *call) ([]byte, error) {
	var q struct {
		Query  string `json:"query"`
		Limit  int    `json:"limit"`
		Offset int    `json:"offset"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	page, err := k.conn.srv.node.SearchPeers(k.conn.ctx, k.caller(), q.Query, q.Offset, q.Limit)
	if err != nil {
		return nil, err
	}
	if q.Limit == 0 {
		q.Limit = hearth.DefaultPage
	}
	k.meet(page.Peers...)
	// The peers here also bear the flat members that 100ms's search has.
	peers := []byte{'['}
	for i := range page.Peers {
		p := &page.Peers[i]
		if i > 0 {
			peers = append(peers, ',')
		}
		peers = hearth.AppendString(append(peers, `{"name":`...), p.Name)
		peers = append(peers, `,"type":"regular",`...)
		peers = append(p.AppendBody(peers), '}')
	}
	b := strconv.AppendInt([]byte(`{"count":`), int64(len(page.Peers)), 10)
	b = strconv.AppendInt(append(b, `,"limit":`...), int64(q.Limit), 10)
	b = strconv.AppendInt(append(b, `,"offset":`...), int64(q.Offset), 10)
	b = strconv.AppendBool(append(b, `,"eof":`...), page.EOF)
	return append(append(append(b, `,"peers":`...), peers...), "]}"...), nil
}

func listenPeers(k *call) ([]byte, error) {
	var q struct {
		All *bool `json:"all"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	if q.All == nil {
		return nil, hearth.BadParams("all is missing: true to be told of each peer in a large room, false not to be")
	}
	return empty, k.member.ListenPeers(*q.All)
}

func appendPeers(dst []byte, peers []hearth.Peer) []byte {
	dst = append(dst, '[')
	for i := range peers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = peers[i].AppendJSON(dst)
	}
	return append(dst, ']')
}

type groupParams struct {
	opID
	Name   string `json:"name"`
	PeerID string `json:"peer_id"`
}

// groupOwn is group-join and group-leave.
func groupOwn(add bool) func(*call) ([]byte, error) {
	return func(k *call) ([]byte, error) {
		var q groupParams
		if err := k.bind(&q); err != nil {
			return nil, err
		}
		q.PeerID = k.member.Peer()
		return regroup(k, q, add)
	}
}

// groupOther is group-add and group-remove.
func groupOther(add bool) func(*call) ([]byte, error) {
	return func(k *call) ([]byte, error) {
		var q groupParams
		if err := k.bind(&q); err != nil {
			return nil, err
		}
		return regroup(k, q, add)
	}
}

func regroup(k *call, q groupParams, add bool) ([]byte, error) {
	change := k.conn.srv.node.RemoveFromGroup
	if add {
		change = k.conn.srv.node.AddToGroup
	}
	groups, err := change(k.conn.ctx, k.member.Caller(q.OpID), q.PeerID, q.Name)
	if err != nil {
		return nil, err
	}
	return append(hearth.AppendNames([]byte(`{"groups":`), groups), '}'), nil
}

func peerLeaveRequest(k *call) ([]byte, error) {
	var q struct {
		opID
		RequestedFor string `json:"requested_for"`
		Reason       string `json:"reason"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	k.hold() // it may be the caller itself
	_, err := k.conn.srv.node.Remove(k.conn.ctx, k.member.Caller(q.OpID), q.RequestedFor, q.Reason)
	return empty, err
}

func endRoom(k *call) ([]byte, error) {
	var q struct {
		opID
		Reason string `json:"reason"`
		Lock   bool   `json:"lock"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	k.hold()
	_, err := k.conn.srv.node.End(k.conn.ctx, k.member.Caller(q.OpID), q.Reason, q.Lock)
	return empty, err
}
