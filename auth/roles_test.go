package auth

import (
	"slices"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

func TestDefaultRoles(t *testing.T) {
	first := []Permission{"read", "write", "broadcast", "lock"}
	all := append(slices.Clone(first), "history", "end_room", "remove_others", "change_role", "update_others", "hidden")
	if !slices.Equal(all, allPermissions) {
		t.Fatalf("permissions are %v", allPermissions)
	}
	roles := DefaultRoles()
	p := &Principal{Room: "room-1", User: "alice", Role: "host"}
	for role, granted := range map[string][]Permission{
		"host": all, "admin": all,
		"guest": first, "viewer": first, "Host": first, "host ": first, "management": first,
		"": nil, // a call site that has no role gets none
	} {
		for _, perm := range append(slices.Clone(all), "", "READ", "no_such") {
			err := roles.Allow(p, "room-1", role, perm)
			if slices.Contains(granted, perm) {
				if err != nil {
					t.Errorf("%q, %s: %v", role, perm, err)
				}
				continue
			}
			if hearth.ReasonOf(err) != hearth.ReasonForbidden {
				t.Errorf("%q, %s: %v, want forbidden", role, perm, err)
			} else if !strings.Contains(err.Error(), string(perm)) || !strings.Contains(err.Error(), role) {
				t.Errorf("%q, %s: %q does not say which", role, perm, err)
			}
		}
	}
}

func TestAllMay(t *testing.T) {
	for text, want := range map[string]bool{
		"roles: {a: {permissions: [read]}}\ndefault: {permissions: [all]}":     true,
		"roles: {a: {permissions: [lock]}}\ndefault: {permissions: [read]}":    false,
		"roles: {a: {permissions: [read]}}\ndefault: {permissions: [history]}": false,
		"roles: {a: {permissions: [read]}}":                                    false,
	} {
		if got := loadRoles(t, text).AllMay(Read); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if r := DefaultRoles(); !r.AllMay(Read) || r.AllMay(History) || (*Roles)(nil).AllMay(Read) {
		t.Error("the default roles")
	}
}

func TestAllow(t *testing.T) {
	peer := &Principal{Room: "room-1", User: "alice", Role: "host"}
	server := &Principal{Management: true}
	oneRoom := &Principal{Management: true, Room: "room-1"}
	reader := &Principal{Management: true, Permissions: []Permission{Read, History}}
	narrow := &Principal{Management: true, Room: "room-1", Permissions: []Permission{Read, History}}
	closed := &Principal{Management: true, Permissions: []Permission{}}
	ok, forbidden, unauthenticated := hearth.Reason(""), hearth.ReasonForbidden, hearth.ReasonUnauthenticated
	def, none := DefaultRoles(), (*Roles)(nil)

	for _, test := range []struct {
		what  string
		roles *Roles
		p     *Principal
		room  string
		role  string
		perm  Permission
		want  hearth.Reason
	}{
		{"host", def, peer, "room-1", "host", EndRoom, ok},
		{"the store's role wins: demoted", def, peer, "room-1", "guest", EndRoom, forbidden},
		{"the store's role is missing", def, peer, "room-1", "", Read, forbidden},
		{"another room", def, peer, "room-2", "host", Read, forbidden},
		{"a prefix of the room", def, peer, "room-", "host", Read, forbidden},
		{"all rooms", def, peer, "", "host", Read, forbidden},
		{"a role's name is not a kind", def, peer, "room-1", "management", EndRoom, forbidden},

		{"server", def, server, "room-1", "", EndRoom, ok},
		{"server, all rooms", def, server, "", "", Read, ok},
		{"server, a role means nothing", def, server, "room-1", "guest", Hidden, ok},
		{"one room", def, oneRoom, "room-1", "", EndRoom, ok},
		{"one room, another", def, oneRoom, "room-2", "", Read, forbidden},
		{"one room, all rooms", def, oneRoom, "", "", Read, forbidden},
		{"reader", def, reader, "room-2", "", History, ok},
		{"reader, all rooms", def, reader, "", "", Read, ok},
		{"reader writes", def, reader, "room-2", "", Write, forbidden},
		{"reader, a role does not help", def, reader, "room-2", "host", Write, forbidden},
		{"narrow", def, narrow, "room-1", "", Read, ok},
		{"narrow, another room", def, narrow, "room-2", "", Read, forbidden},
		{"narrow writes", def, narrow, "room-1", "", Write, forbidden},
		{"closed", def, closed, "room-1", "", Read, forbidden},

		{"nobody", def, nil, "room-1", "host", Read, unauthenticated},
		{"nobody, nowhere", def, nil, "", "", Read, unauthenticated},
		{"zero", def, &Principal{}, "", "host", Read, forbidden},
		{"zero, a room", def, &Principal{}, "room-1", "host", Read, forbidden},
		{"no roles", none, peer, "room-1", "host", Read, forbidden},
		{"no roles, zero value", &Roles{}, peer, "room-1", "host", Read, forbidden},
		{"no roles, server", none, server, "room-1", "", EndRoom, ok},
		{"no roles, nobody", none, nil, "room-1", "host", Read, unauthenticated},
	} {
		if err := test.roles.Allow(test.p, test.room, test.role, test.perm); hearth.ReasonOf(err) != test.want {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
	}
}

func TestCheckRoom(t *testing.T) {
	p := &Principal{Room: "room-1"}
	if err := p.CheckRoom("room-1"); err != nil {
		t.Error(err)
	}
	if err := p.CheckRoom("room-2"); hearth.ReasonOf(err) != hearth.ReasonForbidden || !strings.Contains(err.Error(), "room-1") {
		t.Errorf("%v", err)
	}
	if err := (*Principal)(nil).CheckRoom("room-1"); hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
		t.Errorf("%v", err)
	}
}

func TestAllowAllocatesNothing(t *testing.T) {
	roles := DefaultRoles()
	for name, p := range map[string]*Principal{
		"peer":   {Room: "room-1", User: "alice", Role: "host"},
		"server": {Management: true, Room: "room-1", Permissions: []Permission{Read, Hidden}},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := roles.Allow(p, "room-1", "host", Hidden); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
