package httpapi

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

const (
	// greetAfter is when a 100ms client that has sent nothing yet is told its role. Told in the same instant as the upgrade,
	// some lose it; their first frame, a ping, shows that they listen.
	greetAfter = 200 * time.Millisecond
	// maxKnownRoles bounds the roles that a client is told of because it met them: beyond it, only its own is added.
	maxKnownRoles = 100
)

// implicit is what the connection of a 100ms client has beside others. Such a client knows roles by what it is told in
// on-policy-change, and shows no role that it wasn't told of; here, any name may be one. So it is told again whenever its
// own role changes or a peer comes with a role that is new to it.
type implicit struct {
	c     *conn
	timer *time.Timer

	greeting sync.Mutex // held while it is greeted
	// back is the membership that it came back to and has not been told of yet, if not nil; lapsed: it came back too late
	// and has not been told. Guarded by greeting.
	back   *node.Member
	lapsed bool

	mu    sync.Mutex
	role  string   // its own, as it was told last; "" if it wasn't yet
	known []string // what it was told of, sorted
}

// start sees to it that the client is greeted; greet is called again after its first message.
func (i *implicit) start() { i.timer = time.AfterFunc(i.c.srv.o.greetAfter, i.greet) }

func (i *implicit) stop() {
	if i.timer != nil {
		i.timer.Stop()
	}
}

// greet tells the client what it came back to, or the role of its token, unless it has been told one.
func (i *implicit) greet() {
	i.welcome()
	i.mu.Lock()
	if i.role == "" {
		i.tell(i.c.principal.Load().Role)
	}
	i.mu.Unlock()
	i.greeting.Lock()
	defer i.greeting.Unlock()
	if i.lapsed && !i.c.joined.Load() {
		i.c.Send(EncodeNotification("on-peer-leave-request", func(dst []byte) []byte {
			return append(dst, `{"reason":"timed_out","room_end":false}`...)
		}))
	}
	i.lapsed = false
}

// welcome tells the client what it came back to, before it is answered anything.
func (i *implicit) welcome() {
	i.greeting.Lock()
	defer i.greeting.Unlock()
	if m := i.back; m != nil {
		i.back = nil
		i.joined(m)
		m.Begin()
	}
}

// comeBack attaches a 100ms client whose peer is still a member. It returns a code if that can't be found out: the client
// would take itself for a member, and tries again after a second.
func (c *conn) comeBack() (node.CloseCode, string) {
	if c.implicit == nil {
		return 0, ""
	}
	p := c.principal.Load()
	m, err := c.srv.node.Return(c.srv.node.CallContext(time.Now()), p, node.JoinParams{Room: p.Room, Peer: c.wanted, Meet: c.implicit.meet}, c)
	switch {
	case errors.Is(err, node.ErrAbsent):
	case errors.Is(err, node.ErrTimedOut):
		c.implicit.lapsed = true
	case hearth.ReasonOf(err) == hearth.ReasonRateLimited:
		return node.CloseTryLater, hearth.AsError(err).Detail
	case err != nil:
		c.srv.log.Warn("a client can't come back", "room", p.Room, "peer", c.wanted, "error", err)
		return node.CloseTryLater, "the store could not be asked: come back later"
	default:
		c.member, c.attached = m, true
		c.joined.Store(true)
		c.implicit.back = m
	}
	c.implicit.start()
	return 0, ""
}

// joined follows the reply to the join and goes before the snapshot: the role that the store holds, those of the peers in
// the snapshot, and the room.
func (i *implicit) joined(m *node.Member) {
	j := m.Welcome
	i.mu.Lock()
	i.tell(j.Own.Role, roles(j.Peers)...)
	i.mu.Unlock()
	i.c.Send(EncodeNotification("room-info", func(dst []byte) []byte {
		dst = append(append(append(dst, `{"room_id":"`...), j.Room...), `","name":"`...)
		dst = append(append(dst, j.Room...), `","description":"","max_size":`...)
		dst = strconv.AppendInt(dst, int64(i.c.srv.node.Limits().MaxPeers), 10)
		// A client takes its list of peers for complete, and to stay so, unless it is told this.
		partial := len(j.Peers) < j.PeerCount || j.PeerCount > i.c.srv.node.Limits().LargeRoom
		dst = strconv.AppendBool(append(dst, `,"large_room_optimization":`...), partial)
		return append(dst, '}')
	}))
}

// meet is told the role of a peer that the next notification is about.
func (i *implicit) meet(own bool, role string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if own {
		i.tell(role)
	} else {
		i.tell(i.role, role)
	}
}

// tell sends on-policy-change if own, the client's role, or one of the others is new to it. i.mu is held.
func (i *implicit) tell(own string, others ...string) {
	news := own != i.role
	if i.known == nil {
		for _, role := range i.c.srv.node.Roles().Known() {
			i.learn(role.Name)
		}
	}
	for _, role := range others {
		if len(i.known) < maxKnownRoles && i.learn(role) {
			news = true
		}
	}
	if i.role = own; i.learn(own) {
		news = true
	}
	if news {
		i.c.Send(EncodeNotification("on-policy-change", i.appendPolicy))
	}
}

// learn reports whether a role was new. i.mu is held.
func (i *implicit) learn(role string) bool {
	at, found := slices.BinarySearch(i.known, role)
	if !found {
		i.known = slices.Insert(i.known, at, role)
	}
	return !found
}

// appendPolicy appends the params of on-policy-change: the client's role and all it has to know of. No role publishes or
// subscribes to media.
func (i *implicit) appendPolicy(dst []byte) []byte {
	dst = append(append(append(dst, `{"name":"`...), i.role...), `","known_roles":{`...)
	roles := i.c.srv.node.Roles()
	last := 1 // of roles that have no priority
	for _, role := range roles.Known() {
		last = max(last, role.Priority+1)
	}
	for n, name := range i.known {
		if n > 0 {
			dst = append(dst, ',')
		}
		role := roles.Role(name)
		dst = append(append(append(dst, '"'), name...), `":{"name":"`...)
		dst = append(append(dst, name...), `","priority":`...)
		if role.Priority == 0 {
			role.Priority = last
		}
		dst = strconv.AppendInt(dst, int64(role.Priority), 10)
		dst = append(dst, `,"publishParams":{"allowed":[]},"subscribeParams":{"subscribeToRoles":[],"maxSubsBitRate":0},"permissions":{`...)
		dst = append(appendPermissions(dst, role.Permissions), "}}"...)
	}
	return append(dst, `},"plugins":{},"template_id":"hearth","app_data":{}}`...)
}

// permissions are those that 100ms's clients know by name: what they let their user try. Those of media, recording and
// polls nobody has here.
var permissions = []struct {
	name string
	perm auth.Permission
}{
	{"endRoom", auth.EndRoom},
	{"removeOthers", auth.RemoveOthers},
	{"changeRole", auth.ChangeRole},
	{"mute", ""},
	{"unmute", ""},
	{"hlsStreaming", ""},
	{"rtmpStreaming", ""},
	{"browserRecording", ""},
	{"pollRead", ""},
	{"pollWrite", ""},
}

func appendPermissions(dst []byte, has []auth.Permission) []byte {
	for n, one := range permissions {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), one.name...), `":`...)
		dst = strconv.AppendBool(dst, slices.Contains(has, one.perm))
	}
	return dst
}

// caller returns on whose behalf a read is made: the member, or before the join of a 100ms client its token.
func (k *call) caller() *node.Caller {
	if m := k.member; m != nil {
		return m.Caller("")
	}
	p := k.conn.principal.Load()
	return &node.Caller{Principal: p, Room: p.Room, Role: p.Role}
}

// meet tells a 100ms client, before the reply that it will find them in, of peers' roles.
func (k *call) meet(peers ...hearth.Peer) {
	i := k.conn.implicit
	if i == nil {
		return
	}
	i.greet()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tell(i.role, roles(peers)...)
}

func roles(peers []hearth.Peer) []string {
	out := make([]string, len(peers))
	for n := range peers {
		out[n] = peers[n].Role
	}
	return out
}

// implicitConn reports whether a request for a WebSocket comes from a 100ms client: it names the protocol that it speaks.
func implicitConn(p *auth.Principal, spec string) bool {
	return p != nil && !p.Management && spec != ""
}
