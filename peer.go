package hearth

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// Peer is one participant of a session.
type Peer struct {
	ID       string   // peer_id: unique among the session's peers
	User     string   // user_id: whose it is; only the same user can take the peer over
	Role     string   // what it may do, by the configured roles
	Name     string   // display name, at most MaxPeerNameLen bytes
	Data     string   // the app's, at most MaxPeerData bytes
	Groups   []string // at most MaxGroups names
	JoinedAt int64    // epoch milliseconds; survives a takeover
	Hidden   bool     // keeps the session alive, but is shown to no peer
}

// AppendBody appends the members of the peer's JSON object without its braces, as events hold them.
func (p *Peer) AppendBody(dst []byte) []byte {
	dst = append(dst, `"peer_id":"`...)
	dst = append(dst, p.ID...)
	dst = append(dst, `","role":"`...)
	dst = append(dst, p.Role...)
	dst = append(dst, `","groups":`...)
	dst = AppendNames(dst, p.Groups)
	dst = append(dst, `,"joined_at":`...)
	dst = strconv.AppendInt(dst, p.JoinedAt, 10)
	dst = append(dst, `,"realtime":true,"tracks":{},"info":{"name":`...)
	dst = AppendString(dst, p.Name)
	dst = append(dst, `,"data":`...)
	dst = AppendString(dst, p.Data)
	dst = append(dst, peerUser...)
	dst = AppendString(dst, p.User)
	return append(dst, peerEnd...)
}

// How the members of a peer's JSON object end: peerUser, its user, peerEnd.
const (
	peerUser = `,"user_id":`
	peerEnd  = `,"type":"regular"}`
)

// AppendJSON appends the peer as clients see it.
func (p *Peer) AppendJSON(dst []byte) []byte {
	return append(p.AppendBody(append(dst, '{')), '}')
}

// MarshalJSON is AppendJSON for encoding/json.
func (p *Peer) MarshalJSON() ([]byte, error) { return p.AppendJSON(nil), nil }

// InGroup reports whether the peer is in that group.
func (p *Peer) InGroup(group string) bool { return slices.Contains(p.Groups, group) }

// AppendNames appends a JSON array of names, none of which needs escaping.
func AppendNames(dst []byte, names []string) []byte {
	dst = append(dst, '[')
	for i, n := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), n...), '"')
	}
	return append(dst, ']')
}

// CheckGroup returns a bad_params error that names what if s can't be a group: a ValidName, of which the first byte may
// also be '_', as in the name under which 100ms's clients raise hands.
func CheckGroup(what, s string) error {
	if len(s) <= MaxNameLen && ValidName(strings.TrimPrefix(s, "_")) {
		return nil
	}
	return BadParams("%s must match _?[A-Za-z0-9][A-Za-z0-9._:~@+=-]*, at most %d bytes", what, MaxNameLen)
}

// CheckGroups returns an error if groups can't be a peer's groups, and else the groups without repeats.
func CheckGroups(groups []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, g := range groups {
		if err := CheckGroup("group", g); err != nil {
			return nil, err
		}
		if !seen[g] {
			seen[g] = true
			out = append(out, g)
		}
	}
	if len(out) > MaxGroups {
		return nil, Errorf(ReasonTooMany, "a peer can be in at most %d groups", MaxGroups)
	}
	return out, nil
}

// CheckPeerName returns an error if name can't be a peer's display name.
func CheckPeerName(name string) error {
	if len(name) > MaxPeerNameLen {
		return Errorf(ReasonTooLarge, "name has %d bytes; at most %d are allowed", len(name), MaxPeerNameLen)
	}
	return nil
}

// CheckPeerData returns an error if data can't be a peer's data.
func CheckPeerData(data string) error {
	if len(data) > MaxPeerData {
		return Errorf(ReasonTooLarge, "data has %d bytes; at most %d are allowed", len(data), MaxPeerData)
	}
	return nil
}

// A ConnID stands for one membership's current connection and is the fence of its writes: whoever has it can write as
// the peer, so it is given to its owner only. On the wire it is "<secret>.<peer_id>", opaque to clients; the secret is
// 128 random bits, and the peer_id saves the server from looking for the peer that a secret belongs to.
type ConnID struct {
	Secret string
	Peer   string
}

func (c ConnID) String() string { return c.Secret + "." + c.Peer }

// ParseConnID parses a conn_id as a client sent it back.
func ParseConnID(s string) (ConnID, error) {
	secret, peer, ok := strings.Cut(s, ".")
	raw, err := base64.RawURLEncoding.DecodeString(secret) // which skips line breaks, so the length counts before as well
	if !ok || err != nil || len(secret) != 22 || len(raw) != 16 || !ValidName(peer) {
		return ConnID{}, BadParams("conn_id is not one that a join returned")
	}
	return ConnID{Secret: secret, Peer: peer}, nil
}
