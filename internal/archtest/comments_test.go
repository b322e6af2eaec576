package archtest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A package says what it is for, and what not: that takes two sentences.
const minSentences = 2

var sentenceEnd = regexp.MustCompile(`[.!?:]["')]*(\s|$)`)

func TestPackageComments(t *testing.T) {
	report(t, checkComments(loadHere(t)))
}

func checkComments(all packages) []string {
	var breaches []string
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		var bearers []string
		var doc, want string
		for _, s := range all[dir] {
			if strings.HasSuffix(s.name, "_test") {
				continue // a package of its own to the compiler, to a reader none
			}
			want = "Package " + s.name + " "
			if s.name == "main" {
				want = "Command " + path.Base(dir) + " "
			}
			if s.doc != "" {
				bearers = append(bearers, s.path)
				doc = s.doc
			}
		}
		switch {
		case want == "":
		case len(bearers) == 0:
			breaches = append(breaches, fmt.Sprintf("%s: no package comment", dir))
		case len(bearers) > 1:
			breaches = append(breaches, fmt.Sprintf("%s: more than one package comment: %s", dir, strings.Join(bearers, ", ")))
		case !strings.HasPrefix(doc, want):
			breaches = append(breaches, fmt.Sprintf("%s: the package comment does not begin with %q", bearers[0], want))
		case len(sentenceEnd.FindAllString(doc, minSentences)) < minSentences:
			breaches = append(breaches, fmt.Sprintf("%s: the package comment has fewer than %d sentences", bearers[0], minSentences))
		}
	}
	return breaches
}

func TestCommentsAreAskedFor(t *testing.T) {
	const good = "// Package p is for this.\n// It is not for that.\n"
	for name, tt := range map[string]struct {
		tree map[string]string
		want []string
	}{
		"good":             {map[string]string{"p/a.go": good + "package p", "p/b.go": "package p"}, nil},
		"good command":     {map[string]string{"cmd/x/a.go": "// Command x runs. Not more.\npackage main"}, nil},
		"good, tests only": {map[string]string{"p/a_test.go": good + "package p"}, nil},
		"tests outside it": {map[string]string{"p/a_test.go": "package p_test"}, nil},
		"none":             {map[string]string{"p/a.go": "package p"}, []string{"p: no package comment"}},
		"detached":         {map[string]string{"p/a.go": good + "\npackage p"}, []string{"p: no package comment"}},
		"two":              {map[string]string{"p/a.go": good + "package p", "p/b.go": good + "package p"}, []string{"p/a.go, p/b.go"}},
		"two, one a test":  {map[string]string{"p/a.go": good + "package p", "p/b_test.go": good + "package p"}, []string{"more than one"}},
		"wrong name":       {map[string]string{"p/a.go": "// Package q is. It is.\npackage p"}, []string{`begin with "Package p "`}},
		"command as a package": {
			map[string]string{"cmd/x/a.go": "// Package main runs. Not more.\npackage main"},
			[]string{`begin with "Command x "`},
		},
		"one sentence": {map[string]string{"p/a.go": "// Package p is version 1.2 of\n// this.\npackage p"}, []string{"fewer than 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for file, src := range tt.tree {
				tree[file] = &fstest.MapFile{Data: []byte(src + "\n")}
			}
			all, err := load(tree)
			if err != nil {
				t.Fatal(err)
			}
			objects(t, checkComments(all), tt.want...)
		})
	}
}
