package auth

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth"
)

const (
	testKey    = "5f3c2e1a9d"
	testSecret = "tL9xWq2vR7nK4mP8sD1fG6hJ3bC5yZ0a"
)

var testNow = time.Date(2026, 3, 4, 5, 6, 7, 500e6, time.UTC)

func newVerifier(t testing.TB) *Verifier {
	t.Helper()
	v, err := NewVerifier(Config{AccessKey: testKey, Secret: testSecret, Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Tokens are signed here without jwt, as a stranger's library would.

type object = map[string]any

func encode(t testing.TB, part any) string {
	t.Helper()
	text, ok := part.(string)
	if !ok {
		b, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func sign(t testing.TB, header, claims any, secret string, h func() hash.Hash) string {
	t.Helper()
	signed := encode(t, header) + "." + encode(t, claims)
	mac := hmac.New(h, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

var hs256 = object{"alg": "HS256", "typ": "JWT"}

func signed(t testing.TB, claims any) string { return sign(t, hs256, claims, testSecret, sha256.New) }

// with returns base with some claims changed, or left out where the change is `without`.
func with(base, changes object) object {
	c := maps.Clone(base)
	for name, value := range changes {
		if value == without {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

var without any = &struct{ _ int }{}

func at(d time.Duration) int64 { return testNow.Add(d).Unix() }

func peerClaims() object {
	return object{
		"type": "app", "version": 2, "access_key": testKey, "room_id": "room-1", "user_id": "alice smith", "role": "guest",
		"jti": "7d3f", "iat": at(0), "nbf": at(0), "exp": at(time.Hour),
	}
}

func serverClaims() object {
	return object{
		"type": "management", "version": 2, "access_key": testKey, "jti": "7d3f", "iat": at(0), "nbf": at(0), "exp": at(time.Hour),
	}
}

func TestVerifyGood(t *testing.T) {
	iat, exp := time.Unix(at(0), 0).UTC(), time.Unix(at(time.Hour), 0).UTC()
	peer := Principal{
		AccessKey: testKey, TokenID: "7d3f", Room: "room-1", User: "alice smith", Role: "guest",
		Issued: iat, Expires: exp, Until: exp.Add(time.Minute),
	}
	server := Principal{Management: true, AccessKey: testKey, TokenID: "7d3f", Issued: iat, Expires: exp, Until: exp.Add(time.Minute)}
	expiring := func(p Principal, exp time.Time) Principal {
		p.Expires, p.Until = exp, exp.Add(time.Minute)
		return p
	}
	for name, test := range map[string]struct {
		claims any
		want   func(*Principal)
		base   Principal
	}{
		"peer":                {claims: peerClaims(), base: peer},
		"peer, all claims":    {with(peerClaims(), object{"peer_id": "p1", "name": "Алиса"}), func(p *Principal) { p.Peer, p.Name = "p1", "Алиса" }, peer},
		"peer, nameless":      {with(peerClaims(), object{"name": ""}), nil, peer},
		"peer, foreign claim": {with(peerClaims(), object{"aud": []string{"x"}, "ROLE": "host", "Room_Id": "room-2"}), nil, peer},
		"peer, no jti iat nbf": {
			with(peerClaims(), object{"jti": without, "iat": without, "nbf": without}), func(p *Principal) { p.TokenID, p.Issued = "", time.Time{} }, peer,
		},
		"server":           {claims: serverClaims(), base: server},
		"server, one room": {with(serverClaims(), object{"room_id": "room-1"}), func(p *Principal) { p.Room = "room-1" }, server},
		"server, one permission": {
			with(serverClaims(), object{"permissions": []string{"end_room"}}), func(p *Principal) { p.Permissions = []Permission{EndRoom} }, server,
		},
		"server, a peer's claims": {with(serverClaims(), object{"user_id": "u", "role": "host", "peer_id": "p", "name": "n"}), nil, server},
		"expired within leeway": {
			claims: with(peerClaims(), object{"exp": at(-59 * time.Second)}), base: expiring(peer, time.Unix(at(-59*time.Second), 0).UTC()),
		},
		"nbf within leeway":   {with(peerClaims(), object{"nbf": at(time.Minute)}), nil, peer},
		"iat within leeway":   {with(peerClaims(), object{"iat": at(time.Minute)}), func(p *Principal) { p.Issued = iat.Add(time.Minute) }, peer},
		"nbf at the epoch":    {with(peerClaims(), object{"nbf": 0}), nil, peer},
		"fraction of seconds": {claims: with(peerClaims(), object{"exp": 2e9 + 0.25}), base: expiring(peer, time.UnixMilli(2e12+250).UTC())},
		"a foreign number":    {claims: strings.Replace(mustJSON(t, peerClaims()), `{`, `{"x":1e999,`, 1), base: peer},
		"a claim twice":       {claims: strings.Replace(mustJSON(t, peerClaims()), `{`, `{"role":"host",`, 1), base: peer},
		"an escaped name":     {claims: strings.Replace(mustJSON(t, peerClaims()), `"role"`, `"\u0072ole"`, 1), base: peer},
		"version 2.0":         {claims: strings.Replace(mustJSON(t, peerClaims()), `"version":2`, `"version":2.0`, 1), base: peer},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newVerifier(t).Verify(signed(t, test.claims))
			if err != nil {
				t.Fatal(err)
			}
			want := test.base
			if test.want != nil {
				test.want(&want)
			}
			if !reflect.DeepEqual(got, &want) {
				t.Errorf("got  %+v\nwant %+v", got, &want)
			}
		})
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type badToken struct {
	token  string
	detail string // what the user is told, at least
	cause  error
}

// badTokens is every kind of token that must be refused.
func badTokens(t testing.TB) map[string]badToken {
	good := signed(t, peerClaims())
	parts := strings.Split(good, ".")
	noSig := func(alg any) string { return encode(t, object{"alg": alg}) + "." + parts[1] + "." }
	hs384 := object{"alg": "HS384", "typ": "JWT"}

	bad := map[string]badToken{
		"empty":               {"", "no token", jwt.ErrTokenMalformed},
		"garbage":             {"hunter2", "not a JWT", jwt.ErrTokenMalformed},
		"dots":                {"..", "not a JWT", jwt.ErrTokenMalformed},
		"two parts":           {parts[0] + "." + parts[1], "not a JWT", jwt.ErrTokenMalformed},
		"four parts":          {good + "." + parts[2], "not a JWT", jwt.ErrTokenMalformed},
		"scheme":              {"Bearer " + good, "not a JWT", jwt.ErrTokenMalformed},
		"padded":              {good + "=", "not a JWT", jwt.ErrTokenMalformed},
		"line break":          {good + "\n", "not a JWT", jwt.ErrTokenMalformed},
		"standard base64":     {parts[0] + "." + parts[1] + ".+/" + parts[2][2:], "not a JWT", jwt.ErrTokenMalformed},
		"100 KB":              {strings.Repeat("x", 100<<10), "longer than 8192", jwt.ErrTokenMalformed},
		"100 KB, signed":      {signed(t, with(peerClaims(), object{"x": strings.Repeat("x", 100<<10)})), "longer than 8192", jwt.ErrTokenMalformed},
		"header not JSON":     {sign(t, "{", peerClaims(), testSecret, sha256.New), "not a JWT", jwt.ErrTokenMalformed},
		"header null":         {sign(t, "null", peerClaims(), testSecret, sha256.New), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"header a list":       {sign(t, "[]", peerClaims(), testSecret, sha256.New), "not a JWT", jwt.ErrTokenMalformed},
		"crit":                {sign(t, with(hs256, object{"crit": []string{"b64"}, "b64": true}), peerClaims(), testSecret, sha256.New), "crit", jwt.ErrTokenUnverifiable},
		"crit null":           {sign(t, with(hs256, object{"crit": nil}), peerClaims(), testSecret, sha256.New), "crit", jwt.ErrTokenUnverifiable},
		"alg none":            {noSig("none"), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"alg None":            {noSig("None"), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"alg empty":           {noSig(""), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"alg a number":        {noSig(256), "not a JWT", jwt.ErrTokenMalformed},
		"no alg":              {sign(t, object{"typ": "JWT"}, peerClaims(), testSecret, sha256.New), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"alg none, signed":    {sign(t, object{"alg": "none"}, peerClaims(), testSecret, sha256.New), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"alg hs256":           {sign(t, object{"alg": "hs256"}, peerClaims(), testSecret, sha256.New), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"HS384":               {sign(t, hs384, peerClaims(), testSecret, sha512.New384), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"HS384 header only":   {sign(t, hs384, peerClaims(), testSecret, sha256.New), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"HS256 header only":   {sign(t, hs256, peerClaims(), testSecret, sha512.New), "signature is wrong", jwt.ErrTokenSignatureInvalid},
		"RS256":               {signRSA(t, peerClaims()), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"RS256 header only":   {sign(t, object{"alg": "RS256"}, peerClaims(), testSecret, sha256.New), "signed with HS256", jwt.ErrTokenSignatureInvalid},
		"no signature":        {parts[0] + "." + parts[1] + ".", "signature is wrong", jwt.ErrTokenSignatureInvalid},
		"half a signature":    {good[:len(good)-20], "signature is wrong", jwt.ErrTokenSignatureInvalid},
		"wrong secret":        {sign(t, hs256, peerClaims(), testSecret+"x", sha256.New), "signature is wrong", jwt.ErrTokenSignatureInvalid},
		"empty secret":        {sign(t, hs256, peerClaims(), "", sha256.New), "signature is wrong", jwt.ErrTokenSignatureInvalid},
		"claims swapped":      {parts[0] + "." + encode(t, with(peerClaims(), object{"role": "host"})) + "." + parts[2], "signature is wrong", jwt.ErrTokenSignatureInvalid},
		"claims not JSON":     {signed(t, "{"), "not a JWT", jwt.ErrTokenMalformed},
		"claims twice":        {signed(t, mustJSON(t, peerClaims())+"{}"), "not a JWT", jwt.ErrTokenMalformed},
		"claims a list":       {signed(t, "[]"), "not a JWT", jwt.ErrTokenMalformed},
		"claims null":         {signed(t, "null"), "not a JWT", jwt.ErrTokenMalformed},
		"claims empty":        {signed(t, "{}"), "no claim type", jwt.ErrTokenRequiredClaimMissing},
		"number too big":      {signed(t, strings.Replace(mustJSON(t, peerClaims()), `"version":2`, `"version":2e999`, 1)), "claim version must be a number", jwt.ErrInvalidType},
		"server, no exp":      {signed(t, with(serverClaims(), object{"exp": without})), "no claim exp", jwt.ErrTokenRequiredClaimMissing},
		"server, peer's type": {signed(t, with(serverClaims(), object{"type": "app"})), "no claim room_id", jwt.ErrTokenRequiredClaimMissing},
	}

	claim := func(base func() object, name string, value any, detail string, cause error) {
		text := "left out"
		if value != without {
			text = mustJSON(t, value)
		}
		label := fmt.Sprint(base()["type"]) + ": " + name + " " + text[:min(len(text), 20)]
		if _, ok := bad[label]; ok {
			t.Fatalf("two cases are named %q", label)
		}
		bad[label] = badToken{signed(t, with(base(), object{name: value})), detail, cause}
	}
	for _, name := range []string{"type", "version", "access_key", "exp", "room_id", "user_id", "role"} {
		claim(peerClaims, name, without, "no claim "+name, jwt.ErrTokenRequiredClaimMissing)
	}
	for _, name := range []string{"type", "access_key", "room_id", "user_id", "role", "jti", "peer_id", "name"} {
		for _, value := range []any{nil, 1, true, []string{"x"}, object{"x": "x"}} {
			claim(peerClaims, name, value, "claim "+name+" must be a string", jwt.ErrInvalidType)
		}
	}
	for _, name := range []string{"version", "exp", "nbf", "iat"} {
		for _, value := range []any{nil, "2", true, []int{2}, object{"x": 2}} {
			claim(peerClaims, name, value, "claim "+name+" must be a number", jwt.ErrInvalidType)
		}
	}
	for _, name := range []string{"type", "access_key", "room_id", "user_id", "role", "peer_id"} {
		claim(peerClaims, name, "", "claim "+name+" is empty", jwt.ErrTokenInvalidClaims)
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, value := range []any{-1, at(time.Hour) * 1000, 1e300} {
			claim(peerClaims, name, value, "claim "+name+" must be a time in seconds", jwt.ErrTokenInvalidClaims)
		}
	}
	for _, name := range []string{"room_id", "role", "peer_id"} {
		for _, value := range []string{"a b", "-a", "a/b", "é", strings.Repeat("a", 129)} {
			claim(peerClaims, name, value, "the token's "+name+" must match", jwt.ErrTokenInvalidClaims)
		}
	}
	claim(peerClaims, "user_id", "a\nb", "the token's user_id must be", jwt.ErrTokenInvalidClaims)
	claim(peerClaims, "user_id", strings.Repeat("a", 257), "the token's user_id must be", jwt.ErrTokenInvalidClaims)
	claim(peerClaims, "jti", "a\nb", "the token's jti must be", jwt.ErrTokenInvalidClaims)
	claim(peerClaims, "jti", strings.Repeat("a", 257), "the token's jti must be", jwt.ErrTokenInvalidClaims)
	claim(peerClaims, "name", strings.Repeat("a", 257), "the token's name has 257 bytes", jwt.ErrTokenInvalidClaims)
	claim(peerClaims, "permissions", []string{"read"}, "the token's permissions belong to management", jwt.ErrTokenInvalidClaims)
	for _, value := range []any{1, 3, 2.5, -2} {
		claim(peerClaims, "version", value, "version must be 2", jwt.ErrTokenInvalidClaims)
	}
	for _, value := range []string{"peer", "App", "auth", "Management"} {
		claim(peerClaims, "type", value, "type must be", jwt.ErrTokenInvalidClaims)
	}
	for _, value := range []string{"other", testKey + "x", strings.ToUpper(testKey)} {
		claim(peerClaims, "access_key", value, "access_key is not the one", jwt.ErrTokenInvalidClaims)
		claim(serverClaims, "access_key", value, "access_key is not the one", jwt.ErrTokenInvalidClaims)
	}
	// The clock stands half a second after a full one, so these are 60.5 and 61 s off.
	claim(peerClaims, "exp", at(-time.Minute), "expired at 2026-03-04T05:05:07Z", jwt.ErrTokenExpired)
	claim(peerClaims, "exp", 0, "expired at 1970-01-01T00:00:00Z", jwt.ErrTokenExpired)
	claim(serverClaims, "exp", at(-time.Minute), "expired at", jwt.ErrTokenExpired)
	claim(peerClaims, "nbf", at(61*time.Second), "not valid before 2026-03-04T05:07:08Z", jwt.ErrTokenNotValidYet)
	claim(peerClaims, "iat", at(61*time.Second), "issued at 2026-03-04T05:07:08Z", jwt.ErrTokenUsedBeforeIssued)

	for _, value := range []any{nil, "read", object{"read": true}, []any{"read", 1}, []any{nil}} {
		claim(serverClaims, "permissions", value, "claim permissions must be a list of strings", jwt.ErrInvalidType)
	}
	for _, value := range []any{[]string{}, []string{""}, []string{"reed"}, []string{"read", "Write"}} {
		claim(serverClaims, "permissions", value, "the token's permissions must be one or more of: read write", jwt.ErrTokenInvalidClaims)
	}
	claim(serverClaims, "room_id", nil, "claim room_id must be a string", jwt.ErrInvalidType)
	claim(serverClaims, "room_id", "", "claim room_id is empty", jwt.ErrTokenInvalidClaims)
	claim(serverClaims, "room_id", "*", "the token's room_id must match", jwt.ErrTokenInvalidClaims)
	return bad
}

func signRSA(t testing.TB, claims object) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := encode(t, object{"alg": "RS256"}) + "." + encode(t, claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestVerifyBad(t *testing.T) {
	v := newVerifier(t)
	for name, test := range badTokens(t) {
		t.Run(name, func(t *testing.T) {
			p, err := v.Verify(test.token)
			if p != nil || err == nil {
				t.Fatalf("accepted as %+v", p)
			}
			var e *hearth.Error
			if !errors.As(err, &e) || e.Reason != hearth.ReasonUnauthenticated {
				t.Fatalf("want unauthenticated, got %v", err)
			}
			if !strings.Contains(e.Detail, test.detail) {
				t.Errorf("detail %q does not say %q", e.Detail, test.detail)
			}
			if !errors.Is(err, test.cause) {
				t.Errorf("cause is %v, not %v", e.Cause, test.cause)
			}
			checkDiscreet(t, err, test.token)
		})
	}
}

// checkDiscreet fails if the text of err, all causes included, quotes the token, a part of it, or the secret.
func checkDiscreet(t *testing.T, err error, token string) {
	t.Helper()
	text := err.Error()
	if strings.Contains(text, testSecret) {
		t.Errorf("the secret is in %q", text)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 8 && strings.Contains(text, part[:8]) {
			t.Errorf("a part of the token is in %q", text)
		}
	}
}

// No change of one character leaves a token good: a signature has one text only.
func TestVerifyTampered(t *testing.T) {
	v, good := newVerifier(t), signed(t, peerClaims())
	if _, err := v.Verify(good); err != nil {
		t.Fatal(err)
	}
	for i := range len(good) {
		for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.\n=") {
			if bad := good[:i] + string(c) + good[i+1:]; bad != good {
				if _, err := v.Verify(bad); hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
					t.Fatalf("byte %d as %q: %v", i, c, err)
				}
			}
		}
	}
}

func TestVerifyLeewayBounds(t *testing.T) {
	claims := peerClaims()
	exp, nbf := time.Unix(at(time.Hour), 0), time.Unix(at(0), 0)
	for _, test := range []struct {
		leeway time.Duration // as configured
		want   time.Duration
	}{{0, time.Minute}, {-time.Second, time.Minute}, {5 * time.Second, 5 * time.Second}} {
		var now time.Time
		v, err := NewVerifier(Config{AccessKey: testKey, Secret: testSecret, Leeway: test.leeway, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		for _, moment := range []struct {
			now   time.Time
			cause error
		}{
			{nbf.Add(-test.want - 1), jwt.ErrTokenNotValidYet},
			{nbf.Add(-test.want), nil},
			{exp.Add(test.want - 1), nil},
			{exp.Add(test.want), jwt.ErrTokenExpired},
		} {
			now = moment.now
			p, err := v.Verify(signed(t, claims))
			if !errors.Is(err, moment.cause) {
				t.Errorf("leeway %v at %v: %v, want %v", test.leeway, now, err, moment.cause)
			}
			if err == nil && !p.Until.Equal(exp.Add(test.want)) {
				t.Errorf("leeway %v: until %v", test.leeway, p.Until)
			}
		}
	}
}

func TestNewVerifier(t *testing.T) {
	for _, test := range []struct{ key, secret, want string }{
		{testKey, testSecret[:MinSecretLen], ""},
		{testKey, testSecret[:MinSecretLen-1], "set a random one"},
		{testKey, "", "set a random one"},
		{"", testSecret, "no access key: set both"},
	} {
		v, err := NewVerifier(Config{AccessKey: test.key, Secret: test.secret})
		switch {
		case test.want == "":
			if err != nil {
				t.Error(err)
			}
		case err == nil || v != nil:
			t.Errorf("key %q, secret of %d bytes: accepted", test.key, len(test.secret))
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%q does not say %q", err, test.want)
		case test.secret != "" && strings.Contains(err.Error(), test.secret):
			t.Errorf("the secret is in %q", err)
		}
	}
	// Without a clock of its own a verifier goes by the real one.
	v, err := NewVerifier(Config{AccessKey: testKey, Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	token, err := v.Mint(Principal{Management: true}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := v.Verify(token); err != nil || time.Until(p.Expires).Round(time.Minute) != time.Hour {
		t.Errorf("%+v, %v", p, err)
	}
}

// FuzzVerify looks for a text that Verify takes or falls over. Fuzzing can't sign, so everything has to be refused.
func FuzzVerify(f *testing.F) {
	for _, b := range badTokens(f) {
		f.Add(b.token)
	}
	v := newVerifier(f)
	f.Fuzz(func(t *testing.T, token string) {
		if p, err := v.Verify(token); p != nil || hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// FuzzClaims looks for claims that are signed and yield a Principal that no token should.
func FuzzClaims(f *testing.F) {
	for _, c := range []object{peerClaims(), serverClaims(), with(serverClaims(), object{"room_id": "r", "permissions": []string{"read"}})} {
		f.Add(mustJSON(f, c))
	}
	v := newVerifier(f)
	f.Fuzz(func(t *testing.T, claims string) {
		token := signed(t, claims)
		p, err := v.Verify(token)
		if err != nil {
			if hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
				t.Error(err)
			}
			return
		}
		var theirs map[string]any // as encoding/json reads them
		d := json.NewDecoder(strings.NewReader(claims))
		d.UseNumber()
		if err := d.Decode(&theirs); err != nil {
			t.Fatal(err)
		}
		said := map[string]any{"access_key": p.AccessKey, "jti": p.TokenID, "room_id": p.Room, "user_id": p.User, "role": p.Role, "peer_id": p.Peer, "name": p.Name}
		for name, value := range said {
			if got, ok := theirs[name]; (ok || value != "") && got != value && (!p.Management || value != "") {
				t.Errorf("%s is %q, not %q", name, value, got)
			}
		}
		if err := p.check(); err != nil || p.AccessKey != testKey || !testNow.Before(p.Until) || !p.Management && p.Room == "" {
			t.Errorf("%+v, %v", p, err)
		}
	})
}
