package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// shellRun is what one run of the binary came to.
type shellRun struct {
	code     int
	out, err string
}

// terminal runs the binary as a user would who has set env.
type terminal struct {
	t   *testing.T
	env []string
}

func (m terminal) with(env ...string) terminal { return terminal{m.t, slices.Concat(m.env, env)} }

func (m terminal) run(args ...string) shellRun { return m.feed("", args...) }

// feed runs the binary with that standard input.
func (m terminal) feed(stdin string, args ...string) shellRun {
	m.t.Helper()
	cmd := command(m.t, m.env, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		m.t.Fatal(err)
	}
	return shellRun{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// says runs the binary and expects it to succeed with that output, and nothing else.
func (m terminal) says(want string, args ...string) {
	m.t.Helper()
	if r := m.run(args...); r.code != exitOK || r.out != want || r.err != "" {
		m.t.Errorf("hearth %s: %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
}

// fails runs the binary and expects that exit code, nothing on standard output, and these words on standard error.
func (m terminal) fails(code int, words string, args ...string) {
	m.t.Helper()
	r := m.run(args...)
	if r.code != code || r.out != "" || !strings.HasPrefix(r.err, "hearth: ") || !strings.Contains(r.err, words) {
		m.t.Errorf("hearth %s: %d, not %d and %q\n%s%s", strings.Join(args, " "), r.code, code, words, r.out, r.err)
	}
}

// shows is says for a pattern.
func (m terminal) shows(pattern string, args ...string) {
	m.t.Helper()
	r := m.run(args...)
	if r.code != exitOK || r.err != "" || !regexp.MustCompile(`(?s)^`+pattern+`$`).MatchString(r.out) {
		m.t.Errorf("hearth %s: %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
}

// TestCommands is a user's tour of a development server: no setting but where it is.
func TestCommands(t *testing.T) {
	n := start(t, nil)
	m := terminal{t, []string{"HEARTH_SERVER=" + n.url, "HEARTH_PREFIX=of-the-server"}}

	m.says("ROOM   SESSION   PEERS   SEQ   AGE\n", "rooms")
	m.says("{\"rooms\":[]}\n", "rooms", "--json")
	m.fails(exitNotFound, "room demo has no session (no_session)", "rooms", "demo")
	// Its settings may be worth knowing all the same.
	if r := m.run("rooms", "demo", "--json"); r.code != exitNotFound || !strings.Contains(r.out, `"session":null`) || !strings.Contains(r.err, "no_session") {
		t.Errorf("rooms demo --json: %+v", r)
	}
	m.fails(exitNotFound, "no_session", "get", "demo")
	m.fails(exitNotFound, "it begins when a peer joins (no_session)", "set", "demo", "k", "1")

	ann := n.dev(t, "demo", "ann")
	m.shows(`ROOM +SESSION +PEERS +SEQ +AGE\ndemo +`+ann.joined.SessionID+` +1 +1 +\d+s\n`, "rooms")
	m.shows(`demo +\S+ +1 +1 +\d+s\n`, "rooms", "demo", "--no-headers")
	m.shows(`\{"room_id":"demo",.*"session":\{"session_id":"`+ann.joined.SessionID+`".*\}\}\n`, "rooms", "demo", "--json")
	m.shows(`\{"rooms":\[\{"room_id":"demo",.*\}\]\}\n`, "rooms", "--json")

	m.says("2\n", "set", "demo", "deck", `{"z":1.50, "a":"ü<&"}`)
	m.says("{\"z\":1.50,\"a\":\"ü<&\"}\n", "get", "demo", "deck")
	m.shows(`\{"key":"deck","data":\{"z":1.50,"a":"ü<&"\},"change_version":2,"updated_at":\d+\}`+"\n", "get", "demo", "deck", "--json")
	m.says("3\n", "set", "demo", "a/b c?", "--string", "2")
	m.says("\"2\"\n", "get", "demo", "a/b c?")
	m.says("2\n", "get", "demo", "a/b c?", "--string")
	if r := m.feed("{\"n\": 1}\n", "set", "demo", "in", "-", "--json"); r.code != exitOK || !strings.Contains(r.out, `{"key":"in","data":{"n":1},"change_version":4`) {
		t.Errorf("from standard input: %+v", r)
	}
	m.shows(`KEY +VERSION +BY +EXPIRES +VALUE\na/b c\? +3 +- +- +"2"\ndeck +2 +- +- +\{.*\}\nin +4 +- +- +\{"n":1\}\n`, "get", "demo")
	m.shows(`in +4 +- +- +\{"n":1\}\n`, "get", "demo", "--prefix", "i", "--no-headers")
	m.shows(`a/b c\? [^\n]+\n`, "get", "demo", "--limit", "1", "--no-headers")
	m.shows(`\{"session_id":"`+ann.joined.SessionID+`","seq":4,"entries":\[\{"key":"a/b c\?",.*"key":"in",[^}]*\}[^}]*\}\]\}\n`, "get", "demo", "--json")
	m.says("5\n", "set", "demo", "minus", "--", "-5")

	// Compare-and-set, as a script does it.
	m.says("6\n", "set", "demo", "deck", "1", "--if-version", "2")
	m.fails(exitConflict, "the entry is not at the expected version: it is at 6 (version_conflict)", "set", "demo", "deck", "2", "--if-version", "2")
	m.fails(exitConflict, "the entry is not at the expected version: it is at 6 (version_conflict)", "set", "demo", "deck", "2", "--if-version", "0")
	m.says("7\n", "set", "demo", "new", "1", "--if-version", "0")
	m.fails(exitConflict, "version_conflict", "set", "demo", "deck", "--delete", "--if-version", "2")
	m.fails(exitConflict, "it is absent (version_conflict)", "set", "demo", "absent", "1", "--if-version", "2")
	m.says("8\n", "set", "demo", "deck", "--delete", "--if-version", "6")
	m.says("{\"key\":\"deck\",\"data\":null,\"change_version\":0}\n", "set", "demo", "deck", "--delete", "--json")
	m.fails(exitNotFound, "(not_found)", "get", "demo", "deck")

	// A repeat under the same name does nothing.
	m.says("9\n", "set", "demo", "k", "1", "--op-id", "once")
	m.says("10\n", "set", "demo", "k", "2")
	m.says("9\n", "set", "demo", "k", "1", "--op-id", "once")
	m.says("2\n", "get", "demo", "k")

	m.says("11\n", "set", "demo", "short", "1", "--ttl", "1h")
	m.shows(`.*"expires_at":\d+\}\n`, "get", "demo", "short", "--json")
	m.shows(`short +11 +- +(1h0m0s|59m\d+s) +1\n`, "get", "demo", "--prefix", "s", "--no-headers")
	ann.call("lock-acquire", `{"name":"mic","ttl_ms":60000,"keys":["bound*"]}`)
	m.fails(exitConflict, "lock mic is held by ann until ", "set", "demo", "bound-to-it", "1")
}

// TestRevoke: who had a token has none that is good, until that is taken back.
func TestRevoke(t *testing.T) {
	n := startNode(t, redistest.Shared(t))
	m := terminal{t, []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret, "HEARTH_SERVER=" + n.url}}
	ann := m.with("HEARTH_TOKEN=" + mint(t, auth.Principal{Room: "demo", User: "ann", Role: "guest"}))
	n.join(t, "demo", "bob", "host", `{}`)
	m.says("2\n", "set", "demo", "k", "1")
	ann.says("1\n", "get", "demo", "k")
	id := hearth.RevocationID("", "ann")
	m.says(id+"\n", "revoke", "--user-id", "ann")
	ann.fails(exitDenied, "the token was revoked (unauthenticated)", "get", "demo", "k")
	m.shows(`\{"id":"`+id+`","user_id":"ann","revoked_at":\d+,"until":\d+\}\n`, "revoke", "--user-id", "ann", "--for", "1h", "--json")
	m.shows(`\{"id":"\w+","jti":"a b","revoked_at":\d+,"until":\d+\}\n`, "revoke", "--jti", "a b", "--for", "1h", "--json")
	m.shows(`ID +WHAT +REVOKED +UNTIL\n`+id+` +user ann +\d+s +\S+Z\n\w+ +jti a b +\d+s +\S+Z\n`, "revoke", "--list")
	m.shows(id+` [^\n]+\n`, "revoke", "--list", "--no-headers", "--limit", "1")
	m.shows(`\{"revocations":\[\{"id":"`+id+`","user_id":"ann",.*"jti":"a b".*\}\]\}\n`, "revoke", "--list", "--json")
	m.says("", "revoke", "--undo", id)
	ann.says("1\n", "get", "demo", "k")
	m.says("{}\n", "revoke", "--undo", hearth.RevocationID("a b", ""), "--json")
	m.says("{\"revocations\":[]}\n", "revoke", "--list", "--json")
}

// TestExitCodes: scripts branch on them.
func TestExitCodes(t *testing.T) {
	n := startNode(t, redistest.Shared(t))
	n.join(t, "demo", "ann", "host", `{}`)
	keys := []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}
	m := terminal{t, append(keys, "HEARTH_SERVER="+n.url)}
	peer := mint(t, auth.Principal{Room: "demo", User: "ann", Role: "guest"})

	m.says("2\n", "set", "demo", "k", "1")
	for _, c := range []struct {
		code  int
		words string
		args  []string
	}{
		{exitFailed, "(too_large)", []string{"set", "demo", "k", "--string", strings.Repeat("x", 65<<10)}},
		{exitFailed, "is no string", []string{"get", "demo", "k", "--string"}},
		{exitUsage, "unknown command \"room\"", []string{"room"}},
		{exitUsage, "unknown flag: --nope", []string{"rooms", "--nope"}},
		{exitUsage, "accepts between 1 and 2 arg(s)", []string{"get"}},
		{exitUsage, "invalid argument \"x\"", []string{"set", "demo", "k", "1", "--if-version", "x"}},
		{exitUsage, "write --", []string{"set", "demo", "k", "-5"}},
		{exitUsage, `"Hello there" is not JSON: a text is written with --string, or in quotes of its own: '"Hello there"'`, []string{"set", "demo", "k", "Hello there"}},
		{exitUsage, "null is no value", []string{"set", "demo", "k", " null "}},
		{exitUsage, "is not JSON", []string{"set", "demo", "k", "-"}},
		{exitUsage, "VALUE is missing", []string{"set", "demo", "k"}},
		{exitUsage, "--delete takes no value", []string{"set", "demo", "k", "1", "--delete"}},
		{exitUsage, "--ttl must be", []string{"set", "demo", "k", "1", "--ttl", "-1s"}},
		{exitUsage, "ROOM must match", []string{"get", "a b"}},
		{exitUsage, "ROOM must match", []string{"rooms", "a/b"}},
		{exitUsage, "key must be", []string{"get", "demo", "k*"}},
		{exitUsage, "leave KEY out", []string{"get", "demo", "k", "--prefix", "x"}},
		{exitUsage, "--string is for", []string{"get", "demo", "--string"}},
		{exitUsage, "--limit", []string{"rooms", "--limit", "-1"}},
		{exitUsage, "--limit", []string{"get", "demo", "--limit", "-1"}},
		{exitUsage, "--timeout", []string{"rooms", "--timeout", "0s"}},
		{exitUsage, "must be a URL", []string{"rooms", "--server", "ftp://x"}},
		{exitUsage, "cursor must be", []string{"watch", "demo", "--after", "x"}},
		{exitUsage, "key must be", []string{"watch", "demo", "--keys", "a,"}},
		{exitUsage, "ROOM must match", []string{"watch", "a b"}},
		{exitUsage, "--room must match", []string{"doctor", "--room", "a b"}},
		{exitUsage, "HEARTH_REDIS: must be", []string{"doctor", "--redis", "http://x"}},
		{exitUsage, "role must match", []string{"token", "--room-id", "r", "--user-id", "u", "--role", "a b"}},
		{exitUsage, "give one of --jti, --user-id, --undo and --list", []string{"revoke"}},
		{exitUsage, "give one of", []string{"revoke", "--jti", "a", "--list"}},
		{exitUsage, "--for must be", []string{"revoke", "--jti", "a", "--for", "-1s"}},
		{exitUsage, "--for is for", []string{"revoke", "--list", "--for", "1h"}},
		{exitUsage, "--undo must match", []string{"revoke", "--undo", "a b"}},
		{exitUsage, "user_id must be at most", []string{"revoke", "--user-id", "a\nb"}},
		{exitUsage, "--limit", []string{"revoke", "--list", "--limit", "-1"}},
		{exitNotFound, "(not_found)", []string{"revoke", "--undo", "absent"}},
		{exitDenied, "(forbidden)", []string{"revoke", "--list", "--token", peer}},
		{exitNotFound, "(not_found)", []string{"get", "demo", "absent"}},
		{exitNotFound, "(no_session)", []string{"get", "empty", "k"}},
		{exitNotFound, "(no_session)", []string{"set", "empty", "k", "1"}},
		{exitNotFound, "(no_session)", []string{"set", "empty", "k", "1", "--if-version", "7"}},
		{exitConflict, "(version_conflict)", []string{"set", "demo", "k", "1", "--if-version", "1"}},
		{exitUnavailable, "hearth serve", []string{"rooms", "--server", "127.0.0.1:1"}},
		{exitUnavailable, "(unavailable)", []string{"watch", "demo", "--server", "127.0.0.1:1"}},
		{exitDenied, "(unauthenticated)", []string{"rooms", "--token", "nonsense"}},
		{exitDenied, "(unauthenticated)", []string{"watch", "demo", "--token", "nonsense"}},
		{exitDenied, "(forbidden)", []string{"rooms", "--token", peer}},
	} {
		t.Run(strings.Join(c.args[:min(2, len(c.args))], " "), func(t *testing.T) {
			terminal{t, m.env}.fails(c.code, c.words, c.args...)
		})
	}
	r := m.run("get")
	if !strings.HasSuffix(r.err, "\nSee 'hearth get --help'.\n") {
		t.Errorf("a wrong line is not told where to read more: %s", r.err)
	}
	// A peer's token writes as the peer; its membership is named as over HTTP.
	_, body := n.http(t, http.MethodPut, "/v1/rooms/demo/peers/bob", ``, nil)
	var bob struct {
		ConnID string `json:"conn_id"`
	}
	if err := json.Unmarshal([]byte(body), &bob); err != nil {
		t.Fatal(err)
	}
	as := m.with("HEARTH_TOKEN=" + mint(t, auth.Principal{Room: "demo", User: "bob", Role: "guest"}))
	as.fails(exitUsage, "Hearth-Conn", "set", "demo", "k", "1")
	as.says("1\n", "get", "demo", "k")
	as.shows(`\d+\n`, "set", "demo", "k", "2", "--conn", bob.ConnID)
	m.shows(`.*"updated_by":"bob".*`, "get", "demo", "k", "--json")
	as.fails(exitConflict, "(not_member)", "set", "demo", "k", "2", "--conn", "AAAAAAAAAAAAAAAAAAAAAA.bob")

	help := m.run("--help")
	for code := range 7 {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^  %d  `, code)).MatchString(help.out) {
			t.Errorf("the help does not list exit code %d", code)
		}
	}
	for _, code := range exits {
		if code < exitUsage || code > exitDenied {
			t.Errorf("exit code %d is not listed in the help", code)
		}
	}
}

// TestUnknownOutcome: a write that gets no answer is repeated under its one name, and at last told with it.
func TestUnknownOutcome(t *testing.T) {
	ops := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ops <- r.Header.Get("Idempotency-Key")
		w.WriteHeader(http.StatusGatewayTimeout)
	}))
	defer srv.Close()
	r := terminal{t, []string{"HEARTH_SERVER=" + srv.URL, "HEARTH_TOKEN=t"}}.run("set", "demo", "k", "1")
	close(ops)
	op, n := <-ops, 1
	for again := range ops {
		if n++; again != op {
			t.Errorf("%q, then %q", op, again)
		}
	}
	if r.code != exitUnavailable || n < 2 || len(op) < 16 || !strings.Contains(r.err, "again with --op-id "+op+" it is done once (outcome_unknown)") {
		t.Errorf("%+v after %d tries", r, n)
	}
}

// TestTokenSources: a command finds its token in this order, and says what to do if there is none.
func TestTokenSources(t *testing.T) {
	n, dev := startNode(t, redistest.Shared(t)), start(t, nil)
	m := terminal{t, []string{"HEARTH_SERVER=" + n.url}}
	keys := []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}
	good := mint(t, auth.Principal{Management: true})
	const empty = "ROOM   SESSION   PEERS   SEQ   AGE\n"

	m.with(keys...).says(empty, "rooms")
	m.with("HEARTH_TOKEN="+good).says(empty, "rooms")
	m.with("HEARTH_TOKEN=nonsense").says(empty, "rooms", "--token", good)
	m.with(append(keys, "HEARTH_TOKEN=nonsense")...).fails(exitDenied, "unauthenticated", "rooms")
	m.with(append(keys, "HEARTH_TOKEN=")...).says(empty, "rooms") // empty is not set
	m.with("HEARTH_SERVER=nonsense://", "HEARTH_TOKEN="+good).says(empty, "rooms", "--server", n.url)
	m.with(keys[0]).fails(exitUsage, "go together", "rooms")
	m.with(keys[0], "HEARTH_APP_SECRET=another-secret-of-32-bytes-or-longer").fails(exitDenied, "unauthenticated", "rooms")
	m.fails(exitDenied, "is no development server: give a token by --token or HEARTH_TOKEN", "rooms")
	m.fails(exitDenied, "no token for http://rooms.example:1: give a token", "rooms", "--server", "rooms.example:1")
	m.with("HEARTH_SERVER="+dev.url).says(empty, "rooms")
}

// TestServeKnowsTheClientsVariables: they are no mistyped settings of the server.
func TestServeKnowsTheClientsVariables(t *testing.T) {
	n := start(t, []string{"HEARTH_SERVER=http://127.0.0.1:1", "HEARTH_TOKEN=secret-token", "HEARTH_TOKENS=x"})
	if said := n.said(); strings.Contains(said, "variable=HEARTH_SERVER") || strings.Contains(said, "variable=HEARTH_TOKEN\n") ||
		!strings.Contains(said, "variable=HEARTH_TOKENS") || strings.Contains(said, "secret-token") {
		t.Error(said)
	}
	out, err := command(t, nil, "serve", "--server", "x").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("unknown flag: --server")) {
		t.Errorf("serve takes flags of the client: %s", out)
	}
}

// TestTokenJSON: of the key pair, and of a development server.
func TestTokenJSON(t *testing.T) {
	dev := start(t, nil)
	m := terminal{t, []string{"HEARTH_SERVER=" + dev.url}}
	keys := []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}
	for name, c := range map[string]struct {
		m    terminal
		args []string
		ttl  time.Duration
	}{
		"key pair":           {m.with(keys...), []string{"--room-id", "r", "--user-id", "u", "--ttl", "1h"}, time.Hour},
		"development server": {m, []string{"--room-id", "r", "--user-id", "u", "--role", "host", "--name", "U"}, 12 * time.Hour},
		"development, management": {
			m, []string{"--management"}, 12 * time.Hour,
		},
	} {
		r := c.m.run(append([]string{"token", "--json"}, c.args...)...)
		var got struct {
			Token     string
			ExpiresAt int64 `json:"expires_at"`
		}
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 || got.Token == "" {
			t.Fatalf("%s: %+v", name, r)
		}
		if off := time.Until(time.UnixMilli(got.ExpiresAt)) - c.ttl; off.Abs() > time.Minute {
			t.Errorf("%s: off by %s", name, off)
		}
	}
	r := m.run("token", "--room-id", "r", "--user-id", "ann")
	c := dev.dial(t, strings.TrimSpace(r.out), "")
	c.welcome(`{}`)
	m.fails(exitUsage, "need a key pair", "token", "--management", "--ttl", "1h")
	m.fails(exitUsage, "user_id", "token", "--room-id", "r")
	m.fails(exitUnavailable, "set HEARTH_APP_ACCESS_KEY", "token", "--management", "--server", "127.0.0.1:1")
}

// TestCompletion: what a shell asks when a user presses tab.
func TestCompletion(t *testing.T) {
	n := start(t, nil)
	n.dev(t, "demo", "ann").call("set-metadata", `{"key":"deck","data":1}`)
	n.dev(t, "den", "ann").call("set-metadata", `{"key":"x y","data":1}`)
	n.dev(t, "other", "bob")
	m := terminal{t, []string{"HEARTH_SERVER=" + n.url}}
	const none = ":4\n" // and no names of files
	for _, c := range []struct {
		want string
		args []string
	}{
		{"demo\nden\n" + none, []string{"get", "de"}},
		{"demo\nden\n" + none, []string{"watch", "de"}},
		{"demo\nden\n" + none, []string{"rooms", "de"}},
		{"demo\nden\n" + none, []string{"doctor", "--room", "de"}},
		{"deck\n" + none, []string{"get", "demo", ""}},
		{"deck\n" + none, []string{"set", "demo", "d"}},
		{"x y\n" + none, []string{"set", "den", ""}},
		{none, []string{"set", "demo", "x"}},
		{none, []string{"set", "demo", "deck", ""}},
		{none, []string{"watch", "demo", ""}},
		{none, []string{"get", "none", ""}},
		{none, []string{"rooms", "--server", "127.0.0.1:1", ""}},
		{none, []string{"rooms", "--server", "ftp://x", ""}},
	} {
		r := m.run(append([]string{"__complete"}, c.args...)...)
		if r.code != 0 || r.out != c.want {
			t.Errorf("%q: %+v", c.args, r)
		}
		// cobra says this on standard error, which the scripts throw away.
		if r.err != "Completion ended with directive: ShellCompDirectiveNoFileComp\n" {
			t.Errorf("%q says %s", c.args, r.err)
		}
	}
	for _, name := range []string{"bash", "zsh", "fish", "powershell"} {
		r := m.run("completion", name)
		if r.code != 0 || !strings.Contains(r.out, "__complete") {
			t.Errorf("%s: %+v", name, r)
		}
		if _, err := exec.LookPath(name); err != nil || name == "powershell" {
			continue
		}
		check := exec.CommandContext(t.Context(), name, "-n")
		check.Stdin = strings.NewReader(r.out)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestCompletionDoesNotWait for a server that does not answer.
func TestCompletionDoesNotWait(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer srv.Close()
	begin := time.Now()
	r := terminal{t, []string{"HEARTH_SERVER=" + srv.URL, "HEARTH_TOKEN=t"}}.run("__complete", "get", "")
	if r.code != 0 || r.out != ":4\n" || asked.Load() != 1 {
		t.Errorf("%+v, asked %d times", r, asked.Load())
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("it took %s", took)
	}
}

// TestHelp: each command has an example, and its flags are explained.
func TestHelp(t *testing.T) {
	m := terminal{t, nil}
	for _, name := range []string{"rooms", "watch", "get", "set", "token", "doctor"} {
		r := m.run(name, "--help")
		if r.code != 0 || !strings.Contains(r.out, "Examples:\n  hearth "+name) || !strings.Contains(r.out, "--json") || !strings.Contains(r.out, "--server") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestDoctor: all is well with a server that is well; a store behind it is looked at if asked.
func TestDoctor(t *testing.T) {
	redis := redistest.Shared(t)
	n := startNode(t, redis)
	m := terminal{t, []string{"HEARTH_SERVER=" + n.url, "HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}}
	r := m.run("doctor", "--redis", redis.URL)
	var names []string
	for line := range strings.Lines(r.out) {
		if f := strings.Fields(line); !strings.HasPrefix(line, " ") {
			names = append(names, f[0]+" "+f[1])
		}
	}
	want := []string{
		"ok server", "ok ready", "ok clock", "ok token", "ok session", "ok events", "ok websocket", "ok end", "ok redis", "warn redis-memory", "warn redis-persistence",
	}
	if r.code != 0 || r.err != "" || !slices.Equal(names, want) {
		t.Errorf("%d %s\n%s", r.code, r.err, r.out)
	}
	noRoomKeys(t, redis)

	r = m.with("HEARTH_TOKEN="+mint(t, auth.Principal{Room: "r", User: "u", Role: "guest"})).run("doctor", "--json")
	var report struct {
		OK     bool
		Server string
		Checks []struct {
			Name, Status, Detail, Advice string
			TookMS                       *int64 `json:"took_ms"`
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != exitFailed || report.OK || report.Server != n.url || r.err != "hearth: at least one check failed\n" {
		t.Fatalf("%v %+v", err, r)
	}
	if c := report.Checks[3]; c.Name != "token" || c.Status != "fail" || c.Advice == "" || c.TookMS == nil {
		t.Errorf("%+v", c)
	}
	// An embedded store is none that can be looked at.
	if r = m.with("HEARTH_REDIS=embedded").run("doctor", "--json"); r.code != 0 || strings.Contains(r.out, "redis-memory") {
		t.Errorf("%+v", r)
	}
}

func TestExplain(t *testing.T) {
	for want, err := range map[string]error{
		"no such key (not_found)": &hearth.Error{Reason: hearth.ReasonNotFound, Detail: "no such key"},
		"a must be b":             hearth.BadParams("a must be b"),
		"it did not answer: cut (unavailable)": &hearth.Error{
			Reason: hearth.ReasonUnavailable, Detail: "it did not answer", Cause: errors.New("cut"),
		},
		"the entry is not at the expected version: it is at 7 (version_conflict)": &hearth.Error{
			Reason: hearth.ReasonVersionConflict, Detail: "not so", Current: &hearth.Entry{Data: []byte("1"), ChangeVersion: 7},
		},
		"forbidden":                      &hearth.Error{Reason: hearth.ReasonForbidden},
		"SETTING: unavailable: not here": fmt.Errorf("SETTING: %w", &hearth.Error{Reason: hearth.ReasonUnavailable, Detail: "not here"}),
		"plain":                          errors.New("plain"),
		"a: " + os.ErrNotExist.Error():   fmt.Errorf("a: %w", os.ErrNotExist),
	} {
		if got := explain(err); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
