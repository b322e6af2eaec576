package auth

import (
	"maps"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
)

func TestRevocations(t *testing.T) {
	v := newVerifier(t)
	at := testNow.UnixMilli()
	claims := func(more object) object {
		c := with(peerClaims(), object{"jti": "one", "user_id": "ann"})
		delete(c, "iat")
		maps.Copy(c, more)
		return c
	}
	second := testNow.Unix() // is before testNow, which has a fraction
	server := object{
		"type": "management", "version": 2, "access_key": testKey, "jti": "server", "exp": second + 60, "iat": second,
	}
	revoked := []hearth.Revocation{
		{ID: "1", TokenID: "one", RevokedAt: at},
		{ID: "2", User: "bob", RevokedAt: at},
		{ID: "3", TokenID: "server", RevokedAt: at},
		{ID: "4", User: "one", RevokedAt: at},
		{ID: "5", TokenID: "bob", RevokedAt: at},
	}
	for name, tt := range map[string]struct {
		claims  object
		revoked bool
	}{
		"by jti":                        {claims(nil), true},
		"by jti, issued later":          {claims(object{"iat": second + 30}), true},
		"another jti":                   {claims(object{"jti": "two"}), false},
		"another jti, of a longer name": {claims(object{"jti": "one1"}), false},
		"a user's, without iat":         {claims(object{"jti": "two", "user_id": "bob"}), true},
		"a user's, issued before":       {claims(object{"jti": "two", "user_id": "bob", "iat": second - 3600}), true},
		"a user's, in the same second":  {claims(object{"jti": "two", "user_id": "bob", "iat": second}), true},
		"a user's, at the same time":    {claims(object{"jti": "two", "user_id": "bob", "iat": float64(at) / 1000}), true},
		"a user's, issued later":        {claims(object{"jti": "two", "user_id": "bob", "iat": second + 1}), false},
		"a user's, without jti":         {claims(object{"jti": "", "user_id": "bob"}), true},
		"another user's":                {claims(object{"jti": "two", "user_id": "bobby"}), false},
		"a user whose name is a jti":    {claims(object{"jti": "two", "user_id": "server"}), false},
		"a server's":                    {server, true},
		"another server's":              {with(server, object{"jti": "server2"}), false},
		"a server's, without jti":       {with(server, object{"jti": ""}), false},
	} {
		p, err := v.Verify(signed(t, tt.claims))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var l Revocations
		if err := l.Check(p); err != nil {
			t.Errorf("%s: refused by an empty list: %v", name, err)
		}
		l.Reset(revoked)
		if err := l.Check(p); (err != nil) != tt.revoked || err != nil && hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range revoked {
			l.Drop(r.ID)
		}
		if err := l.Check(p); err != nil || l.Len() != 0 {
			t.Errorf("%s: %d left, %v", name, l.Len(), err)
		}
	}
}

func TestRevocationsChange(t *testing.T) {
	var l Revocations
	p := &Principal{User: "u", Issued: time.UnixMilli(1500)}
	l.Drop("none")
	l.Put(hearth.Revocation{ID: "1", User: "u", RevokedAt: 1000, Until: 5000})
	if err := l.Check(p); err != nil {
		t.Error("issued later, and", err)
	}
	l.Put(hearth.Revocation{ID: "1", User: "u", RevokedAt: 2000, Until: 6000})
	l.Put(hearth.Revocation{ID: "2", TokenID: "j", Until: 1 << 60})
	if l.Check(p) == nil || l.Len() != 2 {
		t.Errorf("%d revocations, and good", l.Len())
	}
	slack := hearth.RevocationSlack.Milliseconds()
	if l.Expire(6000 + slack - 1); l.Check(p) == nil {
		t.Error("over too soon")
	}
	if l.Expire(6000 + slack); l.Check(p) != nil || l.Len() != 1 || l.Check(&Principal{TokenID: "j"}) == nil {
		t.Errorf("%d left", l.Len())
	}
	if l.Reset(nil); l.Len() != 0 || l.Check(&Principal{TokenID: "j"}) != nil {
		t.Error("left after a reset")
	}
}
