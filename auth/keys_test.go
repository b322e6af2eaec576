package auth

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth"
)

const (
	oldSecret = "an old secret, 32 bytes or more of it"
	newSecret = "a new secret, 32 bytes or more of it "
)

// While secrets change, tokens of the old and the new one are good, each by its kid alone.
func TestSecrets(t *testing.T) {
	conf := Config{AccessKey: testKey, Secret: testSecret, Secrets: map[string]string{"old": oldSecret, "new": newSecret}, Now: func() time.Time { return testNow }}
	v, err := NewVerifier(conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kid    any
		secret string
		good   bool
	}{
		{without, testSecret, true},
		{"", testSecret, true},
		{nil, testSecret, true},
		{"old", oldSecret, true},
		{"new", newSecret, true},
		{"old", newSecret, false},
		{"old", testSecret, false},
		{without, oldSecret, false},
		{"older", testSecret, false},
		{"OLD", oldSecret, false},
		{"old\x00", oldSecret, false},
		{"older", "", false},
		{1, testSecret, false},
		{[]string{"old"}, oldSecret, false},
	} {
		token := sign(t, with(hs256, object{"kid": tt.kid}), peerClaims(), tt.secret, sha256.New)
		if p, err := v.Verify(token); (err == nil) != tt.good || err != nil && hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
			t.Errorf("kid %v by %.6s: %+v, %v", tt.kid, tt.secret, p, err)
		}
	}
	// What it mints needs no kid: whoever verified before there were any still can.
	token, err := v.Mint(Principal{Management: true}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t).Verify(token); err != nil {
		t.Error(err)
	}
	// Where there is one secret, a kid is what a minter's library adds.
	if _, err := newVerifier(t).Verify(sign(t, with(hs256, object{"kid": "mine"}), peerClaims(), testSecret, sha256.New)); err != nil {
		t.Error(err)
	}
}

func TestAudienceAndIssuer(t *testing.T) {
	conf := Config{AccessKey: testKey, Secret: testSecret, Audience: "hearth", Issuer: "https://id.example", Now: func() time.Time { return testNow }}
	v, err := NewVerifier(conf)
	if err != nil {
		t.Fatal(err)
	}
	both := object{"aud": "hearth", "iss": "https://id.example"}
	for name, tt := range map[string]struct {
		changes object
		cause   error
	}{
		"both":          {both, nil},
		"among others":  {with(both, object{"aud": []string{"a", "hearth"}}), nil},
		"neither":       {object{}, jwt.ErrTokenRequiredClaimMissing},
		"no aud":        {with(both, object{"aud": without}), jwt.ErrTokenRequiredClaimMissing},
		"no iss":        {with(both, object{"iss": without}), jwt.ErrTokenRequiredClaimMissing},
		"another aud":   {with(both, object{"aud": "Hearth"}), jwt.ErrTokenInvalidAudience},
		"others":        {with(both, object{"aud": []string{"a"}}), jwt.ErrTokenInvalidAudience},
		"aud a number":  {with(both, object{"aud": 1}), jwt.ErrInvalidType},
		"aud not texts": {with(both, object{"aud": []any{"hearth", nil}}), jwt.ErrInvalidType},
		"another iss":   {with(both, object{"iss": "https://id.example/"}), jwt.ErrTokenInvalidIssuer},
		"iss a list":    {with(both, object{"iss": []string{"https://id.example"}}), jwt.ErrInvalidType},
	} {
		token := signed(t, with(peerClaims(), tt.changes))
		_, err := v.Verify(token)
		if tt.cause == nil && err != nil || tt.cause != nil && !isCause(err, tt.cause) {
			t.Errorf("%s: %v, want %v", name, err, tt.cause)
		}
		if _, err := newVerifier(t).Verify(token); err != nil {
			t.Errorf("%s, where neither is asked for: %v", name, err)
		}
	}
	token, err := v.Mint(Principal{Room: "r", User: "u", Role: "host"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(token); err != nil {
		t.Errorf("its own token: %v", err)
	}
}

func isCause(err, cause error) bool {
	e := hearth.AsError(err)
	return e != nil && e.Cause == cause //nolint:errorlint // the very one
}

// noKeys is a source that knows no key.
type noKeys struct{}

func (noKeys) Find(string) (Key, bool) { return Key{}, false }

func TestNewVerifierOfKeys(t *testing.T) {
	for _, tt := range []struct {
		conf Config
		want string
	}{
		{Config{AccessKey: testKey, Keys: noKeys{}}, ""},
		{Config{AccessKey: testKey, Keys: noKeys{}, Secret: testSecret}, ""},
		{Config{AccessKey: testKey, Keys: noKeys{}, Secret: "short"}, "the app secret is shorter"},
		{Config{Keys: noKeys{}}, "no access key"},
		{Config{AccessKey: testKey, Secrets: map[string]string{"k": newSecret}}, "the app secret is shorter"},
		{Config{AccessKey: testKey, Secret: testSecret, Secrets: map[string]string{"k": "short"}}, "the app secret k is shorter"},
		{Config{AccessKey: testKey, Secret: testSecret, Secrets: map[string]string{"": newSecret}}, "kid must match"},
		{Config{AccessKey: testKey, Secret: testSecret, Secrets: map[string]string{"a b": newSecret}}, "kid must match"},
	} {
		_, err := NewVerifier(tt.conf)
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v, want %q", err, tt.want)
		case err != nil && strings.Contains(err.Error(), newSecret):
			t.Errorf("a secret is in %q", err)
		}
	}
	v, err := NewVerifier(Config{AccessKey: testKey, Keys: noKeys{}})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := v.Mint(Principal{Management: true}, time.Hour); err == nil || !strings.Contains(err.Error(), "HEARTH_APP_SECRET") {
		t.Errorf("minted %q without a secret: %v", token, err)
	}
	// An empty secret verifies nothing.
	if _, err := v.Verify(sign(t, hs256, peerClaims(), "", sha256.New)); err == nil || !strings.Contains(err.Error(), "must be signed with RS256 or ES256 or EdDSA") {
		t.Error(err)
	}
}

// A token is slow unless it is known not to be: where there are public keys, by a header that a good token by a secret had.
func TestSlow(t *testing.T) {
	good, other := signed(t, peerClaims()), sign(t, with(hs256, object{"kid": "other"}), peerClaims(), testSecret, sha256.New)
	if v := newVerifier(t); v.Slow(good) || v.Slow(signRSA(t, peerClaims())) {
		t.Error("slow without public keys")
	}
	v, err := NewVerifier(Config{AccessKey: testKey, Secret: testSecret, Keys: noKeys{}, Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Slow(good) {
		t.Error("quick before any was verified")
	}
	if _, err := v.Verify(sign(t, hs256, peerClaims(), testSecret+"x", sha256.New)); err == nil || !v.Slow(good) {
		t.Errorf("quick after a bad one: %v", err)
	}
	if _, err := v.Verify(good); err != nil || v.Slow(good) || !v.Slow(other) || !v.Slow(signRSA(t, peerClaims())) || !v.Slow("") {
		t.Errorf("after a good one: %v, slow %t, %t, %t, %t", err, v.Slow(good), v.Slow(other), v.Slow(signRSA(t, peerClaims())), v.Slow(""))
	}
}
