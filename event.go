package hearth

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Kind is what an event tells.
type Kind string

// Kinds of events. KindEnd alone is in no log: when it comes, the log is gone.
const (
	KindJoin   Kind = "join"
	KindLeave  Kind = "leave"
	KindUpdate Kind = "update" // a peer's name, data, role or groups
	KindMeta   Kind = "meta"
	KindMsg    Kind = "msg"
	KindLock   Kind = "lock"
	KindAsk    Kind = "ask"  // a peer is asked to take another role
	KindConn   Kind = "conn" // a newer connection took the peer over and Conn was replaced; for nodes, no client sees it
	// KindRewound: the store had lost changes, and the session goes on in a new log, of which this is the first change; for
	// nodes, no client sees it. Its Prev is the new epoch.
	KindRewound Kind = "rewound"
	KindEnd     Kind = "end"
)

// Method is the JSON-RPC notification (and the SSE event) that tells a client of this kind; "" if none does.
func (k Kind) Method() string {
	switch k {
	case KindJoin:
		return "on-peer-join"
	case KindLeave:
		return "on-peer-leave"
	case KindUpdate:
		return "on-peer-update"
	case KindMeta:
		return "on-metadata-change"
	case KindMsg:
		return "on-broadcast"
	case KindLock:
		return "on-lock-change"
	case KindAsk:
		return "on-role-change-request"
	case KindEnd:
		return "on-session-end"
	}
	return ""
}

// Event is one change of a session, as scripts write it to the log and publish it. Its text, which only a script writes
// (store/lua/_event.lua) and only ParseEvent reads, is lines:
//
//	<seq> <n> <prev> <epoch>                            the hub's line: order and continuity
//	<kind> <at> <peer> <conn> <audience>                - for none
//	<extra>                                             by kind, see below
//	<body>                                              the rest of the params, after seq and n
//
// The audience is * (all), ! (all but Peer), 0 (no peer: nodes only), @<peer_id> (one peer, of the user that extra
// names) or r<role>,<role> (all of those roles but Peer). In a large room * and ! are followed by ~ if of others than Peer
// only those are meant who listen to peers, and that by how many peers there are from here on, if the event changes it.
//
// Extra is "<role> <group>,<group>" for join, update and conn (- for no group), of a session's first join with its session_id
// after it; "<reason> <by> <text>" for leave, where
// text is a JSON string; the epoch of the old log for rewound; the user as a JSON string for a private message and for ask; "<reason> <by>" then text for end;
// "<name> <state> <token> <expires_at>" for lock; and for meta a count followed by as many lines "<length> <key>", which cut
// the body, a list of entries, without parsing it.
type Event struct {
	Cursor          // its seq, its nonce, its session's epoch
	Prev     string // nonce of the change before it; "" for the first
	Kind     Kind
	At       int64 // epoch milliseconds, the store's clock
	Peer     string
	Conn     string // secret of the connection it is about
	Audience Audience
	// PeerCount is how many peers there are from here on: of a join or a leave in a large room; else 0.
	PeerCount int
	Role      string   // KindJoin, KindUpdate, KindConn: the peer's role from here on
	Groups    []string // and its groups
	Session   string   // KindJoin: session_id of the session that begins with it; "" if one was on
	Leave     LeaveReason
	By        string // KindLeave, KindEnd: peer_id of who removed it or ended the session; "" for a server
	Text      string // the free text they gave, as a JSON string
	Lock      *LockChange
	Entries   []Segment // KindMeta: the entries in Body
	Body      string
}

// LockChange is what an event of KindLock tells; the holder is the event's Peer.
type LockChange struct {
	Name      string
	State     LockState
	Token     uint64
	ExpiresAt int64 // epoch milliseconds
}

// LockState is what became of a lock.
type LockState string

// States of a lock.
const (
	LockAcquired LockState = "acquired"
	LockReleased LockState = "released" // by the holder, or with its leave
	LockExpired  LockState = "expired"  // it was not renewed
)

// Segment is one entry of a metadata change: its key and its JSON text.
type Segment struct {
	Key  string
	JSON string
}

// Audience says which members an event is for.
type Audience struct {
	All       bool
	Except    string   // a peer_id that is left out
	Listeners bool     // only who listens to peers ...
	Self      string   // ... and the peer that it is about, whether it does or not
	Roles     []string // only these roles
	Peer      string   // only this peer ...
	User      string   // ... if it is this user's, a JSON string
}

// Includes reports whether a member with that peer_id, user (as a JSON string) and role is meant. listens says whether it
// has asked to be told of each peer in a large room.
func (a *Audience) Includes(peer, user, role string, listens bool) bool {
	switch {
	case a.Peer != "":
		return a.Peer == peer && a.User == user
	case a.Except != "" && a.Except == peer:
		return false
	case a.Listeners && !listens:
		return a.Self != "" && a.Self == peer
	case a.All:
		return true
	}
	return slices.Contains(a.Roles, role)
}

var errEvent = errors.New("hearth: malformed event")

// ParseCursorLine splits the hub's line off an event's text: what order and continuity need, and the rest.
func ParseCursorLine(text string) (c Cursor, prev, rest string, err error) {
	line, rest, ok := strings.Cut(text, "\n")
	seq, line, ok1 := strings.Cut(line, " ")
	n, line, ok2 := strings.Cut(line, " ")
	prev, epoch, ok3 := strings.Cut(line, " ")
	num, perr := strconv.ParseUint(seq, 10, 64)
	if !ok || !ok1 || !ok2 || !ok3 || perr != nil {
		return Cursor{}, "", "", errEvent
	}
	return Cursor{Epoch: epoch, Seq: num, Nonce: n}, dash(prev), rest, nil
}

// ParseEvent reads an event's text after the hub's line, which gave c and prev.
func ParseEvent(c Cursor, prev, rest string) (Event, error) {
	line, rest, ok := strings.Cut(rest, "\n")
	extra, body, ok2 := strings.Cut(rest, "\n")
	if !ok || !ok2 {
		return Event{}, errEvent
	}
	var f [4]string // and the audience after them
	for i := range f {
		if f[i], line, ok = strings.Cut(line, " "); !ok {
			return Event{}, errEvent
		}
	}
	at, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return Event{}, errEvent
	}
	e := Event{Cursor: c, Prev: prev, Kind: Kind(f[0]), At: at, Peer: dash(f[2]), Conn: dash(f[3]), Body: body}
	if err := e.parseExtra(extra); err != nil {
		return Event{}, err
	}
	if err := e.parseAudience(line, extra); err != nil {
		return Event{}, err
	}
	return e, nil
}

func (e *Event) parseAudience(s, extra string) error {
	if s, count, large := strings.Cut(s, "~"); large && (s == "*" || s == "!") {
		e.Audience.Listeners, e.Audience.All = true, true
		if s == "*" {
			e.Audience.Self = e.Peer
		} else {
			e.Audience.Except = e.Peer
		}
		if count == "" {
			return nil
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return errEvent
		}
		e.PeerCount = n
		return nil
	}
	switch {
	case s == "*":
		e.Audience.All = true
	case s == "!":
		e.Audience.All, e.Audience.Except = true, e.Peer
	case s == "0":
	case s != "" && s[0] == '@':
		e.Audience.Peer, e.Audience.User = s[1:], extra
	case s != "" && s[0] == 'r':
		e.Audience.Roles, e.Audience.Except = strings.Split(s[1:], ","), e.Peer
	default:
		return errEvent
	}
	return nil
}

func (e *Event) parseExtra(extra string) error {
	switch e.Kind {
	case KindJoin, KindUpdate, KindConn:
		role, groups, ok := strings.Cut(extra, " ")
		if !ok {
			return errEvent
		}
		groups, e.Session, _ = strings.Cut(groups, " ")
		e.Role = role
		if groups != "-" {
			e.Groups = strings.Split(groups, ",")
		}
	case KindLeave, KindEnd:
		f := strings.SplitN(extra, " ", 3)
		if len(f) != 3 {
			return errEvent
		}
		e.Leave, e.By, e.Text = LeaveReason(f[0]), dash(f[1]), f[2]
	case KindLock:
		f := strings.Split(extra, " ")
		if len(f) != 4 {
			return errEvent
		}
		token, err := strconv.ParseUint(f[2], 10, 64)
		expires, err2 := strconv.ParseInt(f[3], 10, 64)
		if err != nil || err2 != nil {
			return errEvent
		}
		e.Lock = &LockChange{Name: f[0], State: LockState(f[1]), Token: token, ExpiresAt: expires}
	case KindMeta:
		n, err := strconv.Atoi(extra)
		if err != nil {
			return errEvent
		}
		return e.cutEntries(n)
	}
	return nil
}

// cutEntries takes n lines "<length> <key>" off the body and cuts what is left, entries with commas between them.
func (e *Event) cutEntries(n int) error {
	if n < 1 || n > len(e.Body) {
		return errEvent
	}
	e.Entries = make([]Segment, n)
	sizes := make([]int, n)
	for i := range n {
		line, rest, ok := strings.Cut(e.Body, "\n")
		size, key, ok2 := strings.Cut(line, " ")
		num, err := strconv.Atoi(size)
		if !ok || !ok2 || err != nil || num < 0 {
			return errEvent
		}
		e.Body, e.Entries[i].Key, sizes[i] = rest, key, num
	}
	rest := e.Body
	for i, size := range sizes {
		if i > 0 {
			if rest == "" || rest[0] != ',' {
				return errEvent
			}
			rest = rest[1:]
		}
		if size > len(rest) {
			return errEvent
		}
		e.Entries[i].JSON, rest = rest[:size], rest[size:]
	}
	if rest != "" {
		return errEvent
	}
	return nil
}

// IsOf reports whether the event, a join, update or leave, is about a peer of that user, given as a JSON string.
func (e *Event) IsOf(user string) bool {
	body := e.Body
	if e.Kind == KindLeave {
		body = strings.TrimSuffix(body, `,"reason":"`+string(e.Leave)+`"`)
	}
	return strings.HasSuffix(body, peerUser+user+peerEnd) // as Peer.AppendBody writes it; nothing in data can look like it
}

// AppendParams appends the params of the notification that tells of the event: seq and n first. only, if not nil, picks
// the entries of a metadata change that the receiver watches; it must pick one at least.
func (e *Event) AppendParams(dst []byte, only func(key string) bool) []byte {
	dst = strconv.AppendUint(append(dst, `{"seq":`...), e.Seq, 10)
	dst = append(append(append(dst, `,"n":"`...), e.Nonce...), `",`...)
	if e.Kind != KindMeta {
		return append(append(dst, e.Body...), '}')
	}
	dst = append(dst, `"values":[`...)
	if only == nil {
		return append(append(dst, e.Body...), `]}`...)
	}
	sep := ""
	for _, s := range e.Entries {
		if only(s.Key) {
			dst = append(append(dst, sep...), s.JSON...)
			sep = ","
		}
	}
	return append(dst, `]}`...)
}

func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}
