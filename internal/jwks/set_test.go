package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"
)

type object = map[string]any

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// pairs are made once: RSA keys take long.
var (
	rsaKey, _       = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _        = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPublic, edKey = newEd25519()
	weakRSA         = big.NewInt(0).Lsh(big.NewInt(1), 1023) // no key, and of too few bits to be looked at
	rsaJWK          = object{"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"}
	ecJWK           = object{"kty": "EC", "kid": "ec", "crv": "P-256", "x": b64(ecPoint()[:32]), "y": b64(ecPoint()[32:])}
	edJWK           = object{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "key_ops": []string{"verify"}, "x": b64(edPublic)}
	otherCurve      = object{"kty": "EC", "kid": "p384", "crv": "P-384", "x": b64(make([]byte, 48)), "y": b64(make([]byte, 48))}
	symmetric       = object{"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64([]byte(strings.Repeat("k", 32)))}
)

func newEd25519() (ed25519.PublicKey, ed25519.PrivateKey) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return public, private
}

// ecPoint is the coordinates of ecKey's point.
func ecPoint() []byte {
	b, err := ecKey.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return b[1:]
}

func but(base, changes object) object {
	out := maps.Clone(base)
	maps.Copy(out, changes)
	return out
}

func setOf(keys ...object) string {
	b, err := json.Marshal(object{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestParse(t *testing.T) {
	many := make([]object, maxKeys+1)
	for i := range many {
		many[i] = symmetric
	}
	for name, tt := range map[string]struct {
		text string
		want string // kid:alg of each key, in the order of rsa, ec, ed and none
		fail string
	}{
		"three kinds":               {setOf(rsaJWK, ecJWK, edJWK), "rsa:RS256 ec:ES256 ed:EdDSA", ""},
		"others are left out":       {setOf(rsaJWK, otherCurve, symmetric, but(ecJWK, object{"use": "enc"})), "rsa:RS256", ""},
		"another algorithm":         {setOf(ecJWK, but(rsaJWK, object{"alg": "PS256"})), "ec:ES256", ""},
		"the algorithm of a secret": {setOf(ecJWK, but(rsaJWK, object{"alg": "HS256"})), "ec:ES256", ""},
		"none of its operations":    {setOf(ecJWK, but(edJWK, object{"key_ops": []string{"sign"}})), "ec:ES256", ""},
		"one without a name":        {setOf(but(ecJWK, object{"kid": ""})), ":ES256", ""},
		"a private key":             {setOf(but(edJWK, object{"d": b64(edKey.Seed())})), "ed:EdDSA", ""},

		"not JSON":             {"{", "", "not JSON"},
		"nothing":              {"{}", "", "no key for"},
		"only a secret":        {setOf(symmetric), "", "no key for"},
		"too many":             {setOf(many...), "", "over 100 keys"},
		"too long":             {setOf(rsaJWK) + strings.Repeat(" ", maxText), "", "over"},
		"two of a name":        {setOf(rsaJWK, but(ecJWK, object{"kid": "rsa"})), "", `two keys are named "rsa"`},
		"nameless beside one":  {setOf(rsaJWK, but(ecJWK, object{"kid": ""})), "", "not the only one"},
		"a short RSA key":      {setOf(but(rsaJWK, object{"n": b64(weakRSA.Bytes())})), "", `key "rsa"`},
		"a point off a curve":  {setOf(but(ecJWK, object{"x": b64(make([]byte, 32))})), "", `key "ec"`},
		"a key of wrong size":  {setOf(but(edJWK, object{"x": b64(edPublic[:31])})), "", `key "ed"`},
		"a number for a name":  {`{"keys":[{"kty":"OKP","kid":1}]}`, "", "not JSON"},
		"text that is no base": {setOf(but(rsaJWK, object{"n": "!"})), "", `key "rsa"`},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Parse([]byte(tt.text))
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Fatalf("%v, want an error that says %q", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, kid := range []string{"rsa", "ec", "ed", ""} {
				if k, ok := set[kid]; ok {
					got = append(got, kid+":"+k.Method.Alg())
				}
			}
			if text := strings.Join(got, " "); text != tt.want || len(got) != len(set) {
				t.Errorf("%d keys: %s, want %s", len(set), text, tt.want)
			}
		})
	}
}

// A token without a kid can mean one key only.
func TestFindWithoutKid(t *testing.T) {
	one, err := Parse([]byte(setOf(ecJWK)))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Parse([]byte(setOf(ecJWK, edJWK)))
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := one.Find(""); !ok || k.Method.Alg() != "ES256" {
		t.Errorf("of one: %v", k)
	}
	if k, ok := two.Find(""); ok {
		t.Errorf("of two: %v", k)
	}
	if k, ok := one.Find("ed"); ok {
		t.Errorf("of another name: %v", k)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{setOf(rsaJWK, ecJWK, edJWK), setOf(symmetric), setOf(otherCurve), "{}", `{"keys":[{"kty":"RSA","n":"AQ","e":"AQ"}]}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Parse([]byte(text))
		if (err == nil) != (len(set) > 0) {
			t.Errorf("%d keys, %v", len(set), err)
		}
		for kid, k := range set {
			if k.Method == nil || k.Public == nil {
				t.Errorf("key %q is %+v", kid, k)
			}
		}
	})
}
