package store

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

// Every file is a verb, or a part (its name begins with _) that some verb includes; a verb says what it is given and returns.
func TestEveryScriptIsAVerbOrAPartOfOne(t *testing.T) {
	files, err := fs.Glob(luaFiles, "lua/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "lua/"), ".lua")
		text, err := source(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(text, "\n") {
			t.Errorf("%s doesn't end with a newline, as what follows it needs", file)
		}
		if strings.Contains(text, "cjson") {
			t.Errorf("%s decodes or encodes JSON, which the embedded server does otherwise", file)
		}
		for line := range strings.Lines(text) {
			parts, _, _ := included(line)
			for _, part := range parts {
				known["lua/"+part+".lua"] = true
			}
		}
		if strings.HasPrefix(name, "_") {
			continue
		}
		if !slices.Contains(verbs, verb(name)) {
			t.Errorf("%s is no verb", file)
		}
		for _, part := range []string{"-- " + name + ": ", "-- KEYS: ", "-- ARGV: ", "-- Returns: "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s doesn't say %q", file, part)
			}
		}
	}
	for _, file := range files {
		if strings.HasPrefix(file, "lua/_") && !known[file] {
			t.Errorf("%s is in no verb", file)
		}
	}
	if len(verbs)+len(known) != len(files) {
		t.Errorf("%d verbs and %d parts, but %d files", len(verbs), len(known), len(files))
	}
}

func TestScriptsOfOtherLimitsAreOthers(t *testing.T) {
	byDefault, err := scripts(hearth.Limits{}.WithDefaults(), false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := scripts(hearth.Limits{MaxPeers: 1}.WithDefaults(), false)
	if err != nil {
		t.Fatal(err)
	}
	sharded, err := scripts(hearth.Limits{}.WithDefaults(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verbs {
		if is, want := byDefault[v].Hash() != other[v].Hash(), v == verbJoin || v == verbRoleSet; is != want {
			t.Errorf("%s is another with other limits: %t", v, is)
		}
	}
	for _, v := range []verb{verbSet, verbBroadcast, verbLeave} {
		if byDefault[v].Hash() == sharded[v].Hash() {
			t.Errorf("%s publishes on a cluster as elsewhere", v)
		}
	}
}

// A limit is in scripts as the number that it is; each is in some.
func TestLimitsAreNumbersInScripts(t *testing.T) {
	all, err := composed(rated)
	if err != nil {
		t.Fatal(err)
	}
	met := map[string]bool{}
	for _, pieces := range all {
		for i := 1; i < len(pieces); i += 2 {
			met[pieces[i]] = true
		}
	}
	for name := range limitsOf(hearth.Limits{}, false) {
		if !met[name] {
			t.Errorf("%s is in no script", name)
		}
	}
	l := hearth.Limits{}.WithDefaults()
	l.MaxKeys = 4711
	made, err := texts(l, false)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(made[verbSet], ">= 4711 then") || strings.Contains(made[verbSet], "MAX_KEYS") {
		t.Error("a limit of set's is not the number that it was set to")
	}
}

// rated are limits of which none is off.
var rated = hearth.Limits{PeerRate: 20, RoomRate: 0.3, JoinRate: 7, MaxUserPeers: 4712}.WithDefaults()

// What is off costs nothing: of the rates, and of what bounds a user's peers, no script has anything. What is on is only where it
// has to be.
func TestWhatIsOffIsInNoScript(t *testing.T) {
	off, err := texts(hearth.Limits{}.WithDefaults(), false)
	if err != nil {
		t.Fatal(err)
	}
	on, err := texts(rated, false)
	if err != nil {
		t.Fatal(err)
	}
	few, err := texts(hearth.Limits{MaxUserPeers: 4712}.WithDefaults(), false)
	if err != nil {
		t.Fatal(err)
	}
	readers := []verb{verbGet, verbList, verbWatch, verbPeerGet, verbLog, verbLocks, verbRoom, verbSnapshot}
	never := []verb{verbLeave, verbLockCancel, verbDisconnect} // are given no buckets
	const rate, user = "return {'rate_limited'", "return {'too_many_of_user'}"
	for v, text := range off {
		for _, trace := range []string{rate, user, "#KEYS", "pcall", "'MGET'", "'SET'", "'TIME'", "RATE", "USER_PEERS"} {
			if strings.Contains(text, trace) && (trace != "'TIME'" || slices.Contains(readers, v)) {
				t.Errorf("%s has %s", v, trace)
			}
		}
		if _, counts := countedVerbs[v]; counts != strings.Contains(on[v], rate) && !slices.Contains(never, v) {
			t.Errorf("%s counts: %t", v, counts)
		}
		if is := few[v] != text; is != (v == verbJoin) || strings.Contains(few[v], rate) {
			t.Errorf("%s is another where users are bounded: %t", v, is)
		}
	}
	for _, want := range []string{
		"{50000, 3333333, 142857}, {1000000, 33333330, 1428570}", "r.user == USER and 1 or #KEYS - 2", ">= 4712 then", user,
	} {
		if !strings.Contains(on[verbJoin], want) {
			t.Errorf("the join has no %q:\n%s", want, on[verbJoin])
		}
	}
}

func TestAMissingPartIsAnError(t *testing.T) {
	if _, err := source("no_such_verb"); err == nil {
		t.Error("no error")
	}
}

func TestAReplyGivesZeroForWhatIsNotThere(t *testing.T) {
	r := reply{"text", int64(7), nil, []any{"a", nil}, "12", 3.5}
	if r.str(0) != "text" || r.str(1) != "" || r.str(2) != "" || r.str(9) != "" {
		t.Error("str")
	}
	if r.num(1) != 7 || r.num(4) != 12 || r.num(0) != 0 || r.num(9) != 0 {
		t.Error("num")
	}
	if !r.has(0) || r.has(2) || r.has(9) {
		t.Error("has")
	}
	if l := r.list(3); len(l) != 2 || l.str(0) != "a" || l.has(1) || r.list(0) != nil || r.list(9) != nil {
		t.Error("list")
	}
}

func TestAMalformedRecordIsAFaultOfTheServer(t *testing.T) {
	for _, record := range []string{"", "conn", strings.Repeat("x\n", 9), strings.Repeat("x\n", 11)} {
		if _, err := peerOf("ann", record, ""); hearth.ReasonOf(err) != hearth.ReasonInternal {
			t.Errorf("%q: %v", record, err)
		}
		if _, err := peersOf(reply{"ann", record, ""}); hearth.ReasonOf(err) != hearth.ReasonInternal {
			t.Errorf("%q: %v", record, err)
		}
	}
	if e := refusal("no such status"); hearth.ReasonOf(e) != hearth.ReasonInternal {
		t.Errorf("%v", e)
	}
}

// Of several failures the one is told that says that the store doesn't answer; else the first.
func TestGraver(t *testing.T) {
	one, other := &hearth.Error{Reason: hearth.ReasonInternal}, &hearth.Error{Reason: hearth.ReasonInternal}
	away := &hearth.Error{Reason: hearth.ReasonUnavailable}
	for _, tt := range []struct{ first, second, want error }{
		{nil, nil, nil}, {nil, one, one}, {one, nil, one}, {one, other, one}, {one, away, away}, {away, one, away},
	} {
		if got := graver(tt.first, tt.second); got != tt.want { //nolint:errorlint // itself
			t.Errorf("of %v and %v it is %v", tt.first, tt.second, got)
		}
	}
}
