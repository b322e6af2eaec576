package auth

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth"
)

const (
	// MaxTokenLen bounds a token, in bytes: what is longer is refused before anything is computed from it. The longest
	// names, every character of them escaped, fit.
	MaxTokenLen = 8 << 10

	// MinSecretLen is the fewest bytes of a secret that NewVerifier takes. From one token, a shorter secret can be
	// guessed offline.
	MinSecretLen = 16

	// GoodSecretLen is how many bytes a secret should have: RFC 7518 asks for as many as HS256 has. Who starts a server
	// with fewer deserves a warning, which is the caller's to give.
	GoodSecretLen = 32
)

// Config is what a Verifier needs to know.
type Config struct {
	AccessKey string // the app's public key id; tokens of another one are refused. Required
	// Secret signs tokens by HS256, and verifies those without a kid. At least MinSecretLen bytes; empty if Keys is set and
	// nothing is to be signed.
	Secret string
	// Secrets verify tokens by HS256 that name them by kid: while secrets change, the old and the new one. With any, a kid that is
	// none of them is refused; without, a kid means nothing, as there is only one secret.
	Secrets map[string]string
	// Keys verify tokens by RS256, ES256 and EdDSA; nil for none. A key is for one algorithm, whatever a token says.
	Keys KeySource
	// Audience has to be, or be among, a token's aud, and Issuer its iss; each means nothing if it is empty.
	Audience, Issuer string

	Leeway time.Duration    // how far the clocks of minter and verifier may be apart; hearth.TokenLeeway if it is not positive
	Now    func() time.Time // time.Now
}

// KeySource finds public keys. It may be asked by many goroutines.
type KeySource interface {
	// Find returns the key that a token's kid names ("" for a token without one), as far as it is known at the moment.
	Find(kid string) (Key, bool)
}

// Key is a public key and the one algorithm that it is for.
type Key struct {
	Method jwt.SigningMethod // RS256, ES256 or EdDSA
	Public any               // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, as Method wants it
}

// Verifier verifies the tokens of one app, and mints them by HS256: which algorithms there are is fixed here, and a token's
// header has no say in it. It never changes but for what its KeySource knows, as its users see it, so goroutines may share it.
type Verifier struct {
	accessKey string
	secret    []byte            // nil for none
	secrets   map[string][]byte // by kid
	keys      KeySource
	audience  string
	issuer    string
	leeway    time.Duration
	now       func() time.Time
	head      atomic.Pointer[head] // of the token that was good last: most have the same; nil for none
}

// NewVerifier returns an error that says what to do if tokens can't be verified safely with that configuration.
func NewVerifier(c Config) (*Verifier, error) {
	if c.Leeway <= 0 {
		c.Leeway = hearth.TokenLeeway
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	v := &Verifier{
		accessKey: c.AccessKey, secrets: map[string][]byte{}, keys: c.Keys, audience: c.Audience, issuer: c.Issuer,
		leeway: c.Leeway, now: c.Now,
	}
	if c.AccessKey == "" {
		return nil, errors.New("auth: the app has a secret but no access key: set both, or neither")
	}
	if c.Secret != "" || c.Keys == nil || len(c.Secrets) > 0 {
		if err := checkSecret("the app secret", c.Secret); err != nil {
			return nil, err
		}
		v.secret = []byte(c.Secret)
	}
	for kid, secret := range c.Secrets {
		if !hearth.ValidName(kid) {
			return nil, errors.New("auth: a secret's kid must match [A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}")
		}
		if err := checkSecret("the app secret "+kid, secret); err != nil {
			return nil, err
		}
		v.secrets[kid] = []byte(secret)
	}
	return v, nil
}

func checkSecret(which, secret string) error {
	if len(secret) < MinSecretLen {
		return fmt.Errorf("auth: %s is shorter than %d bytes: set a random one of %d bytes or more, for example from `openssl rand -hex 32`",
			which, MinSecretLen, GoodSecretLen)
	}
	return nil
}

// Verify returns who the token speaks for. Every error is an *hearth.Error of ReasonUnauthenticated: its Detail says what
// is wrong with the token and its Cause is one of jwt's errors, such as jwt.ErrTokenExpired. Neither has any part of the
// token's text in it, so both may be logged.
//
// A claim that is there must be good, even one that could be left out: an empty room_id or null permissions are refused,
// because a narrowing that was lost on the way to the minter must not become a token that may do everything.
func (v *Verifier) Verify(token string) (*Principal, error) {
	c, err := v.open(token)
	if err != nil {
		return nil, err
	}
	kind := c.need("type")
	version := c.number("version")
	key := c.need("access_key")
	exp := c.time("exp")
	switch {
	case c.err != nil:
	case kind != "app" && kind != "management":
		c.fail(jwt.ErrTokenInvalidClaims, `the token's type must be "app" or "management"`)
	case version != 2:
		c.fail(jwt.ErrTokenInvalidClaims, "the token's version must be 2")
	case key != v.accessKey:
		c.fail(jwt.ErrTokenInvalidClaims, "the token's access_key is not the one of this server")
	default:
		v.checkTimes(c, exp)
		v.checkFor(c)
	}
	p := &Principal{
		Management: kind == "management",
		AccessKey:  key,
		TokenID:    c.text("jti"),
		Room:       c.optional("room_id"),
		Issued:     c.time("iat"),
		Expires:    exp,
		Until:      exp.Add(v.leeway),
	}
	p.Permissions = c.permissions()
	if !p.Management {
		p.Room, p.User, p.Role = c.need("room_id"), c.need("user_id"), c.need("role")
		p.Peer, p.Name = c.optional("peer_id"), c.text("name")
	}
	if c.err != nil {
		return nil, c.err
	}
	if err := cmp.Or(p.check(), hearth.CheckText("jti", p.TokenID, hearth.MaxTokenIDLen)); err != nil {
		return nil, unauthenticated(jwt.ErrTokenInvalidClaims, "the token's %s", hearth.AsError(err).Detail)
	}
	return p, nil
}

// Slow reports whether Verify may take as long as public keys do, tens of microseconds, where a secret takes a few: others should not
// have to wait for it.
func (v *Verifier) Slow(token string) bool {
	if v.keys == nil {
		return false
	}
	header, _, _ := strings.Cut(token, ".")
	known := v.head.Load()
	return known == nil || known.segment != header || known.Alg != jwt.SigningMethodHS256.Alg()
}

// open returns the claims of a token whose signature holds. jwt's own parser is not used because it decodes header and
// claims into maps before it looks at the signature: 8 KiB from a stranger cost it about 30 times what they cost here.
func (v *Verifier) open(token string) (*claims, error) {
	if token == "" {
		return nil, unauthenticated(jwt.ErrTokenMalformed, "no token was given")
	}
	if len(token) > MaxTokenLen {
		return nil, unauthenticated(jwt.ErrTokenMalformed, "the token is longer than %d bytes", MaxTokenLen)
	}
	header, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return nil, malformed()
	}
	sig, err := segments.DecodeString(signature) // a further dot is an error here
	if err != nil || segments.EncodedLen(len(sig)) != len(signature) {
		return nil, malformed()
	}
	head := v.head.Load()
	if head == nil || head.segment != header {
		if head = readHead(header); head == nil {
			return nil, malformed()
		}
	}
	method, key, err := v.keyFor(head.Alg, head.Kid)
	switch {
	case err != nil:
		return nil, err
	case head.Crit != nil:
		return nil, unauthenticated(jwt.ErrTokenUnverifiable, "the token's header has crit, which is not supported")
	case method.Verify(token[:len(header)+1+len(payload)], sig, key) != nil:
		return nil, unauthenticated(jwt.ErrTokenSignatureInvalid, "the token's signature is wrong: it was signed with another secret, or changed")
	}
	v.head.Store(head)
	text, err := segments.DecodeString(payload)
	if err != nil {
		return nil, malformed()
	}
	c, ok := readClaims(text)
	if !ok {
		return nil, malformed()
	}
	return c, nil
}

// head is the header of a token.
type head struct {
	segment string // as it is in the token

	Alg string `json:"alg"`
	Kid string `json:"kid"`
	// Crit lists extensions without which the token must not be understood (RFC 7515, 4.1.11); none are known here.
	Crit json.RawMessage `json:"crit"`
}

// readHead returns nil if a segment is no header.
func readHead(segment string) *head {
	h := &head{segment: strings.Clone(segment)} // of a token that need not be kept
	text, err := segments.DecodeString(segment)
	if err != nil || json.Unmarshal(text, h) != nil {
		return nil
	}
	return h
}

// keyFor returns what a token has to be verified with that says this alg and kid. The key decides: it is for one algorithm, and a
// token that says another one is refused, so no public key is ever taken for a secret.
func (v *Verifier) keyFor(alg, kid string) (jwt.SigningMethod, any, error) {
	hs256 := jwt.SigningMethodHS256
	switch {
	case alg == hs256.Alg() && v.secret != nil:
		secret, named := v.secrets[kid]
		switch {
		case named:
		case kid == "" || len(v.secrets) == 0:
			secret = v.secret
		default:
			return nil, nil, unauthenticated(jwt.ErrTokenUnverifiable, "the token's kid names no secret of this server")
		}
		return hs256, secret, nil
	case v.keys == nil || !slices.Contains(publicAlgs, alg):
		return nil, nil, unauthenticated(jwt.ErrTokenSignatureInvalid, "the token must be signed with %s", v.algs())
	}
	key, ok := v.keys.Find(kid)
	switch {
	case !ok:
		return nil, nil, unauthenticated(jwt.ErrTokenUnverifiable, "the token's kid names no key that this server knows")
	case key.Method.Alg() != alg:
		return nil, nil, unauthenticated(jwt.ErrTokenSignatureInvalid, "the key that the token's kid names is for %s", key.Method.Alg())
	}
	return key.Method, key.Public, nil
}

// publicAlgs are the algorithms that keys may be for.
var publicAlgs = []string{"RS256", "ES256", "EdDSA"}

// algs names what tokens may be signed with.
func (v *Verifier) algs() string {
	var names []string
	if v.secret != nil {
		names = append(names, jwt.SigningMethodHS256.Alg())
	}
	if v.keys != nil {
		names = append(names, publicAlgs...)
	}
	return strings.Join(names, " or ")
}

// checkFor compares for whom the token is, and whose, with what the configuration asks for.
func (v *Verifier) checkFor(c *claims) {
	if v.issuer != "" && c.need("iss") != v.issuer {
		c.fail(jwt.ErrTokenInvalidIssuer, "the token's iss is not the one of this server")
	}
	if v.audience != "" && !slices.Contains(c.audience(), v.audience) {
		c.fail(jwt.ErrTokenInvalidAudience, "the token's aud does not name this server")
	}
}

func (v *Verifier) checkTimes(c *claims, exp time.Time) {
	now := v.now()
	early := now.Add(v.leeway)
	if !now.Before(exp.Add(v.leeway)) {
		c.fail(jwt.ErrTokenExpired, "the token expired at %s", exp.Format(time.RFC3339))
	}
	if nbf := c.time("nbf"); early.Before(nbf) {
		c.fail(jwt.ErrTokenNotValidYet, "the token is not valid before %s (nbf)", nbf.Format(time.RFC3339))
	}
	if iat := c.time("iat"); early.Before(iat) {
		c.fail(jwt.ErrTokenUsedBeforeIssued, "the token was issued at %s (iat), which is in the future", iat.Format(time.RFC3339))
	}
}

// segments is strict, and open compares lengths, so that no two texts are the same token: else the last character of a
// signature could be changed, or a line break added, and the signature would still hold.
var segments = base64.RawURLEncoding.Strict()

func unauthenticated(cause error, format string, args ...any) *hearth.Error {
	return &hearth.Error{Reason: hearth.ReasonUnauthenticated, Detail: fmt.Sprintf(format, args...), Cause: cause}
}

// malformed has no cause of its own: what a decoder says of a text may quote it.
func malformed() error { return unauthenticated(jwt.ErrTokenMalformed, "the token is not a JWT") }
