package auth

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth"
)

// Mint makes a token that says what p says, good from now on for ttl. AccessKey, TokenID, Issued, Expires and Until of p are not
// looked at: they are the verifier's to give. An error names what can't stand in a token.
func (v *Verifier) Mint(p Principal, ttl time.Duration) (string, error) {
	if ttl < time.Second {
		return "", hearth.BadParams("ttl must be at least one second")
	}
	if err := p.check(); err != nil {
		return "", err
	}
	if v.secret == nil {
		return "", hearth.BadParams("there is no app secret to sign with: set HEARTH_APP_SECRET")
	}
	now := v.now()
	c := jwt.MapClaims{
		"type":       "app",
		"version":    2,
		"access_key": v.accessKey,
		"jti":        rand.Text(),
		"iat":        now.Unix(),
		"nbf":        now.Unix(),
		"exp":        now.Add(ttl).Unix(),
	}
	if p.Management {
		c["type"] = "management"
	}
	for name, s := range map[string]string{
		"aud": v.audience, "iss": v.issuer, "room_id": p.Room, "user_id": p.User, "role": p.Role, "peer_id": p.Peer, "name": p.Name,
	} {
		if s != "" {
			c[name] = s
		}
	}
	if p.Permissions != nil {
		c["permissions"] = p.Permissions
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(v.secret)
	if err != nil {
		return "", fmt.Errorf("auth: mint: %w", err)
	}
	if len(token) > MaxTokenLen {
		return "", hearth.BadParams("the token would be longer than %d bytes", MaxTokenLen)
	}
	return token, nil
}
