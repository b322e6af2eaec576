// Package jwks has the public keys that tokens of other minters are verified with: a JSON Web Key Set (RFC 7517) from a file or
// a URL, read anew now and then. It verifies nothing itself, and holds no secrets.
package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth/auth"
)

// Bounds of a set. What is beyond them is an error, and the set that was known is kept.
const (
	maxText = 1 << 20 // bytes
	maxKeys = 100
	minRSA  = 2048 // bits
	maxRSA  = 8192 // a longer one would let a stranger's token cost too much
)

// Set is keys by their kid.
type Set map[string]auth.Key

// Find returns the key that a token's kid names. A token without one can only mean the key of a set that has just one.
func (s Set) Find(kid string) (auth.Key, bool) {
	if kid == "" && len(s) == 1 {
		for _, k := range s {
			return k, true
		}
	}
	k, ok := s[kid]
	return k, ok
}

// Parse reads a set. Keys that sign no tokens, or by another algorithm, are left out: a provider's set may have them. Those that
// are left are good: of a known curve, long enough, of different names.
func Parse(text []byte) (Set, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the key set is over %d bytes", maxText)
	}
	var raw struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("the key set is not JSON: %w", err)
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has over %d keys", maxKeys)
	}
	set := Set{}
	for i := range raw.Keys {
		k, ok, err := parseKey(&raw.Keys[i])
		kid := raw.Keys[i].KID
		switch {
		case err != nil:
			return nil, fmt.Errorf("key %q: %w", kid, err)
		case !ok:
			continue
		case set[kid].Method != nil:
			return nil, fmt.Errorf("two keys are named %q", kid)
		}
		set[kid] = k
	}
	if _, ok := set[""]; ok && len(set) > 1 {
		return nil, errors.New("a key has no kid, and is not the only one")
	}
	if len(set) == 0 {
		return nil, errors.New("the key set has no key for RS256, ES256 or EdDSA")
	}
	return set, nil
}

// parseKey returns a key; ok is false if it is for something else. Only what the set says itself is looked at: no certificate is
// fetched from where it points to.
func parseKey(m *jwkset.JWKMarshal) (k auth.Key, ok bool, err error) {
	switch {
	case m.USE != "" && m.USE != jwkset.UseSig:
		return k, false, nil
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return k, false, nil
	case m.KTY == jwkset.KtyRSA:
		k.Method = jwt.SigningMethodRS256
	case m.KTY == jwkset.KtyEC && m.CRV == jwkset.CrvP256:
		k.Method = jwt.SigningMethodES256
	case m.KTY == jwkset.KtyOKP && m.CRV == jwkset.CrvEd25519:
		k.Method = jwt.SigningMethodEdDSA
	default:
		return k, false, nil
	}
	if m.ALG != "" && m.ALG.String() != k.Method.Alg() {
		return k, false, nil
	}
	j, err := jwkset.NewJWKFromMarshal(*m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return k, false, fmt.Errorf("not a key: %w", err)
	}
	switch public := j.Key().(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA {
			return k, false, fmt.Errorf("an RSA key has %d–%d bits, not %d", minRSA, maxRSA, bits)
		}
		k.Public = public
	case *ecdsa.PublicKey, ed25519.PublicKey:
		k.Public = public
	default:
		return k, false, errors.New("not a public key")
	}
	return k, true, nil
}
