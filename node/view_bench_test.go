package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// benchChange is a change as the node decodes it.
func benchChange(b *testing.B, text string) *change {
	b.Helper()
	c, prev, rest, err := hearth.ParseCursorLine("42 nonce7 nonce6 epoch\n" + text)
	if err != nil {
		b.Fatal(err)
	}
	ev, err := hearth.ParseEvent(c, prev, rest)
	if err != nil {
		b.Fatal(err)
	}
	return &change{Event: ev, method: ev.Kind.Method()}
}

// BenchmarkView is what decides for each member whether it is shown a change.
func BenchmarkView(b *testing.B) {
	entry := `{"key":"deck","data":3,"change_version":7}`
	meta := "meta 1732358400000 ann c0ffee *\n1\n" + fmt.Sprintf("%d deck\n", len(entry)) + entry
	var hundred []string
	for i := range 99 {
		hundred = append(hundred, fmt.Sprintf("other-%d-*", i))
	}
	for _, c := range []struct {
		name, text string
		keys       []string
		want       sight
	}{
		{"message", "msg 1732358400000 ann c0ffee !\n\n\"info\":{}", nil, whole},
		{"message to roles", "msg 1732358400000 ann c0ffee rhost,guest\n\n\"info\":{}", nil, whole},
		{"own message", "msg 1732358400000 bob c0ffee !\n\n\"info\":{}", nil, nothing},
		{"watched by all", meta, []string{"*"}, whole},
		{"watched by name", meta, []string{"deck"}, whole},
		{"watched by the last of 100", meta, append(hundred, "deck"), whole},
		{"not watched", meta, []string{"other"}, nothing},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			keys, err := hearth.ParsePatterns(c.keys)
			if err != nil {
				b.Fatal(err)
			}
			roles := auth.DefaultRoles()
			v := view{peer: "bob", user: `"u2"`, keys: keys, may: func(role string) bool {
				return roles.Allow(&auth.Principal{Room: "r", User: "u2", Role: role}, "r", role, auth.Read) == nil
			}}
			v.setRole("guest")
			ch := benchChange(b, c.text)
			b.ReportAllocs()
			for b.Loop() {
				v.note(ch)
				if got := v.sees(ch); got != c.want {
					b.Fatalf("it is shown %v", got)
				}
			}
		})
	}
}
