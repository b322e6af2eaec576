package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth/auth"
)

// minter is another service's key, whose tokens a node verifies by its key set.
type minter struct {
	kid    string
	public ed25519.PublicKey
	key    ed25519.PrivateKey
}

func newMinter(t *testing.T, kid string) *minter {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &minter{kid, public, key}
}

func (m *minter) jwk() map[string]any {
	return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": m.kid, "x": base64.RawURLEncoding.EncodeToString(m.public)}
}

// token makes a server's token for a recipient.
func (m *minter) token(t *testing.T, audience string) string {
	t.Helper()
	c := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"type": "management", "version": 2, "access_key": appKey, "aud": audience, "exp": time.Now().Add(time.Hour).Unix(),
	})
	c.Header["kid"] = m.kid
	text, err := c.SignedString(m.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeSet(t *testing.T, path string, of ...*minter) {
	t.Helper()
	keys := []any{}
	for _, m := range of {
		keys = append(keys, m.jwk())
	}
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// status is what a call with a token is answered.
func (p *process) status(t *testing.T, token string) int {
	t.Helper()
	code, _ := p.http(t, http.MethodGet, "/v1/rooms", "", map[string]string{"Authorization": "Bearer " + token})
	return code
}

// TestKeySet: tokens are verified by a file of public keys, which may change while the node runs.
func TestKeySet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	first, second := newMinter(t, "first"), newMinter(t, "second")
	writeSet(t, path, first)
	n := start(t, []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_JWKS=" + path, "HEARTH_TOKEN_AUDIENCE=hearth"})
	for what, tt := range map[string]struct {
		token string
		want  int
	}{
		"of a key":           {first.token(t, "hearth"), 200},
		"for somebody else":  {first.token(t, "other"), 401},
		"of a key not known": {second.token(t, "hearth"), 401},
		"of another's key":   {(&minter{kid: "first", key: second.key}).token(t, "hearth"), 401},
		"by a secret":        {mint(t, auth.Principal{Management: true}), 401},
	} {
		if got := n.status(t, tt.token); got != tt.want {
			t.Errorf("%s: %d", what, got)
		}
	}
	writeSet(t, path, second)
	await(t, "the new key", func() bool { return n.status(t, second.token(t, "hearth")) == http.StatusOK })
	if got := n.status(t, first.token(t, "hearth")); got != http.StatusUnauthorized {
		t.Errorf("of a key that was taken out: %d", got)
	}
}

// TestSecretsChange: the next secret is known before the first token of it is made.
func TestSecretsChange(t *testing.T) {
	next := strings.Repeat("next", 8)
	n := start(t, []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret, "HEARTH_APP_SECRETS=2027=" + next, "HEARTH_TOKEN_ISSUER=me"})
	made := func(kid, secret string) string {
		c := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"type": "management", "version": 2, "access_key": appKey, "iss": "me", "exp": time.Now().Add(time.Hour).Unix(),
		})
		if kid != "" {
			c.Header["kid"] = kid
		}
		text, err := c.SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, tt := range []struct {
		kid, secret string
		want        int
	}{{"", appSecret, 200}, {"2027", next, 200}, {"2027", appSecret, 401}, {"", next, 401}, {"2028", next, 401}} {
		if got := n.status(t, made(tt.kid, tt.secret)); got != tt.want {
			t.Errorf("kid %q by %.4s: %d", tt.kid, tt.secret, got)
		}
	}
	// The command line makes tokens as the server wants them.
	out, err := command(t, []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret, "HEARTH_TOKEN_ISSUER=me"}, "token", "--management").Output()
	if err != nil || n.status(t, strings.TrimSpace(string(out))) != http.StatusOK {
		t.Errorf("hearth token: %v", err)
	}
	if said := n.said(); strings.Contains(said, next) || strings.Contains(said, appSecret) {
		t.Errorf("a secret is in the log: %s", said)
	}
}
