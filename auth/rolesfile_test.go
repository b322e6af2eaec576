package auth

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

func loadRoles(t *testing.T, text string) *Roles {
	t.Helper()
	r, err := LoadRoles([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoadRoles(t *testing.T) {
	r := loadRoles(t, `
roles:
  teacher: {permissions: [all], priority: 1}
  student:
    permissions: [lock, read, write: ["notes/*", hand]]
    priority: 20
  any: {permissions: [read, write: ["*"]]}
  "101": {permissions: []}
default: {permissions: ["read"]}
`)
	p := &Principal{Room: "r", User: "u", Role: "x"}
	for _, tt := range []struct {
		role     string
		perms    []Permission
		writes   []string
		not      []string
		priority int
	}{
		{"teacher", allPermissions, []string{"a", "notes/"}, nil, 1},
		{"student", []Permission{Read, Write, Lock}, []string{"notes/", "notes/1", "hand"}, []string{"note", "notes", "hands", "han", "default"}, 20},
		{"any", []Permission{Read, Write}, []string{"a"}, nil, 0},
		{"101", nil, nil, []string{"a"}, 0},
		{"guest", []Permission{Read}, nil, []string{"a"}, 0},
		{"host", []Permission{Read}, nil, []string{"a"}, 0},
	} {
		g := r.Role(tt.role)
		if g.Name != tt.role || !slices.Equal(g.Permissions, tt.perms) || g.Priority != tt.priority {
			t.Errorf("%s is %+v", tt.role, g)
		}
		for _, perm := range allPermissions {
			if err := r.Allow(p, "r", tt.role, perm); (err == nil) != slices.Contains(tt.perms, perm) {
				t.Errorf("%s, %s: %v", tt.role, perm, err)
			}
		}
		for _, key := range tt.writes {
			if err := r.AllowWrite(p, "r", tt.role, key); err != nil {
				t.Errorf("%s writes %s: %v", tt.role, key, err)
			}
		}
		for _, key := range tt.not {
			err := r.AllowWrite(p, "r", tt.role, key)
			if hearth.ReasonOf(err) != hearth.ReasonForbidden {
				t.Errorf("%s writes %s: %v", tt.role, key, err)
			} else if slices.Contains(tt.perms, Write) && !strings.Contains(err.Error(), `"`+key+`"`) {
				t.Errorf("%v doesn't name the key %s", err, key)
			}
		}
	}
	var names []string
	for _, g := range r.Known() {
		names = append(names, g.Name)
	}
	if got := strings.Join(names, " "); got != "101 any student teacher" {
		t.Errorf("known: %s", got)
	}
}

func TestAllowWrite(t *testing.T) {
	r := loadRoles(t, "roles: {student: {permissions: [write: [hand, notes/*]]}}")
	peer := &Principal{Room: "r", User: "u", Role: "student"}
	for _, tt := range []struct {
		what       string
		p          *Principal
		room, role string
		key        string
		want       hearth.Reason
	}{
		{"its key", peer, "r", "student", "hand", ""},
		{"another key", peer, "r", "student", "x", hearth.ReasonForbidden},
		{"no key at all", peer, "r", "student", "", hearth.ReasonBadParams},
		{"a pattern", peer, "r", "student", "x*", hearth.ReasonForbidden},
		{"a pattern that goes beyond its key", peer, "r", "student", "hand*", hearth.ReasonForbidden},
		{"a pattern within its keys", peer, "r", "student", "notes/1*", ""},
		{"its pattern", peer, "r", "student", "notes/*", ""},
		{"a pattern that goes beyond its pattern", peer, "r", "student", "notes*", hearth.ReasonForbidden},
		{"all", peer, "r", "student", "*", hearth.ReasonForbidden},
		{"a key without end", peer, "r", "student", strings.Repeat("k", 300), hearth.ReasonBadParams},
		{"another room", peer, "q", "student", "hand", hearth.ReasonForbidden},
		{"a role without", peer, "r", "other", "hand", hearth.ReasonForbidden},
		{"no role", peer, "r", "", "hand", hearth.ReasonForbidden},
		{"nobody", nil, "r", "student", "hand", hearth.ReasonUnauthenticated},
		{"a server", &Principal{Management: true}, "r", "student", "x", ""},
		{"a server that may write", &Principal{Management: true, Permissions: []Permission{Write}}, "r", "student", "x", ""},
		{"a server that may not", &Principal{Management: true, Permissions: []Permission{Read}}, "r", "student", "hand", hearth.ReasonForbidden},
	} {
		if err := r.AllowWrite(tt.p, tt.room, tt.role, tt.key); hearth.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := r.AllowWrite(peer, "r", "student", "hand"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What two roles share can be written once.
func TestLoadRolesWithAnchors(t *testing.T) {
	r := loadRoles(t, `
roles:
  a: &a
    permissions: &p [read, write: [x]]
    priority: 1
  b: *a
  c: {permissions: *p}
  d:
    <<: *a
`)
	for role, priority := range map[string]int{"a": 1, "b": 1, "c": 0, "d": 1} {
		g := r.Role(role)
		if !slices.Equal(g.Permissions, []Permission{Read, Write}) || !slices.Equal(g.Keys, hearth.Patterns{"x"}) || g.Priority != priority {
			t.Errorf("%s is %+v", role, g)
		}
	}
	if g := r.Role("e"); g.Permissions != nil {
		t.Errorf("without a default, e is %+v", g)
	}
}

func TestLoadRolesRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "names no roles"},
		{"# nothing\n", "names no roles"},
		{"roles: {}", "names no roles"},
		{"roles:\n\ta: 1", "line 2: "},
		{"roles: [a]", "line 1: sequence was used"},
		{"x", "line 1: string was used"},
		{"roles:\n  a: all", "line 2: string was used"},
		{"role:\n  a: {permissions: [all]}", `line 1: unknown field "role"`},
		{"roles:\n  a:\n    permissions: [all]\n    prio: 1", `line 4: unknown field "prio"`},
		{"roles:\n  a: {permissions: [all]}\n  a: {permissions: []}", `line 3: mapping key "a" already defined`},
		{"roles: {a: {permissions: [all]}}\n---\nroles: {b: {permissions: [all]}}", "one document"},
		{"roles:\n  a:", "role a: it has no permissions"},
		{"roles:\n  a: {priority: 1}", "role a: it has no permissions"},
		{"roles:\n  a: {permissions: all}", "line 2: string was used where sequence"},
		{"roles:\n  a:\n    permissions:\n      - read\n      - wirte", `role a: line 5: no permission is named "wirte"; they are: all, read, write,`},
		{"roles:\n  a: {permissions: [Read]}", `no permission is named "Read"`},
		{"roles:\n  a: {permissions: [read,\n    1]}", "role a: line 3: a permission is a name"},
		{"roles:\n  a: {permissions: [null]}", "role a: a permission is a name"},
		{"roles:\n  a: {permissions: [read, lock, read]}", "role a: line 2: read is given twice"},
		{"roles:\n  a: {permissions: [all, read]}", "role a: line 2: read is given twice"},
		{"roles:\n  a: {permissions: [write, write: [x]]}", "role a: line 2: write is given twice"},
		{"roles:\n  a: {permissions: [write: [x], write: [y]]}", "role a: line 2: write is given twice"},
		{"roles:\n  a: {permissions: [write: []]}", "role a: line 2: write: a list of one key"},
		{"roles:\n  a: {permissions: [write: x]}", "role a: line 2: write: a list of one key"},
		{"roles:\n  a: {permissions: [write: null]}", "role a: line 2: write: a list of one key"},
		{"roles:\n  a: {permissions: [write: [[x]]]}", "role a: line 2: write: a list of one key"},
		{"roles:\n  a:\n    permissions:\n      - write: [x, \"y**\"]", "role a: line 4: write: key must be"},
		{"roles:\n  a: {permissions: [lock: [x]]}", "write alone may be limited"},
		{"roles:\n  a: {permissions: [{write: [x], read: [x]}]}", "write alone may be limited"},
		{"roles:\n  a: {permissions: [all], priority: high}", "role a: line 2: priority must be"},
		{"roles:\n  a: {permissions: [all], priority: 0}", "role a: line 2: priority must be"},
		{"roles:\n  a: {permissions: [all], priority: 1.5}", "role a: line 2: priority must be"},
		{"roles:\n  a b: {permissions: [all]}", `role "a b": a role's name must match`},
		{"default: {permissions: [all], priority: 1}", "default: priority"},
		{"default: {permissions: [al]}", `default: line 1: no permission is named "al"`},
		{"default: {}", "default: it has no permissions"},
	} {
		r, err := LoadRoles([]byte(tt.text))
		switch {
		case err == nil:
			t.Errorf("%q is taken: %+v", tt.text, r)
		case !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%q: %v, not %q", tt.text, err, tt.want)
		}
	}
}

// The file that users begin with is one that can be loaded, and says of every permission what it is.
func TestExampleOfRoles(t *testing.T) {
	text, err := os.ReadFile("../deploy/roles.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := loadRoles(t, string(text))
	if g := r.Role("student"); !slices.Equal(g.Permissions, []Permission{Read, Write, Broadcast, Lock}) || len(g.Keys) != 2 {
		t.Errorf("student is %+v", g)
	}
	for _, p := range allPermissions {
		if !strings.Contains(string(text), "\n#   "+string(p)+" ") {
			t.Errorf("%s is not explained", p)
		}
	}
}

func FuzzLoadRoles(f *testing.F) {
	f.Add("roles: {a: {permissions: [read, write: [\"x*\"]], priority: 1}}\ndefault: {permissions: [all]}")
	f.Add("roles: {a: &a {permissions: [read]}, b: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := LoadRoles([]byte(text))
		if (r == nil) == (err == nil) {
			t.Errorf("%v, %v", r, err)
		}
	})
}
