package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hearthstore/hearth"
)

// Permission is one thing that a role may be allowed to do. Its text stands in the configuration of roles and in the
// claim that narrows a management token.
type Permission string

// Permissions.
const (
	Read         Permission = "read"          // see peers, metadata, locks and messages
	Write        Permission = "write"         // change metadata
	Broadcast    Permission = "broadcast"     // send messages
	Lock         Permission = "lock"          // acquire, renew and release locks
	History      Permission = "history"       // read what happened before one's own join
	EndRoom      Permission = "end_room"      // end the session for all
	RemoveOthers Permission = "remove_others" // remove another peer
	ChangeRole   Permission = "change_role"   // ask for or force another peer's role
	UpdateOthers Permission = "update_others" // change another peer's name, data and groups
	Hidden       Permission = "hidden"        // join without being shown to other peers
)

// allPermissions is every Permission; permissionNames lists them for a reader.
var (
	allPermissions = []Permission{
		Read, Write, Broadcast, Lock, History, EndRoom, RemoveOthers, ChangeRole, UpdateOthers, Hidden,
	}
	permissionNames = strings.Trim(fmt.Sprint(allPermissions), "[]")
)

// Roles says what each role may do. It never changes, so goroutines may share it. A nil *Roles permits peers nothing.
type Roles struct {
	named map[string]grant
	other grant // what a role has that is not named
}

// grant is what one role may do.
type grant struct {
	permissions []Permission
}

// DefaultRoles is what holds without configuration: every role, whatever its name, has Read, Write, Broadcast and Lock,
// and host and admin have all permissions.
func DefaultRoles() *Roles {
	all := grant{permissions: allPermissions}
	return &Roles{
		named: map[string]grant{"host": all, "admin": all},
		other: grant{permissions: []Permission{Read, Write, Broadcast, Lock}},
	}
}

// Allow returns nil if p may do in room what perm names, and else a forbidden error that says why not. It is asked on
// every call; a yes allocates nothing.
//
// The role is the one that the store holds for the member who calls: it may have been changed since the token was made,
// and then it wins. For a caller who is no member, the role is p.Role. Allow does not fall back to that by itself: it
// would give a demoted peer its old role back wherever a call site forgets the store's. For management tokens the role
// means nothing; they may do all that they are not narrowed away from.
func (r *Roles) Allow(p *Principal, room, role string, perm Permission) error {
	if err := p.CheckRoom(room); err != nil {
		return err
	}
	if p.Management {
		if p.Permissions == nil || slices.Contains(p.Permissions, perm) {
			return nil
		}
		return hearth.Errorf(hearth.ReasonForbidden, "the token is narrowed to permissions without %s", perm)
	}
	if slices.Contains(r.of(role).permissions, perm) {
		return nil
	}
	return hearth.Errorf(hearth.ReasonForbidden, "role %q does not have the permission %s", role, perm)
}

func (r *Roles) of(role string) grant {
	if r == nil || role == "" {
		return grant{}
	}
	if g, ok := r.named[role]; ok {
		return g
	}
	return r.other
}
