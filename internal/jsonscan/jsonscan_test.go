package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hearthstore/hearth/internal/jsonscan"
)

// texts are JSON and what is almost.
var texts = []string{
	``, ` `, `{`, `}`, `[`, `]`, `{}`, `[]`, ` { } `, "\t[\r\n]", `{]`, `[}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[,]`, `[1,]`, `[1 2]`, `{"a" 1}`,
	`{"a":1}`, `{ "a" : 1 , "b" : [ 1 , { } ] }`, `{"a":{"b":[[],{},[{}]]}}`, `{1:2}`, `{"a":1 "b":2}`, `{"a":1]`, `[1}`,
	`null`, `nul`, `nulll`, `true`, `truE`, `false`, `fals`, `null null`,
	`0`, `-0`, `01`, `-`, `+1`, `1.`, `.5`, `1.5`, `1e`, `1e+`, `1e5`, `1E-05`, `1.0e+10`, `0.1`, `0e1`, `1e400`, `--1`, `1-`, `NaN`, `0x1`,
	`""`, `"`, `"a`, `"a"b"`, `"\"`, `"\""`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u00e9\ud800\/\b\f\n\r\t\\"`, "\"\n\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\"",
	`"01234567"`, `"012345678901234\"6"`, "\"0123456789\x000\"", `"éééééééééééééé😀"`, `"!!!!!!!!!!!!!!!!"`, "\"\x80\x81\x9f\xa0\xa2\xdc\xff\xff\"",
	"\uFEFF1", `'a'`, `[[[[[[[[1]]]]]]]]`, `{"a":{"a":{"a":{"a":1}}}}`,
}

func deep(inside string, n int) string {
	return strings.Repeat("[", n) + inside + strings.Repeat("]", n)
}

func FuzzValue(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
		f.Add([]byte(`{"k": ` + text + ` ,"l":` + text + `}`))
		f.Add([]byte(`[` + text + `,` + text + `]`))
	}
	for _, n := range []int{63, 64, 65, 127, 128, 129, 200} {
		f.Add([]byte(deep("", n)))
		f.Add([]byte(deep("1,2", n) + "]"))
		f.Add([]byte(strings.Repeat(`{"a":[`, n) + "1" + strings.Repeat("]}", n)))
		f.Add([]byte(strings.Repeat(`{"a":[`, n) + "1" + strings.Repeat("}]", n)))
	}
	f.Fuzz(func(t *testing.T, text []byte) { same(t, text) })
}

// same fails the test unless a text is what encoding/json takes it for.
func same(t *testing.T, text []byte) {
	t.Helper()
	begin := jsonscan.Space(text, 0)
	end, spaced := jsonscan.Value(text, begin, 0)
	ok := end >= 0 && jsonscan.Space(text, end) == len(text)
	if ok != json.Valid(text) {
		t.Fatalf("%.200q is JSON: %t", text, ok)
	}
	if !ok {
		return
	}
	var want bytes.Buffer
	if err := json.Compact(&want, text); err != nil {
		t.Fatal(err)
	}
	value := text[begin:end]
	if got := jsonscan.AppendCompact(nil, value); !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("%.200q is compacted to %.200q", text, got)
	}
	if spaced != (want.Len() < len(value)) {
		t.Fatalf("%.200q has white space: %t", value, spaced)
	}
	members(t, text, begin, end)
}

// members fails the test unless an object's members are those that encoding/json finds.
func members(t *testing.T, text []byte, begin, end int) {
	t.Helper()
	m := jsonscan.Members{Text: text, At: begin}
	d := json.NewDecoder(bytes.NewReader(text[begin:]))
	if text[begin] != '{' {
		if _, _, ok := m.Next(); ok || m.At >= 0 {
			t.Fatalf("%.200q has members", text)
		}
		return
	}
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for {
		name, value, ok := m.Next()
		if ok != d.More() {
			t.Fatalf("%.200q has one more member: %t", text, ok)
		}
		if !ok {
			break
		}
		want, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(name, &got); err != nil || any(got) != want {
			t.Fatalf("%.200q has a member %q, not %q: %v", text, got, want, err)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil || !bytes.Equal(value, raw) {
			t.Fatalf("%.200q: %s is %.200q, not %.200q: %v", text, name, value, raw, err)
		}
	}
	if m.At != end {
		t.Fatalf("%.200q ends at %d, not %d", text, m.At, end)
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]int{
		"[]": 0, " []": -1, "[ ]": 0, "[1]": 1, "[1,2]": 2, "[ 1 , 2 ] x": 2, `[[1,2],{"a":[1,2,3]},"],"]`: 3, "[1,2,3,4]": 4, "[1,2,3,4,5,6]": 4,
		"[1,2,3,4 no JSON": 4, "": -1, "{}": -1, "1": -1, "[": -1, "[1": -1, "[1,": -1, "[1,]": -1, "[,1]": -1, "[1 2]": -1, "[]]": 0, "[1}": -1,
	} {
		if got := jsonscan.Count([]byte(text), 0, 3); got != want {
			t.Errorf("%s has %d, not %d", text, got, want)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, n := range []int{jsonscan.MaxDepth - 1, jsonscan.MaxDepth, jsonscan.MaxDepth + 1} {
		same(t, []byte(deep("", n)))
		same(t, []byte(strings.Repeat(`{"":`, n)+"1"+strings.Repeat("}", n)))
		inner := []byte(deep("", n-1))
		if end, _ := jsonscan.Value(inner, 0, 1); (end > 0) != (n <= jsonscan.MaxDepth) {
			t.Errorf("%d deep in another: %d", n-1, end)
		}
		m := jsonscan.Members{Text: []byte(`{"a":` + string(inner) + `}`)}
		if _, _, ok := m.Next(); ok != (n <= jsonscan.MaxDepth) {
			t.Errorf("%d deep in an object: %t", n-1, ok)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	text := []byte(`{"a": {"b":[1,2,{"c":"d\n"}]}, "e":null}`)
	if n := testing.AllocsPerRun(100, func() {
		m := jsonscan.Members{Text: text}
		for ok := true; ok; {
			_, _, ok = m.Next()
		}
		if m.At != len(text) {
			t.Fatal(m.At)
		}
	}); n > 0 {
		t.Errorf("it allocates %v times", n)
	}
}
