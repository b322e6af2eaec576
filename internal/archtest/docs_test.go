package archtest

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// threats is the document that says which test shows what.
const threats = "docs/security.md"

var (
	namedTest   = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	definedTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
)

func TestNamedTestsAreThere(t *testing.T) {
	breaches, err := checkNamedTests(here(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, breaches)
}

// checkNamedTests finds tests that the document names and nobody has.
func checkNamedTests(tree fs.FS) (breaches []string, err error) {
	defined := map[string]bool{}
	err = walk(tree, false, func(file string) error {
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(tree, file)
		for _, m := range definedTest.FindAllSubmatch(src, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(tree, threats)
	if err != nil {
		return nil, err
	}
	for _, m := range namedTest.FindAllSubmatch(text, -1) {
		if name := string(m[1]); !defined[name] {
			breaches = append(breaches, threats+" names "+name+", which is no test")
		}
	}
	return breaches, nil
}

func TestNamesOfTestsAreChecked(t *testing.T) {
	got, err := checkNamedTests(fstest.MapFS{
		threats:       {Data: []byte("`TestA`, `FuzzB`, `TestGone`, `TestTypo` and TestPlain")},
		"a/a_test.go": {Data: []byte("package a\n\nfunc TestA(t *testing.T) {}\n\nfunc FuzzB(f *testing.F) {}\n")},
		"a/a.go":      {Data: []byte("package a\n\nfunc TestGone() {}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	objects(t, got, "names TestGone", "names TestTypo")
}
