// Package auth answers two questions for every transport: who is calling (Verifier.Verify makes a *Principal of a token)
// and may they (Roles.Allow is the one place where that is decided).
//
// It is not for membership: whether the caller is a peer of the session, with which connection and with which role, is
// known to the store alone. Nor does it know where in a request a token travels, or what status a refusal becomes.
package auth

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hearthstore/hearth"
)

// Principal is who calls, as a verified token says: a peer, who acts as one user in one room, or a server of the
// application (Management), which acts for nobody in particular. It is not changed after Verify has returned it, so
// goroutines may share it.
type Principal struct {
	// Management tells the two kinds apart: it is true for a server's token, false for a peer's.
	Management bool
	AccessKey  string // the app's key pair that signed the token; public
	TokenID    string // jti, by which it can be revoked; empty if the token has none

	Room string // a peer's room; of a management token the only room it is good for, empty if it is good for all
	User string // a peer's user_id; empty for management
	Role string // the role that a peer joins with; empty for management. A member's role in the store wins over it
	Peer string // the only peer_id that a peer may take; empty if the token leaves it open, and for management
	Name string // display name of a peer that gives none when it joins; may be empty, and is for management

	// Permissions narrows a management token to what it lists. Nil means that the token is not narrowed; it is nil for
	// a peer, who may do what its role permits.
	Permissions []Permission

	Issued  time.Time // iat; zero if the token has none
	Expires time.Time // exp
	Until   time.Time // Expires and the leeway: Verify refuses the token from here on, and a connection that uses it ends
}

// CheckRoom returns a forbidden error if p may not act in room. The empty room stands for all rooms at once (to list
// them, say): only a management token that is not narrowed to one room may do that.
func (p *Principal) CheckRoom(room string) error {
	switch {
	case p == nil:
		return hearth.Errorf(hearth.ReasonUnauthenticated, "no token was given")
	case p.Room == "" && !p.Management: // no token is like that: a Principal made by hand opens nothing
		return hearth.Errorf(hearth.ReasonForbidden, "the token is for no room")
	case p.Room == "", p.Room == room:
		return nil
	}
	return hearth.Errorf(hearth.ReasonForbidden, "the token is for room %s only", p.Room)
}

// check returns an error if no token can say what p says. It judges what is to be minted as well as what was verified, so
// Verify takes whatever Mint makes.
func (p *Principal) check() error {
	if p.Management {
		unknown := func(perm Permission) bool { return !slices.Contains(allPermissions, perm) }
		switch {
		case p.User != "" || p.Role != "" || p.Peer != "" || p.Name != "":
			return hearth.BadParams("user_id, role, peer_id and name belong to peers: a management token has none")
		case p.Permissions != nil && len(p.Permissions) == 0, slices.ContainsFunc(p.Permissions, unknown):
			return hearth.BadParams("permissions must be one or more of: %s", permissionNames)
		}
		return checkOptional("room_id", p.Room)
	}
	switch {
	case p.Permissions != nil: // ignoring them would give more than whoever wrote them meant to give
		return hearth.BadParams("permissions belong to management tokens: a peer may do what its role permits")
	case !utf8.ValidString(p.Name):
		return hearth.BadParams("name must be UTF-8")
	}
	return cmp.Or(
		hearth.CheckName("room_id", p.Room),
		hearth.CheckUser(p.User),
		hearth.CheckName("role", p.Role),
		checkOptional("peer_id", p.Peer),
		hearth.CheckPeerName(p.Name),
	)
}

func checkOptional(what, name string) error {
	if name == "" {
		return nil
	}
	return hearth.CheckName(what, name)
}
