package hearth_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

// event parses a whole text.
func event(text string) (hearth.Event, error) {
	c, prev, rest, err := hearth.ParseCursorLine(text)
	if err != nil {
		return hearth.Event{}, err
	}
	return hearth.ParseEvent(c, prev, rest)
}

const (
	headLine = "7 nonce7 nonce6 epoch1\n"
	user     = `"u \"1\""`
)

var eventTexts = []struct {
	name   string
	text   string
	want   hearth.Event // without its cursor
	params string       // after seq and n
}{
	{
		"a join", headLine + "join 1700000000000 ann secret !\nhost red,blue\n\"peer_id\":\"ann\"",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindJoin, At: 1700000000000, Peer: "ann", Conn: "secret",
			Audience: hearth.Audience{All: true, Except: "ann"}, Role: "host", Groups: []string{"red", "blue"}, Body: `"peer_id":"ann"`,
		},
		`"peer_id":"ann"}`,
	},
	{
		"the first change", "7 nonce7 - epoch1\njoin 1 ann secret 0\nhost -\n\"peer_id\":\"ann\"",
		hearth.Event{Kind: hearth.KindJoin, At: 1, Peer: "ann", Conn: "secret", Role: "host", Body: `"peer_id":"ann"`},
		`"peer_id":"ann"}`,
	},
	{
		"a session's first join", "7 nonce7 - epoch1\njoin 1 ann secret !\nhost - s1\n\"peer_id\":\"ann\"",
		hearth.Event{
			Kind: hearth.KindJoin, At: 1, Peer: "ann", Conn: "secret", Audience: hearth.Audience{All: true, Except: "ann"},
			Role: "host", Session: "s1", Body: `"peer_id":"ann"`,
		},
		`"peer_id":"ann"}`,
	},
	{
		"a change of connection", headLine + "conn 1 ann old 0\nhost red\n",
		hearth.Event{Prev: "nonce6", Kind: hearth.KindConn, At: 1, Peer: "ann", Conn: "old", Role: "host", Groups: []string{"red"}},
		"}",
	},
	{
		"an update", headLine + "update 1 ann secret *\nguest -\n\"peer_id\":\"ann\"",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindUpdate, At: 1, Peer: "ann", Conn: "secret",
			Audience: hearth.Audience{All: true}, Role: "guest", Body: `"peer_id":"ann"`,
		},
		`"peer_id":"ann"}`,
	},
	{
		"a leave", headLine + "leave 1 ann secret !\nremoved bob \"be kind\\n\"\n\"peer_id\":\"ann\"",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindLeave, At: 1, Peer: "ann", Conn: "secret",
			Audience: hearth.Audience{All: true, Except: "ann"}, Leave: hearth.Removed, By: "bob", Text: `"be kind\n"`, Body: `"peer_id":"ann"`,
		},
		`"peer_id":"ann"}`,
	},
	{
		"a join in a large room", headLine + "join 1 ann secret !~501\nhost -\n\"peer_id\":\"ann\"",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindJoin, At: 1, Peer: "ann", Conn: "secret",
			Audience: hearth.Audience{All: true, Listeners: true, Except: "ann"}, PeerCount: 501, Role: "host", Body: `"peer_id":"ann"`,
		},
		`"peer_id":"ann"}`,
	},
	{
		"an update in a large room", headLine + "update 1 ann secret *~\nguest -\n\"peer_id\":\"ann\"",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindUpdate, At: 1, Peer: "ann", Conn: "secret",
			Audience: hearth.Audience{All: true, Listeners: true, Self: "ann"}, Role: "guest", Body: `"peer_id":"ann"`,
		},
		`"peer_id":"ann"}`,
	},
	{
		"a message to a role with a tilde", headLine + "msg 1 ann - ra~1\n\n\"private\":false",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindMsg, At: 1, Peer: "ann",
			Audience: hearth.Audience{Roles: []string{"a~1"}, Except: "ann"}, Body: `"private":false`,
		},
		`"private":false}`,
	},
	{
		"an end", headLine + "end 1 - - *\nended - \"\"\n\"session_id\":\"s\"",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindEnd, At: 1, Audience: hearth.Audience{All: true}, Leave: hearth.Ended, Text: `""`,
			Body: `"session_id":"s"`,
		},
		`"session_id":"s"}`,
	},
	{
		"a message to all but its sender", headLine + "msg 1 ann - !\n\n\"private\":false",
		hearth.Event{Prev: "nonce6", Kind: hearth.KindMsg, At: 1, Peer: "ann", Audience: hearth.Audience{All: true, Except: "ann"}, Body: `"private":false`},
		`"private":false}`,
	},
	{
		"a message to roles", headLine + "msg 1 ann - rhost,guest\n\n\"private\":false",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindMsg, At: 1, Peer: "ann",
			Audience: hearth.Audience{Roles: []string{"host", "guest"}, Except: "ann"}, Body: `"private":false`,
		},
		`"private":false}`,
	},
	{
		"a private message", headLine + "msg 1 - - @bob\n" + user + "\n\"private\":true",
		hearth.Event{Prev: "nonce6", Kind: hearth.KindMsg, At: 1, Audience: hearth.Audience{Peer: "bob", User: user}, Body: `"private":true`},
		`"private":true}`,
	},
	{
		"a change of metadata", headLine + "meta 1 ann - *\n2\n11 a b\n9 1 c\n{\"key\":\"a\"},{\"k\":\"c\"}",
		hearth.Event{
			Prev: "nonce6", Kind: hearth.KindMeta, At: 1, Peer: "ann", Audience: hearth.Audience{All: true},
			Entries: []hearth.Segment{{Key: "a b", JSON: `{"key":"a"}`}, {Key: "1 c", JSON: `{"k":"c"}`}}, Body: `{"key":"a"},{"k":"c"}`,
		},
		`"values":[{"key":"a"},{"k":"c"}]}`,
	},
}

func TestEventsAreReadAsTheyWereWritten(t *testing.T) {
	for _, tt := range eventTexts {
		t.Run(tt.name, func(t *testing.T) {
			got, err := event(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Cursor = hearth.Cursor{Epoch: "epoch1", Seq: 7, Nonce: "nonce7"}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read as\n%+v, not\n%+v", got, want)
			}
			if params := string(got.AppendParams([]byte("x"), nil)); params != `x{"seq":7,"n":"nonce7",`+tt.params && got.Kind != hearth.KindConn {
				t.Errorf("params are %s", params)
			}
		})
	}
}

func TestMalformedEventsAreErrors(t *testing.T) {
	const meta = headLine + "meta 1 ann - *\n"
	for name, text := range map[string]string{
		"nothing":                     "",
		"one line":                    "7 nonce7 nonce6 epoch1",
		"three words":                 "7 nonce7 nonce6\njoin 1 ann secret !\nhost -\n",
		"a seq that is none":          "x nonce7 nonce6 epoch1\njoin 1 ann secret !\nhost -\n",
		"a negative seq":              "-7 nonce7 nonce6 epoch1\njoin 1 ann secret !\nhost -\n",
		"a seq with an exponent":      "7e3 nonce7 nonce6 epoch1\njoin 1 ann secret !\nhost -\n",
		"nothing but a cursor":        headLine,
		"no time":                     headLine + "join ann secret !\nhost -\n",
		"a time that is none":         headLine + "join now ann secret !\nhost -\n",
		"a time with an exponent":     headLine + "join 1.7e+12 ann secret !\nhost -\n",
		"no audience":                 headLine + "join 1 ann secret\nhost -\n",
		"an empty audience":           headLine + "join 1 ann secret \nhost -\n",
		"an unknown audience":         headLine + "join 1 ann secret ?\nhost -\n",
		"a count that is none":        headLine + "join 1 ann secret !~x\nhost -\n",
		"a count of none":             headLine + "join 1 ann secret !~0\nhost -\n",
		"nobody in a large room":      headLine + "join 1 ann secret 0~5\nhost -\n",
		"no extra":                    headLine + "join 1 ann secret !",
		"no body":                     headLine + "join 1 ann secret !\nhost -",
		"a join without groups":       headLine + "join 1 ann secret !\nhost\n",
		"a leave without text":        headLine + "leave 1 ann secret !\nleft -\n",
		"an end without text":         headLine + "end 1 - - *\nended\n",
		"metadata without a count":    meta + "\n2 k\n{}",
		"metadata of none":            meta + "0\n",
		"metadata of less than none":  meta + "-1\n2 k\n{}",
		"metadata of more than fit":   meta + "999999999999\n2 k\n{}",
		"metadata of a missing entry": meta + "2\n2 k\n{}",
		"an entry without a length":   meta + "1\nk\n{}",
		"an entry of negative length": meta + "1\n-2 k\n{}",
		"an entry that is too long":   meta + "1\n3 k\n{}",
		"an entry that is too short":  meta + "1\n1 k\n{}",
		"entries without a comma":     meta + "2\n2 k\n2 l\n{};{}",
		"entries that end early":      meta + "2\n2 k\n2 l\n{}",
		"entries with a rest":         meta + "1\n2 k\n{},",
	} {
		if e, err := event(text); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
}

// Whatever is read is read without a panic; and what is read as metadata is cut where its entries are.
func FuzzParseEvent(f *testing.F) {
	for _, tt := range eventTexts {
		f.Add(tt.text)
	}
	f.Add(headLine + "meta 1 ann - *\n2\n2 k\n3 l\n{},[1]")
	f.Add(headLine + "meta 1 - - @bob\n1\n2 k\n{}")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := event(text)
		if err != nil {
			return
		}
		if !strings.HasSuffix(text, e.Body) {
			t.Errorf("the body of %q is %q", text, e.Body)
		}
		if e.Kind == hearth.KindMeta {
			parts := make([]string, len(e.Entries))
			for i, s := range e.Entries {
				parts[i] = s.JSON
			}
			if strings.Join(parts, ",") != e.Body || len(parts) == 0 {
				t.Errorf("%q is cut into %q", e.Body, parts)
			}
		}
		e.Audience.Includes("ann", user, "host", false)
		e.AppendParams(nil, func(string) bool { return true })
	})
}

func TestAnAudienceIncludesWhoIsMeant(t *testing.T) {
	for _, tt := range []struct {
		name             string
		a                hearth.Audience
		peer, user, role string
		want             bool
		listens          bool // to peers
	}{
		{"all", hearth.Audience{All: true}, "ann", `"u"`, "host", true, false},
		{"all but oneself", hearth.Audience{All: true, Except: "ann"}, "ann", `"u"`, "host", false, false},
		{"all but another", hearth.Audience{All: true, Except: "ann"}, "bob", `"u"`, "host", true, false},
		{"nobody", hearth.Audience{}, "ann", `"u"`, "host", false, false},
		{"nobody, of no role", hearth.Audience{}, "ann", `"u"`, "", false, false},
		{"one's role", hearth.Audience{Roles: []string{"guest", "host"}}, "ann", `"u"`, "host", true, false},
		{"another role", hearth.Audience{Roles: []string{"guest"}}, "ann", `"u"`, "host", false, false},
		{"one's role, but oneself", hearth.Audience{Roles: []string{"host"}, Except: "ann"}, "ann", `"u"`, "host", false, false},
		{"oneself alone", hearth.Audience{Peer: "ann", User: `"u"`}, "ann", `"u"`, "host", true, false},
		{"another alone", hearth.Audience{Peer: "bob", User: `"u"`}, "ann", `"u"`, "host", false, false},
		{"another user of the same peer_id", hearth.Audience{Peer: "ann", User: `"v"`}, "ann", `"u"`, "host", false, false},
		{"oneself alone, though the sender", hearth.Audience{Peer: "ann", User: `"u"`, Except: "ann"}, "ann", `"u"`, "host", true, false},
		{"who listens, and doesn't", hearth.Audience{All: true, Listeners: true}, "ann", `"u"`, "host", false, false},
		{"who listens, and does", hearth.Audience{All: true, Listeners: true}, "ann", `"u"`, "host", true, true},
		{"who listens, but oneself", hearth.Audience{All: true, Listeners: true, Except: "ann"}, "ann", `"u"`, "host", false, true},
		{"who listens, and oneself", hearth.Audience{All: true, Listeners: true, Self: "ann"}, "ann", `"u"`, "host", true, false},
		{"who listens, and another", hearth.Audience{All: true, Listeners: true, Self: "ann"}, "bob", `"u"`, "host", false, false},
		{"who listens, and nobody", hearth.Audience{All: true, Listeners: true}, "", `"u"`, "host", false, false},
	} {
		if got := tt.a.Includes(tt.peer, tt.user, tt.role, tt.listens); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestParamsHaveTheEntriesThatAreWatched(t *testing.T) {
	e, err := event(headLine + "meta 1 ann - *\n3\n11 a\n11 b\n11 c\n{\"key\":\"a\"},{\"key\":\"b\"},{\"key\":\"c\"}")
	if err != nil {
		t.Fatal(err)
	}
	for watched, want := range map[string]string{
		"a":   `[{"key":"a"}]`,
		"b":   `[{"key":"b"}]`,
		"ac":  `[{"key":"a"},{"key":"c"}]`,
		"abc": `[{"key":"a"},{"key":"b"},{"key":"c"}]`,
	} {
		got := e.AppendParams(nil, func(key string) bool { return strings.Contains(watched, key) })
		if string(got) != `{"seq":7,"n":"nonce7","values":`+want+`}` || !json.Valid(got) {
			t.Errorf("who watches %s is told %s", watched, got)
		}
	}
}

func TestKindsHaveTheirNotification(t *testing.T) {
	for kind, want := range map[hearth.Kind]string{
		hearth.KindJoin: "on-peer-join", hearth.KindLeave: "on-peer-leave", hearth.KindUpdate: "on-peer-update",
		hearth.KindMeta: "on-metadata-change", hearth.KindMsg: "on-broadcast", hearth.KindEnd: "on-session-end",
		hearth.KindConn: "", hearth.Kind("other"): "",
	} {
		if got := kind.Method(); got != want {
			t.Errorf("%s is told by %q", kind, got)
		}
	}
}

func TestIsOf(t *testing.T) {
	p := hearth.Peer{ID: "ann", User: `u "1"`, Data: `"user_id":"mallory","type":"regular"}`}
	body := string(p.AppendBody(nil))
	for _, e := range []hearth.Event{
		{Kind: hearth.KindJoin, Body: body},
		{Kind: hearth.KindUpdate, Body: body},
		{Kind: hearth.KindLeave, Leave: hearth.TimedOut, Body: body + `,"reason":"timed_out"`},
	} {
		if !e.IsOf(hearth.QuoteString(p.User)) || e.IsOf(`"mallory"`) || e.IsOf(`"1\""`) {
			t.Errorf("%s: of the wrong user", e.Kind)
		}
	}
}
