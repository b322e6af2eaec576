package auth

import (
	"fmt"
	"maps"
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
	Write        Permission = "write"         // change metadata; a role may be limited to some keys
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
	named map[string]Role
	other Role // what a role has that is not named; its own Name is empty
}

// Role is what one role may do. Its lists are shared and not to be changed.
type Role struct {
	Name        string
	Permissions []Permission    // in the order in which they are declared here
	Keys        hearth.Patterns // with Write: the keys that may be written; nil means all
	// Priority is for who shows roles to people; 1 comes first, and 0 is a role that has none. It decides nothing here.
	Priority int
}

// DefaultRoles is what holds without configuration: every role, whatever its name, has Read, Write, Broadcast and Lock,
// and host and admin have all permissions.
func DefaultRoles() *Roles {
	first := []Permission{Read, Write, Broadcast, Lock}
	return &Roles{
		named: map[string]Role{
			"host":  {Name: "host", Permissions: allPermissions, Priority: 1},
			"admin": {Name: "admin", Permissions: allPermissions, Priority: 2},
			"guest": {Name: "guest", Permissions: first, Priority: 3},
		},
		other: Role{Permissions: first},
	}
}

// Known returns the roles that the configuration names, without it host, admin and guest, in the order of their names.
// A token may bear others too: see Role.
func (r *Roles) Known() []Role {
	if r == nil {
		return nil
	}
	out := make([]Role, 0, len(r.named))
	for _, name := range slices.Sorted(maps.Keys(r.named)) {
		out = append(out, r.named[name])
	}
	return out
}

// Role returns what a role of any name may do: one that is not named has what the configuration gives to all others.
func (r *Roles) Role(name string) Role {
	if r == nil || name == "" {
		return Role{}
	}
	g, ok := r.named[name]
	if !ok {
		g = r.other
		g.Name = name
	}
	return g
}

// AllMay reports whether every role, also one that is not named, has a permission.
func (r *Roles) AllMay(perm Permission) bool {
	for _, g := range r.Known() {
		if !slices.Contains(g.Permissions, perm) {
			return false
		}
	}
	return r != nil && slices.Contains(r.other.Permissions, perm)
}

// Allow returns nil if p may do in room what perm names, and else a forbidden error that says why not. It is asked on
// every call; a yes allocates nothing. Of Write it says only whether there is a key that may be written: for a write ask
// AllowWrite.
//
// The role is the one that the store holds for the member who calls: it may have been changed since the token was made,
// and then it wins. For a caller who is no member, the role is p.Role. Allow does not fall back to that by itself: it
// would give a demoted peer its old role back wherever a call site forgets the store's. For management tokens the role
// means nothing; they may do all that they are not narrowed away from.
func (r *Roles) Allow(p *Principal, room, role string, perm Permission) error {
	_, err := r.allow(p, room, role, perm)
	return err
}

// AllowWrite is Allow for a change of the entry key, or of all entries that key, a pattern, matches: a role may be limited
// to some keys, a management token never is. An error that names a key is forbidden, or bad_params if it can be none.
func (r *Roles) AllowWrite(p *Principal, room, role, key string) error {
	g, err := r.allow(p, room, role, Write)
	// A pattern that matches another's text is within it: the * at its end stands for no less than itself.
	if err != nil || g.Keys == nil || g.Keys.Match(key) {
		return err
	}
	if _, err := hearth.ParsePatterns([]string{key}); err != nil {
		return err
	}
	return hearth.Errorf(hearth.ReasonForbidden, "role %q may not write the key %q", role, key)
}

// allow decides, and returns the role by which it did: the zero Role for a management token.
func (r *Roles) allow(p *Principal, room, role string, perm Permission) (Role, error) {
	if err := p.CheckRoom(room); err != nil {
		return Role{}, err
	}
	if p.Management {
		if p.Permissions == nil || slices.Contains(p.Permissions, perm) {
			return Role{}, nil
		}
		return Role{}, hearth.Errorf(hearth.ReasonForbidden, "the token is narrowed to permissions without %s", perm)
	}
	g := r.Role(role)
	if slices.Contains(g.Permissions, perm) {
		return g, nil
	}
	return Role{}, hearth.Errorf(hearth.ReasonForbidden, "role %q does not have the permission %s", role, perm)
}
