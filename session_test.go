package hearth_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

func TestCursorsAreReadAsTheyWereWritten(t *testing.T) {
	for _, want := range []hearth.Cursor{
		{Epoch: hearth.NewEpoch(), Seq: 0, Nonce: hearth.NewNonce()},
		{Epoch: "epoch1", Seq: 1, Nonce: "nonce1"},
		{Epoch: "______", Seq: 1<<53 - 1, Nonce: "------"},
		{Epoch: strings.Repeat("x", 22), Seq: 7, Nonce: strings.Repeat("Z", 22)},
		{Epoch: "epoch1", Seq: 2, Nonce: hearth.NewNonce() + "1"}, // of a script's second change
	} {
		if got, err := hearth.ParseCursor(want.String()); err != nil || got != want {
			t.Errorf("%s is read as %+v, %v", want, got, err)
		}
	}
	s := hearth.Session{Epoch: "epoch1", Seq: 7, Nonce: "nonce7"}
	if got := s.Cursor().String(); got != "epoch1.7.nonce7" {
		t.Errorf("the session stands at %s", got)
	}
}

func TestMalformedCursorsAreRefused(t *testing.T) {
	for _, s := range []string{
		"", ".", "..", "epoch1", "epoch1.7", "epoch1..nonce7", ".7.nonce7", "epoch1.7.", "epoch.7.nonce7", "epoch1.7.nonce",
		"epoch1.-7.nonce7", "epoch1.+7.nonce7", "epoch1.7.5.nonce7", "epoch1. 7.nonce7", "epoch1.7e1.nonce7", "epoch1.0x7.nonce7",
		"epoch1.9007199254740992.nonce7", "epoch1.99999999999999999999.nonce7", "epoch1.7.nonce7.", "epoch1.7.nonce7 ", "epoch1.7.nonce7\n",
		"epoch/.7.nonce7", "epoch1.7.nonce+", "epöch1.7.nonce7", strings.Repeat("x", 23) + ".7.nonce7", "epoch1.7." + strings.Repeat("x", 23),
		"epoch1.7." + strings.Repeat("x", 1<<20),
	} {
		if got, err := hearth.ParseCursor(s); hearth.ReasonOf(err) != hearth.ReasonBadParams {
			t.Errorf("%.60q is read as %+v, %v", s, got, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "epoch1.7.nonce7", "epoch1.007.nonce7", "a.1.b", "epoch1.9007199254740991.nonce7", "......"} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A[A-Za-z0-9_-]{6,22}\.[0-9]+\.[A-Za-z0-9_-]{6,22}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := hearth.ParseCursor(s)
		if err != nil {
			if c != (hearth.Cursor{}) {
				t.Errorf("%q is refused, and read as %+v", s, c)
			}
			return
		}
		if !grammar.MatchString(s) || c.Seq > hearth.MaxSafeInt {
			t.Errorf("%q is read as %+v", s, c)
		}
		if again, err := hearth.ParseCursor(c.String()); err != nil || again != c {
			t.Errorf("%q is read as %+v, and that as %+v, %v", s, c, again, err)
		}
	})
}

func TestETagsNameSessionAndVersion(t *testing.T) {
	if got := hearth.ETag("s1", 42); got != `"s1.42"` {
		t.Error(got)
	}
}

func TestIdentifiersAreNewAndWellFormed(t *testing.T) {
	for name, tt := range map[string]struct {
		next func() string
		form string
	}{
		"peer_id":    {hearth.NewPeerID, `^[0-9a-f]{32}$`},
		"session_id": {hearth.NewSessionID, `^[0-9a-f]{32}$`},
		"message_id": {hearth.NewMessageID, `^[0-9a-f]{32}$`},
		"secret":     {hearth.NewConnSecret, `^[A-Za-z0-9_-]{22}$`},
		"epoch":      {hearth.NewEpoch, `^[A-Za-z0-9_-]{6,22}$`},
		"nonce":      {hearth.NewNonce, `^[A-Za-z0-9_-]{6,21}$`}, // room for a digit behind it
	} {
		form, seen := regexp.MustCompile(tt.form), map[string]bool{}
		for range 1000 {
			id := tt.next()
			if !form.MatchString(id) || seen[id] {
				t.Fatalf("%s %q", name, id)
			}
			seen[id] = true
		}
	}
	if !hearth.ValidName(hearth.NewPeerID()) {
		t.Error("a new peer_id is no name")
	}
}

func TestLimitsThatAreNotGivenHaveTheirDefault(t *testing.T) {
	got := hearth.Limits{MaxKeys: 3}.WithDefaults()
	want := hearth.Limits{
		MaxValue: 64 << 10, MaxKeys: 3, MaxMetadata: 4 << 20, MaxMessage: 64 << 10, MaxPeers: 10_000, MaxFrame: 256 << 10,
		MaxOps: 100_000, LogEvents: 1000, LogBytes: 1 << 20, LogAge: 600e9, Retention: 86400e9, LargeRoom: 500,
		Grace: 10e9, NodeLease: 15e9,
	}
	if got != want || got.WithDefaults() != want {
		t.Errorf("%+v", got)
	}
}
