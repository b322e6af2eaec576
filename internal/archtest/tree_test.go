// Package archtest holds the house's rules that a machine can check: which
// package may import which, one package comment each, the size of files, the
// headers of scripts. It has tests only, and each rule is also tried on a small
// tree that breaks it.
//
// Files are parsed here instead of asking `go list`, for two reasons: every file
// counts whatever its build tags, and the test cache notices when one changes.
// How code is written within a file is the linter's business, not this package's.
package archtest

import (
	"bufio"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path that stands for this tree's root.
const module = "github.com/hearthstore/hearth"

// root is where the tree's root lies as seen from this package.
const root = "../.."

// source is one parsed Go file.
type source struct {
	path    string   // slash-separated, from the root
	name    string   // of its package
	doc     string   // the package comment it bears, if any
	imports []string // import paths
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// packages maps a directory ("." is the root) to its Go files.
type packages map[string][]source

// walk calls visit for every file of the tree that people wrote. What stands in
// a module of its own counts only if nested is set.
func walk(tree fs.FS, nested bool, visit func(file string) error) error {
	return fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			return visit(file)
		case file == ".":
			return nil
		}
		name := d.Name()
		if name[0] == '.' || slices.Contains([]string{"bin", "testdata", "vendor", "node_modules"}, name) {
			return fs.SkipDir
		}
		if !nested {
			_, err := fs.Stat(tree, path.Join(file, "go.mod"))
			switch {
			case err == nil:
				return fs.SkipDir
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
		}
		return nil
	})
}

// load parses the Go files of the module, down to their imports.
func load(tree fs.FS) (packages, error) {
	all := packages{}
	return all, walk(tree, false, func(file string) error {
		if path.Ext(file) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		s, err := newSource(file, parsed)
		if err != nil {
			return err
		}
		dir := path.Dir(file)
		all[dir] = append(all[dir], s)
		return nil
	})
}

func newSource(file string, parsed *ast.File) (source, error) {
	s := source{path: file, name: parsed.Name.Name, doc: strings.TrimSpace(parsed.Doc.Text())}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return s, fmt.Errorf("%s: %w", file, err)
		}
		s.imports = append(s.imports, imported)
	}
	return s, nil
}

// here is this repository's tree. A walk from the wrong place would find
// nothing to object to, so the place is checked.
func here(t *testing.T) fs.FS {
	t.Helper()
	mod, err := os.Open(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mod.Close() }()
	first := bufio.NewScanner(mod)
	if first.Scan(); first.Text() != "module "+module {
		t.Fatalf("%s/go.mod begins with %q, not with module %s", root, first.Text(), module)
	}
	return os.DirFS(root)
}

func loadHere(t *testing.T) packages {
	t.Helper()
	all, err := load(here(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(all["internal/archtest"]) == 0 {
		t.Fatal("the walk did not even find this file")
	}
	return all
}

// report fails the test once for each breach of a rule.
func report(t *testing.T, breaches []string) {
	t.Helper()
	for _, b := range breaches {
		t.Error(b)
	}
}

// objects checks that a rule finds exactly one breach for each of the wanted
// phrases, in their order, and nothing else.
func objects(t *testing.T, got []string, want ...string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("found\n\t%s\nwanted\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
