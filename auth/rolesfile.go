package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/hearthstore/hearth"
)

// maxPriority bounds a role's priority.
const maxPriority = 1_000_000

// LoadRoles reads roles from YAML:
//
//	roles:
//	  teacher:
//	    permissions: [all]
//	    priority: 1
//	  student:
//	    permissions: [read, broadcast, lock, write: ["notes/*", hand]]
//	    priority: 2
//	default:
//	  permissions: [read]
//
// A role's permissions are the names of Permission, or all. Write may be limited to keys: exact ones, "abc*" for those
// that begin with abc, "*" for all. A priority may be left out. What roles that are not named have stands in default; if
// that is left out they have nothing, and no peer can join with one. What the file names is all that holds: nothing of
// DefaultRoles is added.
//
// Anything that is not so is an error, which says where: a permission that is lost to a misspelling, or given by one, would
// be noticed too late.
func LoadRoles(text []byte) (*Roles, error) {
	var file struct {
		Roles   map[string]roleSpec `yaml:"roles"`
		Default *roleSpec           `yaml:"default"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, syntaxError(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("roles: one document is enough: what follows --- would be ignored")
	}
	if len(file.Roles) == 0 && file.Default == nil {
		return nil, errors.New("the file names no roles; they stand under the key roles")
	}
	r := &Roles{named: make(map[string]Role, len(file.Roles))}
	for _, name := range slices.Sorted(maps.Keys(file.Roles)) {
		if !hearth.ValidName(name) {
			return nil, fmt.Errorf("role %q: %s", name, hearth.AsError(hearth.CheckName("a role's name", name)).Detail)
		}
		spec := file.Roles[name]
		g, err := spec.role()
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", name, err)
		}
		g.Name = name
		r.named[name] = g
	}
	if file.Default == nil {
		return r, nil
	}
	if file.Default.Priority.node != nil {
		return nil, errors.New("default: priority: roles that are not named have none")
	}
	other, err := file.Default.role()
	if err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	r.other = other
	return r, nil
}

// syntaxError is what the YAML package says, in one line.
func syntaxError(err error) error {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		return fmt.Errorf("line %d: %s", e.GetToken().Position.Line, e.GetMessage())
	}
	return err
}

// roleSpec is one role as the file has it. What is in it is judged once its name is known.
type roleSpec struct {
	Permissions []node `yaml:"permissions"`
	Priority    node   `yaml:"priority"`
}

// node is a part of the file that may have several forms; it has none where the file has null.
type node struct{ node ast.Node }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (n *node) UnmarshalYAML(v ast.Node) error {
	n.node = v
	return nil
}

// errorf says in which line the part is.
func (n *node) errorf(format string, args ...any) error {
	if n.node == nil {
		return fmt.Errorf(format, args...)
	}
	return fmt.Errorf("line %d: "+format, append([]any{n.node.GetToken().Position.Line}, args...)...)
}

func (s *roleSpec) role() (Role, error) {
	if s.Permissions == nil {
		return Role{}, errors.New("it has no permissions: a list is needed, [] for a role that may do nothing")
	}
	var g Role
	given := map[Permission]bool{}
	give := func(n *node, perms ...Permission) error {
		for _, p := range perms {
			if given[p] {
				return n.errorf("%s is given twice", p)
			}
			given[p] = true
		}
		return nil
	}
	for i := range s.Permissions {
		n := &s.Permissions[i]
		perms, keys, err := n.permission()
		if err == nil {
			err = give(n, perms...)
		}
		if err != nil {
			return Role{}, err
		}
		if keys != nil {
			g.Keys = keys
		}
	}
	for _, p := range allPermissions {
		if given[p] {
			g.Permissions = append(g.Permissions, p)
		}
	}
	if s.Priority.node == nil {
		return g, nil
	}
	_, whole := s.Priority.node.(*ast.IntegerNode)
	if err := yaml.NodeToValue(s.Priority.node, &g.Priority); !whole || err != nil || g.Priority < 1 || g.Priority > maxPriority {
		return Role{}, s.Priority.errorf("priority must be a whole number, 1–%d", maxPriority)
	}
	return g, nil
}

// permission reads an element of the list of permissions; keys is nil unless it limits write.
func (n *node) permission() (perms []Permission, keys hearth.Patterns, err error) {
	switch v := n.node.(type) {
	case *ast.StringNode:
		switch p := Permission(v.Value); {
		case p == "all":
			return allPermissions, nil, nil
		case slices.Contains(allPermissions, p):
			return []Permission{p}, nil, nil
		}
		return nil, nil, n.errorf("no permission is named %q; they are: all, %s", v.Value, strings.ReplaceAll(permissionNames, " ", ", "))
	case *ast.MappingNode:
		if len(v.Values) != 1 {
			break
		}
		if name, ok := v.Values[0].Key.(*ast.StringNode); ok && name.Value == string(Write) {
			keys, err := (&node{v.Values[0].Value}).keys()
			return []Permission{Write}, keys, err
		}
	}
	return nil, nil, n.errorf("a permission is a name; write alone may be limited to keys: write: [\"notes/*\", hand]")
}

// keys reads the list of patterns that limits write.
func (n *node) keys() (hearth.Patterns, error) {
	var list []string
	if err := yaml.NodeToValue(n.node, &list); err != nil || len(list) == 0 {
		return nil, n.errorf("write: a list of one key or more is needed; write alone is for all keys")
	}
	keys, err := hearth.ParsePatterns(list)
	if err != nil {
		return nil, n.errorf("write: %s", hearth.AsError(err).Detail)
	}
	return keys, nil
}
