package hearth_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

// nameGrammar is the one that the protocol gives.
var nameGrammar = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}\z`)

func TestNamesFollowTheirGrammar(t *testing.T) {
	for name, valid := range map[string]bool{
		"a": true, "Z": true, "0": true, "room-1": true, "a._:~@+=-": true, "A.b": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, strings.Repeat("x", 1<<20): false,
		"-a": false, ".": false, "..": false, ":a": false, "@": false, "_": false, "~": false,
		"a b": false, " a": false, "a ": false, "a/b": false, "a,b": false, "{a}": false, "a{b": false, "a}": false, "a*": false, "a?": false,
		"a\n": false, "a\r\nb": false, "a\x00": false, "\x00": false, "a\x7f": false, "é": false, "aé": false, "a\xff": false,
		`a"`: false, `a\`: false, "a'": false, "a<": false, "a%41": false, "a#": false, "a&b": false, "a;b": false, "a|": false, "[a]": false,
	} {
		if hearth.ValidName(name) != valid {
			t.Errorf("ValidName(%.50q) is %v", name, !valid)
		}
		err := hearth.CheckName("room_id", name)
		if got := hearth.ReasonOf(err); valid && got != "" || !valid && got != hearth.ReasonBadParams {
			t.Errorf("CheckName(%.50q) gives %v", name, err)
		}
		if err != nil && !strings.HasPrefix(hearth.AsError(err).Detail, "room_id ") {
			t.Errorf("the error doesn't say what is wrong: %v", err)
		}
	}
	for c := range 256 { // every byte, at the beginning and after it
		for _, name := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c)})} {
			if got, want := hearth.ValidName(name), nameGrammar.MatchString(name); got != want {
				t.Errorf("ValidName(%q) is %v", name, got)
			}
		}
	}
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"", "a", "-", "a b", "a\n", "room:1", strings.Repeat("x", 129)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := hearth.ValidName(s), nameGrammar.MatchString(s); got != want {
			t.Errorf("ValidName(%q) is %v", s, got)
		}
	})
}

func TestKeysFollowTheirGrammar(t *testing.T) {
	for key, valid := range map[string]bool{
		"a": true, "default": true, "a b": true, " ": true, "a/b": true, "{a}": true, "a*b": true, "*a": true, "ключ": true, "😀": true,
		`a"\`: true, "\u2028": true, "\u00a0": true, "-": true, strings.Repeat("x", 256): true, strings.Repeat("é", 128): true,
		"": false, "*": false, "a*": false, strings.Repeat("x", 257): false, strings.Repeat("é", 129): false,
		"a\n": false, "\t": false, "\x00": false, "a\x1fb": false, "\x7f": false, "\u0080": false, "\u009f": false, "\xff": false, "a\xc3": false,
	} {
		err := hearth.CheckKey(key)
		if got := hearth.ReasonOf(err); valid && got != "" || !valid && got != hearth.ReasonBadParams {
			t.Errorf("CheckKey(%.50q) gives %v", key, err)
		}
	}
}

func TestTextsAreBoundedAndClean(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check func(string) error
		limit int
		empty bool
	}{
		{"user_id", hearth.CheckUser, hearth.MaxUserLen, false},
		{"op_id", hearth.CheckOpID, hearth.MaxOpIDLen, true},
		{"type", func(s string) error { return hearth.CheckText("type", s, hearth.MaxTypeLen) }, hearth.MaxTypeLen, true},
	} {
		for text, valid := range map[string]bool{
			"": tt.empty, "a": true, "a b/c,d": true, "😀": true, strings.Repeat("x", tt.limit): true, strings.Repeat("x", tt.limit+1): false,
			"a\n": false, "\x00": false, "\u0085": false, "\xff": false,
		} {
			err := tt.check(text)
			if got := hearth.ReasonOf(err); valid && got != "" || !valid && got != hearth.ReasonBadParams {
				t.Errorf("as %s, %.50q gives %v", tt.name, text, err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.name) {
				t.Errorf("the error doesn't name %s: %v", tt.name, err)
			}
		}
	}
}

func TestPatternsMatchWhatTheyName(t *testing.T) {
	for _, tt := range []struct {
		watch    []string
		match    []string
		mismatch []string
		exact    bool
	}{
		{nil, nil, []string{"", "a"}, true},
		{[]string{"a"}, []string{"a"}, []string{"", "ab", "A", "a*"}, true},
		{[]string{"*"}, []string{"", "a", "a*", "😀"}, nil, false},
		{[]string{"ab*"}, []string{"ab", "abc", "ab*"}, []string{"", "a", "aab", "Ab"}, false},
		{[]string{"a*b"}, []string{"a*b"}, []string{"ab", "axb", "a*bc"}, true},
		{[]string{"a", "b*"}, []string{"a", "b", "bc"}, []string{"ab", "c"}, false},
	} {
		set, err := hearth.ParsePatterns(tt.watch)
		if err != nil {
			t.Errorf("%q: %v", tt.watch, err)
		}
		for _, key := range tt.match {
			if !set.Match(key) {
				t.Errorf("%q doesn't match %q", tt.watch, key)
			}
		}
		for _, key := range tt.mismatch {
			if set.Match(key) {
				t.Errorf("%q matches %q", tt.watch, key)
			}
		}
		keys, exact := set.Exact()
		if exact != tt.exact || exact && fmt.Sprint(keys) != fmt.Sprint(tt.watch) {
			t.Errorf("the exact keys of %q are %q, %v", tt.watch, keys, exact)
		}
	}
}

func TestPatternsAreChecked(t *testing.T) {
	many := func(n int) []string { return strings.Split(strings.Repeat("k ", n-1)+"k", " ") }
	for _, tt := range []struct {
		name  string
		watch []string
		want  hearth.Reason
	}{
		{"as many as there may be", many(hearth.MaxPatterns), ""},
		{"one more", many(hearth.MaxPatterns + 1), hearth.ReasonTooMany},
		{"a long prefix", []string{strings.Repeat("x", 256) + "*"}, ""},
		{"a prefix that is too long", []string{strings.Repeat("x", 257) + "*"}, hearth.ReasonBadParams},
		{"two asterisks", []string{"a**"}, hearth.ReasonBadParams},
		{"only two asterisks", []string{"**"}, hearth.ReasonBadParams},
		{"an empty key", []string{"a", ""}, hearth.ReasonBadParams},
		{"a control character", []string{"a\n*"}, hearth.ReasonBadParams},
		{"not UTF-8", []string{"\xff"}, hearth.ReasonBadParams},
	} {
		if _, err := hearth.ParsePatterns(tt.watch); hearth.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
