package hearth_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

func TestPeersAreWrittenAsClientsSeeThem(t *testing.T) {
	for _, tt := range []struct {
		peer hearth.Peer
		want string
	}{
		{
			hearth.Peer{ID: "ann", User: `u "1"`, Role: "host", Name: "Änn\n", Data: `{"a":1}`, Groups: []string{"red", "blue"}, JoinedAt: 1700000000000},
			`{"peer_id":"ann","role":"host","groups":["red","blue"],"joined_at":1700000000000,"realtime":true,"tracks":{},` +
				`"info":{"name":"Änn\n","data":"{\"a\":1}","user_id":"u \"1\"","type":"regular"}}`,
		},
		{
			hearth.Peer{ID: "bob", User: "u", Role: "guest"},
			`{"peer_id":"bob","role":"guest","groups":[],"joined_at":0,"realtime":true,"tracks":{},` +
				`"info":{"name":"","data":"","user_id":"u","type":"regular"}}`,
		},
	} {
		if got := string(tt.peer.AppendJSON([]byte("x"))); got != "x"+tt.want {
			t.Errorf("written as %s", got)
		}
		if got, err := json.Marshal(&tt.peer); err != nil || string(got) != tt.want {
			t.Errorf("encoded as %s, %v", got, err)
		}
		if got := "{" + string(tt.peer.AppendBody(nil)) + "}"; got != tt.want {
			t.Errorf("its members are %s", got)
		}
	}
}

func TestGroupsAreCheckedAndEachCountsOnce(t *testing.T) {
	many := func(n int) (groups []string) {
		for i := range n {
			groups = append(groups, fmt.Sprint("g", i))
		}
		return groups
	}
	for _, tt := range []struct {
		in, want []string
		reason   hearth.Reason
	}{
		{nil, nil, ""},
		{[]string{"b", "a", "b", "a"}, []string{"b", "a"}, ""},
		{many(hearth.MaxGroups), many(hearth.MaxGroups), ""},
		{append(many(hearth.MaxGroups), "g0"), many(hearth.MaxGroups), ""},
		{many(hearth.MaxGroups + 1), nil, hearth.ReasonTooMany},
		{[]string{"_handraise", "_" + strings.Repeat("a", 127)}, []string{"_handraise", "_" + strings.Repeat("a", 127)}, ""},
		{[]string{"_" + strings.Repeat("a", 128)}, nil, hearth.ReasonBadParams},
		{[]string{"_"}, nil, hearth.ReasonBadParams},
		{[]string{"__a"}, nil, hearth.ReasonBadParams},
		{[]string{"a", ""}, nil, hearth.ReasonBadParams},
		{[]string{"a,b"}, nil, hearth.ReasonBadParams},
		{[]string{"a b"}, nil, hearth.ReasonBadParams},
	} {
		got, err := hearth.CheckGroups(tt.in)
		if hearth.ReasonOf(err) != tt.reason || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q gives %q, %v", tt.in, got, err)
		}
	}
	p := hearth.Peer{Groups: []string{"red"}}
	if !p.InGroup("red") || p.InGroup("re") || p.InGroup("") {
		t.Error("InGroup")
	}
}

func TestPeersNamesAndDataAreBounded(t *testing.T) {
	for what, tt := range map[string]struct {
		check func(string) error
		limit int
	}{
		"name": {hearth.CheckPeerName, hearth.MaxPeerNameLen},
		"data": {hearth.CheckPeerData, hearth.MaxPeerData},
	} {
		if err := tt.check(strings.Repeat("x", tt.limit)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := tt.check(strings.Repeat("x", tt.limit+1)); hearth.ReasonOf(err) != hearth.ReasonTooLarge || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestConnIDsAreReadAsTheyWereWritten(t *testing.T) {
	for _, peer := range []string{"ann", "a.b.c", "0", strings.Repeat("x", 128)} {
		want := hearth.ConnID{Secret: hearth.NewConnSecret(), Peer: peer}
		if got, err := hearth.ParseConnID(want.String()); err != nil || got != want {
			t.Errorf("%s is read as %+v, %v", want, got, err)
		}
	}
	secret := hearth.NewConnSecret()
	for name, s := range map[string]string{
		"nothing":                "",
		"no peer":                secret,
		"an empty peer":          secret + ".",
		"a peer that is no name": secret + ".a b",
		"no secret":              ".ann",
		"a short secret":         secret[:21] + ".ann",
		"a long secret":          secret + "AA.ann",
		"padding":                secret + "==.ann",
		"another alphabet":       strings.Repeat("+", 22) + ".ann",
		"a new line":             secret[:5] + "\n" + secret[5:] + ".ann",
		"a peer_id alone":        "ann",
	} {
		if got, err := hearth.ParseConnID(s); hearth.ReasonOf(err) != hearth.ReasonBadParams {
			t.Errorf("%s: read as %+v, %v", name, got, err)
		}
	}
}

func FuzzParseConnID(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAAAA.ann")
	f.Add("AAAAAAAAAAAAAAAAAAAA\n\nAA.ann")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := hearth.ParseConnID(s); err == nil && (c.String() != s || len(c.Secret) != 22 || !hearth.ValidName(c.Peer)) {
			t.Errorf("%q is read as %+v", s, c)
		}
	})
}
