package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

const (
	accessKey = "app"
	secret    = "0123456789abcdef0123456789abcdef"
)

// Tokens are signed here without a library of tokens, as a stranger would.

func claims(changes object) object {
	now := time.Now().Unix()
	return but(object{
		"type": "app", "version": 2, "access_key": accessKey, "room_id": "r", "user_id": "u", "role": "host", "iat": now, "exp": now + 60,
		"aud": "hearth", "iss": "https://id.example",
	}, changes)
}

type signature func(text string) []byte

func byHMAC(key []byte) signature {
	return func(text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
}

func sum(text string) []byte {
	s := sha256.Sum256([]byte(text))
	return s[:]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func byRSA(key *rsa.PrivateKey) signature {
	return func(text string) []byte { return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum(text))) }
}

func byPSS(text string) []byte {
	return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, sum(text), nil))
}

func byEC(text string) []byte {
	r, s, err := ecdsa.Sign(rand.Reader, ecKey, sum(text))
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func byECAsASN1(text string) []byte { return must(ecdsa.SignASN1(rand.Reader, ecKey, sum(text))) }

func byEd(key ed25519.PrivateKey) signature {
	return func(text string) []byte { return ed25519.Sign(key, []byte(text)) }
}

func zeros(n int) signature { return func(string) []byte { return make([]byte, n) } }

func token(header, claims object, sign signature) string {
	text := b64(must(json.Marshal(header))) + "." + b64(must(json.Marshal(claims)))
	return text + "." + b64(sign(text))
}

func head(alg string, kid any) object { return object{"alg": alg, "kid": kid} }

// forged are tokens of which none may be accepted, whether or not the server has a secret too.
func forged() map[string]string {
	c := claims(nil)
	out := map[string]string{}
	strangerRSA := must(rsa.GenerateKey(rand.Reader, 2048))
	_, strangerEd := newEd25519()

	// A public key is taken for a secret.
	der := must(x509.MarshalPKIXPublicKey(&rsaKey.PublicKey))
	for name, key := range map[string][]byte{
		"PEM":      pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"DER":      der,
		"PKCS #1":  x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey),
		"modulus":  rsaKey.N.Bytes(),
		"JWK":      must(json.Marshal(rsaJWK)),
		"point":    ecPoint(),
		"Ed25519":  edPublic,
		"nothing":  {},
		"the kid":  []byte("rsa"),
		"set text": []byte(setOf(rsaJWK, ecJWK, edJWK)),
	} {
		for _, kid := range []any{"rsa", "ec", "ed", nil} {
			out["HS256 by "+name+", kid "+string(must(json.Marshal(kid)))] = token(head("HS256", kid), c, byHMAC(key))
			out["RS256 by HMAC of "+name+", kid "+string(must(json.Marshal(kid)))] = token(head("RS256", kid), c, byHMAC(key))
		}
	}
	// The right key, and another algorithm in the header than the key is for.
	for _, alg := range []string{"HS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519", "none", "None", "NONE", "", "rs256", "RS256 "} {
		out["RSA says "+alg] = token(head(alg, "rsa"), c, byRSA(rsaKey))
		out["nothing says "+alg] = token(head(alg, "rsa"), c, zeros(0))
	}
	out["PSS says PS256"] = token(head("PS256", "rsa"), c, byPSS)
	out["PSS says RS256"] = token(head("RS256", "rsa"), c, byPSS)
	out["EC says EdDSA"] = token(head("EdDSA", "ec"), c, byEC)
	out["Ed25519 says ES256"] = token(head("ES256", "ed"), c, byEd(edKey))
	// The kid of another key, of none, or of something that a careless server would look up.
	for _, kid := range []any{
		"ec", "ed", "RSA", "rsa ", "rsa\x00", "none", "", nil, "../../../../dev/null", "/etc/passwd", "file:///dev/zero", "x' UNION SELECT 'k", "| id",
		"http://169.254.169.254/latest", strings.Repeat("k", 5000), "oct", "p384",
	} {
		out["RS256 of kid "+string(must(json.Marshal(kid)))[:min(24, len(string(must(json.Marshal(kid)))))]] = token(head("RS256", kid), c, byRSA(rsaKey))
	}
	for name, kid := range map[string]any{"a number": 0, "a list": []string{"rsa"}, "an object": object{"kid": "rsa"}, "true": true} {
		out["the kid is "+name] = token(head("RS256", kid), c, byRSA(rsaKey))
	}
	// A key that the token brings, or points to.
	for name, extra := range map[string]object{
		"jwk":  {"jwk": but(rsaJWK, object{"n": b64(strangerRSA.N.Bytes())})},
		"jku":  {"jku": "https://stranger.example/keys"},
		"x5u":  {"x5u": "https://stranger.example/cert"},
		"x5c":  {"x5c": []string{b64(x509.MarshalPKCS1PublicKey(&strangerRSA.PublicKey))}},
		"none": {},
	} {
		out["a stranger's RSA key, "+name] = token(but(head("RS256", "rsa"), extra), c, byRSA(strangerRSA))
		out["a stranger's RSA key, no kid, "+name] = token(but(object{"alg": "RS256"}, extra), c, byRSA(strangerRSA))
	}
	out["a stranger's Ed25519 key"] = token(head("EdDSA", "ed"), c, byEd(strangerEd))
	// Signatures that are none, or written otherwise.
	out["ES256 of zeros"] = token(head("ES256", "ec"), c, zeros(64))
	out["ES256 of nothing"] = token(head("ES256", "ec"), c, zeros(0))
	out["ES256 as ASN.1"] = token(head("ES256", "ec"), c, byECAsASN1)
	out["ES256, longer"] = token(head("ES256", "ec"), c, func(text string) []byte { return append(byEC(text), 0) })
	out["RS256 of zeros"] = token(head("RS256", "rsa"), c, zeros(256))
	out["RS256, longer"] = token(head("RS256", "rsa"), c, func(text string) []byte { return append([]byte{0}, byRSA(rsaKey)(text)...) })
	out["EdDSA of zeros"] = token(head("EdDSA", "ed"), c, zeros(64))
	out["EdDSA of nothing"] = token(head("EdDSA", "ed"), c, zeros(0))
	out["crit"] = token(but(head("RS256", "rsa"), object{"crit": []string{"b64"}, "b64": false}), c, byRSA(rsaKey))
	// What is well signed, and not for this server, or not now.
	now := time.Now().Unix()
	for name, changes := range map[string]object{
		"another aud":        {"aud": "other"},
		"an aud within":      {"aud": "hearth2"},
		"an aud of others":   {"aud": []string{"a", "b"}},
		"an empty aud":       {"aud": []string{}},
		"an aud with a hole": {"aud": []any{"hearth", 1}},
		"a number of aud":    {"aud": 1},
		"an aud of nothing":  {"aud": nil},
		"another iss":        {"iss": "https://id.example/"},
		"a list of iss":      {"iss": []string{"https://id.example"}},
		"an empty iss":       {"iss": ""},
		"another access_key": {"access_key": "other"},
		"expired":            {"exp": now - 61},
		"not yet":            {"nbf": now + 120},
		"issued later":       {"iat": now + 120},
		"never over":         {"exp": 1e300},
		"no room":            {"room_id": "*"},
	} {
		for kid, sign := range map[string]signature{"rsa": byRSA(rsaKey), "ec": byEC, "ed": byEd(edKey)} {
			alg := map[string]string{"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid]
			out[name+" by "+alg] = token(head(alg, kid), claims(changes), sign)
		}
		out[name+" by HS256"] = token(object{"alg": "HS256"}, claims(changes), byHMAC([]byte(secret)))
	}
	for _, name := range []string{"aud", "iss", "exp", "access_key", "type", "version"} {
		c := claims(nil)
		delete(c, name)
		out["no "+name] = token(head("RS256", "rsa"), c, byRSA(rsaKey))
	}
	return out
}

// TestForged (46) is the matrix of tokens that a stranger may try.
func TestForged(t *testing.T) {
	set, err := Parse([]byte(setOf(rsaJWK, ecJWK, edJWK, symmetric, otherCurve)))
	if err != nil {
		t.Fatal(err)
	}
	bad := forged()
	for name, own := range map[string]string{"with a secret": secret, "without": ""} {
		t.Run(name, func(t *testing.T) {
			conf := auth.Config{AccessKey: accessKey, Secret: own, Keys: set, Audience: "hearth", Issuer: "https://id.example"}
			if own != "" {
				conf.Secrets = map[string]string{"next": strings.Repeat("n", 32)}
			}
			v, err := auth.NewVerifier(conf)
			if err != nil {
				t.Fatal(err)
			}
			// What has to be accepted, so that a refusal means something.
			for what, good := range map[string]string{
				"RS256":      token(head("RS256", "rsa"), claims(nil), byRSA(rsaKey)),
				"ES256":      token(head("ES256", "ec"), claims(nil), byEC),
				"EdDSA":      token(head("EdDSA", "ed"), claims(nil), byEd(edKey)),
				"aud a list": token(head("EdDSA", "ed"), claims(object{"aud": []string{"a", "hearth"}}), byEd(edKey)),
			} {
				if p, err := v.Verify(good); err != nil || p.User != "u" || p.Room != "r" {
					t.Errorf("%s: %+v, %v", what, p, err)
				}
			}
			for what, good := range map[string]string{
				"HS256":      token(object{"alg": "HS256"}, claims(nil), byHMAC([]byte(secret))),
				"HS256 next": token(head("HS256", "next"), claims(nil), byHMAC([]byte(strings.Repeat("n", 32)))),
			} {
				if _, err := v.Verify(good); (err == nil) != (own != "") {
					t.Errorf("%s: %v", what, err)
				}
			}
			accepted := 0
			for what, text := range bad {
				p, err := v.Verify(text)
				if err == nil {
					accepted++
					t.Errorf("%s: accepted as %+v", what, p)
				} else if hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
					t.Errorf("%s: %v", what, err)
				}
			}
			t.Logf("%d forged tokens, %d accepted", len(bad), accepted)
		})
	}
}
