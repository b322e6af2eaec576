package auth

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkVerify is what a connection costs (peer, server), and what a stranger can make us spend on a token that is no
// good: "hostile" is as long as a token may be and full of claims, none of which may be looked at.
func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b)
	var claims strings.Builder
	for i := 0; claims.Len() < 6000; i++ {
		fmt.Fprintf(&claims, `"%d":1,`, i)
	}
	for name, test := range map[string]struct {
		token string
		good  bool
	}{
		"peer":    {signed(b, peerClaims()), true},
		"server":  {signed(b, serverClaims()), true},
		"hostile": {sign(b, hs256, "{"+claims.String()+`"x":1}`, "another secret", sha256.New), false},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(test.token); (err == nil) != test.good {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMint(b *testing.B) {
	v := newVerifier(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Mint(Principal{Room: "room-1", User: "alice", Role: "host"}, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	roles, p := DefaultRoles(), &Principal{Room: "room-1", User: "alice", Role: "guest"}
	b.ReportAllocs()
	for b.Loop() {
		if err := roles.Allow(p, "room-1", p.Role, Lock); err != nil {
			b.Fatal(err)
		}
	}
}
