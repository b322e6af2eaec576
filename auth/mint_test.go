package auth

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
)

func TestMintRoundTrip(t *testing.T) {
	v := newVerifier(t)
	longest := strings.Repeat("a", hearth.MaxNameLen)
	for name, p := range map[string]Principal{
		"peer":            {Room: "room-1", User: "alice", Role: "host"},
		"peer, pinned":    {Room: "room-1", User: "alice", Role: "host", Peer: "p1", Name: `Алиса "<>"`},
		"peer, longest":   {Room: longest, User: strings.Repeat("<", hearth.MaxUserLen), Role: longest, Peer: longest, Name: strings.Repeat("\x01", hearth.MaxPeerNameLen)},
		"server":          {Management: true},
		"server, narrow":  {Management: true, Room: "room-1", Permissions: []Permission{Read, EndRoom}},
		"server, longest": {Management: true, Room: longest, Permissions: allPermissions},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := v.Mint(p, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Verify(token)
			if err != nil {
				t.Fatal(err)
			}
			want := p
			want.AccessKey = testKey
			want.Issued = time.Unix(at(0), 0).UTC()
			want.Expires = time.Unix(at(time.Hour), 0).UTC()
			want.Until = want.Expires.Add(time.Minute)
			want.TokenID = got.TokenID
			if got.TokenID == "" || !reflect.DeepEqual(got, &want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// The claims on the wire are those that 100ms mints, no more and no fewer.
func TestMintClaims(t *testing.T) {
	v := newVerifier(t)
	ids := map[any]bool{}
	times := object{"iat": float64(at(0)), "nbf": float64(at(0)), "exp": float64(at(90 * time.Second))}
	for name, test := range map[string]struct {
		p    Principal
		want object
	}{
		"peer": {
			Principal{Room: "r", User: "u", Role: "host"},
			object{"type": "app", "version": 2.0, "access_key": testKey, "room_id": "r", "user_id": "u", "role": "host"},
		},
		"pinned": {
			Principal{Room: "r", User: "u", Role: "host", Peer: "p", Name: "n"},
			object{"type": "app", "version": 2.0, "access_key": testKey, "room_id": "r", "user_id": "u", "role": "host", "peer_id": "p", "name": "n"},
		},
		// What only a verifier can know is not taken from the request.
		"foreign": {
			Principal{Room: "r", User: "u", Role: "host", AccessKey: "other", TokenID: "mine", Expires: testNow.Add(9e12), Until: testNow.Add(9e12)},
			object{"type": "app", "version": 2.0, "access_key": testKey, "room_id": "r", "user_id": "u", "role": "host"},
		},
		"server": {
			Principal{Management: true},
			object{"type": "management", "version": 2.0, "access_key": testKey},
		},
		"narrow": {
			Principal{Management: true, Room: "r", Permissions: []Permission{Read, Hidden}},
			object{"type": "management", "version": 2.0, "access_key": testKey, "room_id": "r", "permissions": []any{"read", "hidden"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := v.Mint(test.p, 90*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(token, ".")
			text, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				t.Fatal(err)
			}
			var got object
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			id, _ := got["jti"].(string)
			if len(id) < 20 || id == test.p.TokenID || ids[id] {
				t.Errorf("jti %q is not new", id)
			}
			ids[id] = true
			if want := with(with(test.want, times), object{"jti": id}); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if want := signed(t, string(text)); strings.Split(want, ".")[1] != parts[1] {
				t.Errorf("not the text that was signed: %s", text)
			}
		})
	}
}

func TestMintRefuses(t *testing.T) {
	v := newVerifier(t)
	peer := Principal{Room: "room-1", User: "alice", Role: "host"}
	change := func(f func(*Principal)) Principal {
		p := peer
		f(&p)
		return p
	}
	for name, test := range map[string]struct {
		p    Principal
		ttl  time.Duration
		want string
	}{
		"nothing":              {Principal{}, time.Hour, "room_id"},
		"no room":              {change(func(p *Principal) { p.Room = "" }), time.Hour, "room_id"},
		"bad room":             {change(func(p *Principal) { p.Room = "a b" }), time.Hour, "room_id"},
		"no user":              {change(func(p *Principal) { p.User = "" }), time.Hour, "user_id"},
		"bad user":             {change(func(p *Principal) { p.User = "a\x00" }), time.Hour, "user_id"},
		"no role":              {change(func(p *Principal) { p.Role = "" }), time.Hour, "role"},
		"bad peer":             {change(func(p *Principal) { p.Peer = "*" }), time.Hour, "peer_id"},
		"long name":            {change(func(p *Principal) { p.Name = strings.Repeat("n", 257) }), time.Hour, "name"},
		"name not UTF-8":       {change(func(p *Principal) { p.Name = "\xff" }), time.Hour, "name"},
		"peer, permissions":    {change(func(p *Principal) { p.Permissions = []Permission{Read} }), time.Hour, "permissions"},
		"peer, no permissions": {change(func(p *Principal) { p.Permissions = []Permission{} }), time.Hour, "permissions"},
		"server, a user":       {Principal{Management: true, User: "alice"}, time.Hour, "user_id"},
		"server, a role":       {Principal{Management: true, Role: "host"}, time.Hour, "role"},
		"server, a peer":       {Principal{Management: true, Peer: "p1"}, time.Hour, "peer_id"},
		"server, a name":       {Principal{Management: true, Name: "n"}, time.Hour, "name"},
		"server, bad room":     {Principal{Management: true, Room: "a b"}, time.Hour, "room_id"},
		"server, none":         {Principal{Management: true, Permissions: []Permission{}}, time.Hour, "one or more of: read"},
		"server, unknown":      {Principal{Management: true, Permissions: []Permission{Read, "reed"}}, time.Hour, "one or more of: read"},
		"server, too many":     {Principal{Management: true, Permissions: manyPermissions()}, time.Hour, "longer than 8192"},
		"no ttl":               {peer, 0, "ttl"},
		"negative ttl":         {peer, -time.Hour, "ttl"},
		"ttl under a second":   {peer, time.Second - 1, "ttl"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := v.Mint(test.p, test.ttl)
			if token != "" || err == nil {
				t.Fatalf("minted %q", token)
			}
			if r := hearth.ReasonOf(err); r != hearth.ReasonBadParams && r != hearth.ReasonTooLarge {
				t.Errorf("reason %s", r)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q does not say %q", err, test.want)
			}
			checkDiscreet(t, err, "")
		})
	}
}

func manyPermissions() []Permission {
	perms := make([]Permission, 1000)
	for i := range perms {
		perms[i] = Broadcast
	}
	return perms
}
