package hearth_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

func TestStringsHaveOneForm(t *testing.T) {
	for s, want := range map[string]string{
		"":                     `""`,
		"plain text":           `"plain text"`,
		`"quoted" \ and / <&>`: `"\"quoted\" \\ and / <&>"`,
		"\n\r\t\b\f\x00\x1f":   `"\n\r\t\u0008\u000c\u0000\u001f"`,
		"\x7f":                 "\"\x7f\"",
		"é😀\u2028":             "\"é😀\u2028\"",
		"\xff":                 "\"\uFFFD\"",
		"a\xc3b\xff\xfec":      "\"a\uFFFDb\uFFFD\uFFFDc\"",
		"é\xf0\x9f":            "\"é\uFFFD\uFFFD\"",
		"\uFFFD":               "\"\uFFFD\"",
	} {
		if got := hearth.QuoteString(s); got != want {
			t.Errorf("%q is quoted as %s, not %s", s, got, want)
		}
		if got := string(hearth.AppendString([]byte("before"), s)); got != "before"+want {
			t.Errorf("%q is appended as %s", s, got)
		}
	}
}

// What is appended means what encoding/json means, and comes back as it was.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", `"\`, "\n\x00\x1f\x7f", "é😀\u2028", "\xff\xc3", "<&>", strings.Repeat("x\n", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := hearth.AppendString(nil, s)
		theirs, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got, want string
		if err := json.Unmarshal(quoted, &got); err != nil {
			t.Fatalf("%q is appended as %s: %v", s, quoted, err)
		}
		if err := json.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%q is appended as %s", s, quoted)
		}
		if got := hearth.UnquoteString(string(quoted)); got != want {
			t.Errorf("%q comes back as %q", s, got)
		}
		if strings.ContainsAny(string(quoted), "\n\r\x00") {
			t.Errorf("%q is appended as %q, which is not one line", s, quoted)
		}
	})
}

func FuzzUnquoteString(f *testing.F) {
	for _, s := range []string{"", `"`, `""`, `"a"`, `"a\n"`, `"a"b"`, `"\ud800"`, "\"\n\"", "\"\xff\"", "1", "null", ` "a" `, `"é"`, `"\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, q string) {
		var want string
		if err := json.Unmarshal([]byte(q), &want); err != nil {
			want = ""
		}
		if got := hearth.UnquoteString(q); got != want && strings.TrimSpace(q) == q {
			t.Errorf("%q is unquoted as %q, not %q", q, got, want)
		}
	})
}

func TestCompactJSONKeepsWhatCounts(t *testing.T) {
	for in, want := range map[string]string{
		` { "b" : 1.0 , "a" : [ 1e400 , -0 , 12345678901234567890 ] , "b" : "\u00e9 \/ \ud800" } `: `{"b":1.0,"a":[1e400,-0,12345678901234567890],"b":"\u00e9 \/ \ud800"}`,
		"\n\"a b\"\t":       `"a b"`,
		"null":              "null",
		`"<&>` + "\u2028\"": `"<&>` + "\u2028\"",
	} {
		got, err := hearth.CompactJSON("data", []byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s is compacted to %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", " ", "{", "[1,]", "1 2", "'a'", "NaN", "01", `{"a"}`, "\"\n\"", `"\x"`, "\"\xff\"", "\xff", "\uFEFF1", strings.Repeat("[", 20_000)} {
		if got, err := hearth.CompactJSON("data", []byte(in)); hearth.ReasonOf(err) != hearth.ReasonBadParams {
			t.Errorf("%.50q is compacted to %s, %v", in, got, err)
		} else if !strings.Contains(err.Error(), "data must be ") {
			t.Errorf("the error doesn't say what is wrong: %v", err)
		}
	}
}

func TestValuesAreNotNestedDeep(t *testing.T) {
	for _, n := range []int{1, hearth.MaxDepth, hearth.MaxDepth + 1, 1000, 9_999} {
		for _, in := range []string{
			strings.Repeat("[", n) + strings.Repeat("]", n),
			strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n),
			" " + strings.Repeat(`[1,{"a":`, n/2) + strings.Repeat("[", n%2) + "0" + strings.Repeat("]", n%2) + strings.Repeat("}]", n/2),
		} {
			_, err := hearth.CompactJSON("data", []byte(in))
			switch {
			case n <= hearth.MaxDepth && err != nil:
				t.Errorf("%d deep: %v", n, err)
			case n > hearth.MaxDepth && (hearth.ReasonOf(err) != hearth.ReasonBadParams || !strings.Contains(err.Error(), "data is nested deeper than 32")):
				t.Errorf("%d deep: %v", n, err)
			}
		}
	}
}

func TestIsNull(t *testing.T) {
	for in, want := range map[string]bool{"": true, "null": true, " null\n": true, `"null"`: false, "0": false, "false": false, `""`: false, "nul": false} {
		if hearth.IsNull([]byte(in)) != want {
			t.Errorf("IsNull(%q) is %v", in, !want)
		}
	}
}
