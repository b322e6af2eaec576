package httpapi

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

// What a client sends, and the reply as parts of it; no parts: no reply.
func TestRequests(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	k := c.join(0, "r", "ann", "host", nil)
	bad := func(code string) []string { return []string{"error.code", code, "result", absent, "jsonrpc", "2.0"} }
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"not JSON":               {`{"id":1,`, append(bad("-32700"), "id", "null", "error.data.reason", "not_json")},
		"empty text":             {``, append(bad("-32700"), "id", "null")},
		"two values":             {`{"id":1,"method":"ping"} {}`, bad("-32700")},
		"a number":               {`5`, append(bad("-32600"), "id", "null", "error.data.reason", "bad_request")},
		"a string":               {`"ping"`, bad("-32600")},
		"null":                   {`null`, bad("-32600")},
		"no method":              {`{"id":"x"}`, append(bad("-32600"), "id", "x")},
		"no method, no id":       {`{}`, append(bad("-32600"), "id", "null")},
		"method is a number":     {`{"id":1,"method":1}`, append(bad("-32600"), "id", "null")},
		"unknown method":         {`{"id":1,"method":"nope"}`, append(bad("-32601"), "id", "1", "error.data.reason", "no_such_method")},
		"methods have case":      {`{"id":1,"method":"Ping"}`, bad("-32601")},
		"params of another type": {`{"id":1,"method":"get-metadata","params":{"key":5}}`, append(bad("-32602"), "id", "1", "error.data.reason", "bad_params")},
		"params an array":        {`{"id":1,"method":"get-metadata","params":["k"]}`, bad("-32602")},
		"params a string":        {`{"id":1,"method":"get-metadata","params":"k"}`, bad("-32602")},
		"missing jsonrpc":        {`{"id":1,"method":"ping"}`, []string{"id", "1", "jsonrpc", "2.0", "error", absent}},
		"unknown members":        {`{"id":1,"method":"get-metadata","params":{"key":"k","x":[1]},"y":{},"jsonrpc":"2.0"}`, []string{"result.key", "k"}},
		"absent params":          {`{"id":1,"method":"get-metadata"}`, []string{"result.key", "default", "result.data", "null", "result.change_version", "0"}},
		"null params":            {`{"id":1,"method":"get-metadata","params":null}`, []string{"result.key", "default"}},
		"white space":            {" \r\n\t" + `{"id":1,"method":"ping"}` + "\n", []string{"id", "1"}},
		"a string as id":         {`{"id":"a\"ü","method":"ping"}`, []string{"id", "a\"ü"}},
		"a fraction as id":       {`{"id":-1.50e3,"method":"ping"}`, []string{"id", "-1.50e3"}},
		"null as id":             {`{"id":null,"method":"ping"}`, []string{"id", "null", "error", absent}},
		"an object as id":        {`{"id":{},"method":"ping"}`, append(bad("-32600"), "id", "null")},
		"an array as id":         {`{"id":[1],"method":"ping"}`, append(bad("-32600"), "id", "null")},
		"a boolean as id":        {`{"id":true,"method":"ping"}`, append(bad("-32600"), "id", "null")},
		"notification":           {`{"method":"ping"}`, nil},
		"notification, unknown":  {`{"method":"nope"}`, nil},
		"notification, bad":      {`{"method":"get-metadata","params":{"key":5}}`, nil},
		"media signals":          {`{"id":1,"method":"trickle","params":{"candidate":1}}`, []string{"result", "{}"}},

		"batch":                  {`[{"id":1,"method":"ping"},{"id":"b","method":"get-metadata"}]`, []string{"#", "2", "0.id", "1", "1.id", "b", "1.result.key", "default"}},
		"batch of one":           {` [{"id":1,"method":"ping"}]`, []string{"#", "1", "0.id", "1"}},
		"batch, requests only":   {`[{"method":"ping"},{"id":2,"method":"ping"},{"method":"ping"}]`, []string{"#", "1", "0.id", "2"}},
		"batch, some bad":        {`[1,{"id":2,"method":"nope"},{"id":3,"method":"ping"}]`, []string{"#", "3", "0.error.code", "-32600", "1.error.code", "-32601", "2.id", "3"}},
		"batch in a batch":       {`[[{"id":1,"method":"ping"}]]`, []string{"#", "1", "0.error.code", "-32600"}},
		"batch of notifications": {`[{"method":"ping"},{"method":"nope"}]`, nil},
		"empty batch":            {`[]`, append(bad("-32600"), "id", "null")},
		"batch not JSON":         {`[{"id":1,"method":"ping"}`, append(bad("-32700"), "id", "null")},
		"batch too long":         {`[` + strings.Repeat(`{"id":1,"method":"ping"},`, maxBatch) + `{}]`, bad("-32600")},
	} {
		t.Run(name, func(t *testing.T) {
			k.send(tt.text)
			k.send(`{"id":"fence","method":"ping"}`)
			got := k.first()
			if isFence := strings.HasPrefix(got, `{"jsonrpc":"2.0","id":"fence"`); isFence != (tt.want == nil) {
				t.Errorf("replied %v: %s", !isFence, got)
			} else if !isFence {
				has(t, name, got, tt.want...)
				k.first()
			}
		})
	}
}

func TestBeforeJoin(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	k := c.connect(0, "r", "ann", "host")
	early := map[string]bool{"ping": true, "join": true, "refresh-token": true, "analytics": true, "track-update": true, "trickle": true, "answer": true}
	for name, v := range verbs {
		if v.early != early[name] {
			t.Errorf("%s: may be called before join: %v", name, v.early)
		}
		if !early[name] {
			k.fails(name, object{}, 409, "not_member")
		}
	}
	has(t, "ping", k.ok("ping", nil), "cursor", absent)
	c.nothingLeft()
	k.ok("join", nil)
	k.fails("join", nil, -32600, "bad_request")
	k.open()
}

func TestRefused(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{MaxValue: 1000, MaxMessage: 1000, MaxKeys: 10}})
	k := c.join(0, "r", "ann", "host", nil)
	long := strings.Repeat("x", 1001)
	many := func(n int, v any) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = v
		}
		return out
	}
	set := func(name string, v any) object {
		o := object{"key": "k", "data": 1}
		o[name] = v
		return o
	}
	msg := func(more object) object {
		more["info"] = object{"message": 1}
		return more
	}
	ops := func(op object) object { return object{"ops": []object{op}} }
	const badParams, tooLarge, tooMany = -32602, 413, 413
	for name, tt := range map[string]struct {
		method string
		params object
		code   int
		reason hearth.Reason
	}{
		"value too large":       {"set-metadata", set("data", long), tooLarge, "too_large"},
		"empty key":             {"set-metadata", set("key", ""), badParams, "bad_params"},
		"key too long":          {"set-metadata", set("key", long[:257]), badParams, "bad_params"},
		"key with a control":    {"set-metadata", set("key", "a\nb"), badParams, "bad_params"},
		"key with a star":       {"set-metadata", set("key", "a*"), badParams, "bad_params"},
		"read of such a key":    {"get-metadata", object{"key": "a*"}, badParams, "bad_params"},
		"op_id too long":        {"set-metadata", set("op_id", long[:65]), badParams, "bad_params"},
		"op_id with a control":  {"set-metadata", set("op_id", "\x00"), badParams, "bad_params"},
		"version is text":       {"set-metadata", set("if_change_version", "1"), badParams, "bad_params"},
		"version is negative":   {"set-metadata", set("if_change_version", -1), badParams, "bad_params"},
		"ttl_ms of nothing":     {"set-metadata", set("ttl_ms", 0), badParams, "bad_params"},
		"ttl_ms too long":       {"set-metadata", set("ttl_ms", 2592000001), badParams, "bad_params"},
		"ttl_ms is text":        {"set-metadata", set("ttl_ms", "1s"), badParams, "bad_params"},
		"life without data":     {"set-metadata", object{"key": "k", "owned": true}, badParams, "bad_params"},
		"owned is text":         {"set-metadata", set("owned", "yes"), badParams, "bad_params"},
		"a lock of before":      {"set-metadata", set("lock", object{"name": "l", "token": 1}), 409, "lock_lost"},
		"lock without a token":  {"set-metadata", set("lock", object{"name": "l"}), badParams, "bad_params"},
		"lock without a name":   {"set-metadata", set("lock", object{"token": 1}), badParams, "bad_params"},
		"lock of an update":     {"update-metadata", object{"ops": []any{}, "lock": object{}}, badParams, "bad_params"},
		"lock without ttl_ms":   {"lock-acquire", object{"name": "l"}, badParams, "bad_params"},
		"lock too short":        {"lock-acquire", object{"name": "l", "ttl_ms": 999}, badParams, "bad_params"},
		"lock too long":         {"lock-acquire", object{"name": "l", "ttl_ms": 3600001}, badParams, "bad_params"},
		"lock of no name":       {"lock-acquire", object{"name": "a b", "ttl_ms": 1000}, badParams, "bad_params"},
		"wait too long":         {"lock-acquire", object{"name": "l", "ttl_ms": 1000, "wait_ms": 60001}, badParams, "bad_params"},
		"lock of bad keys":      {"lock-acquire", object{"name": "l", "ttl_ms": 1000, "keys": []string{""}}, badParams, "bad_params"},
		"lock of too many keys": {"lock-acquire", object{"name": "l", "ttl_ms": 1000, "keys": many(33, "k")}, tooMany, "too_many"},
		"renewing nothing":      {"lock-renew", object{"name": "l", "token": 1}, 409, "lock_lost"},
		"renewing no name":      {"lock-renew", object{}, badParams, "bad_params"},
		"releasing nothing":     {"lock-release", object{"name": "l", "token": 1}, 409, "lock_lost"},
		"lock of an end":        {"end-room", object{"lock": object{}}, badParams, "bad_params"},
		"no ops":                {"update-metadata", object{"ops": []any{}}, badParams, "bad_params"},
		"too many ops":          {"update-metadata", object{"ops": many(101, object{"op": "delete", "key": "k"})}, tooMany, "too_many"},
		"unknown op":            {"update-metadata", ops(object{"op": "x", "key": "k"}), badParams, "bad_params"},
		"set without data":      {"update-metadata", ops(object{"op": "set", "key": "k"}), badParams, "bad_params"},
		"check without version": {"update-metadata", ops(object{"op": "check", "key": "k"}), badParams, "bad_params"},
		"check with ttl_ms":     {"update-metadata", ops(object{"op": "check", "key": "k", "if_change_version": 0, "ttl_ms": 5}), badParams, "bad_params"},
		"increment too far":     {"update-metadata", ops(object{"op": "increment", "key": "n", "by": 1e300}), badParams, "bad_params"},
		"too many keys":         {"update-metadata", object{"ops": keysOps(11)}, tooMany, "too_many"},
		"too many patterns":     {"listen-metadata-change", object{"keys": many(1001, "k")}, tooMany, "too_many"},
		"pattern too long":      {"listen-metadata-change", object{"keys": []string{long[:257]}}, badParams, "bad_params"},
		"empty pattern":         {"listen-metadata-change", object{"keys": []string{""}}, badParams, "bad_params"},
		"page too long":         {"list-metadata", object{"limit": 1001}, badParams, "bad_params"},
		"foreign cursor":        {"list-metadata", object{"cursor": "%"}, badParams, "bad_params"},
		"no message":            {"broadcast", object{}, badParams, "bad_params"},
		"message too large":     {"broadcast", object{"info": object{"message": long}}, tooLarge, "too_large"},
		"type too long":         {"broadcast", object{"info": object{"message": 1, "type": long[:65]}}, badParams, "bad_params"},
		"message_id too long":   {"broadcast", msg(object{"message_id": long[:65]}), badParams, "bad_params"},
		"role and peer":         {"broadcast", msg(object{"roles": []string{"a"}, "peer_id": "b"}), badParams, "bad_params"},
		"too many roles":        {"broadcast", msg(object{"roles": many(33, "a")}), tooMany, "too_many"},
		"ill-formed role":       {"broadcast", msg(object{"roles": []string{"a b"}}), badParams, "bad_params"},
		"ill-formed peer_id":    {"get-peer", object{"peer_id": "a/b"}, badParams, "bad_params"},
		"peer_id too long":      {"get-peer", object{"peer_id": long[:129]}, badParams, "bad_params"},
		"peer name too long":    {"peer-update", object{"name": long[:257]}, tooLarge, "too_large"},
		"peer data too long":    {"peer-update", object{"data": strings.Repeat("x", 16<<10+1)}, tooLarge, "too_large"},
		"reason too long":       {"peer-leave-request", object{"requested_for": "bob", "reason": long[:257]}, badParams, "bad_params"},
		"iterator of nothing":   {"peer-iter-next", object{"iterator": "e30"}, 0, ""},
		"not a token":           {"refresh-token", object{"token": "x"}, 401, "unauthenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			k.TB = t
			defer func() { k.TB = c.TB }()
			if tt.reason == "" {
				k.ok(tt.method, tt.params)
				return
			}
			k.fails(tt.method, tt.params, tt.code, tt.reason)
		})
	}
	has(t, "after all that", k.ok("list-metadata", nil), "seq", "1", "entries.#", "0")
	for name, params := range map[string]object{
		"groups":     {"groups": many(1, "a b")},
		"33 groups":  {"groups": []string{}, "name": long[:257]},
		"peer data":  {"data": strings.Repeat("x", 16<<10+1)},
		"listen":     {"listen": []string{""}},
		"wrong type": {"name": 5},
	} {
		r := c.connect(0, "r", "bob", "guest").call("join", params)
		if at(t, r, "error") == absent {
			t.Errorf("join with bad %s: %s", name, r)
		}
	}
	for _, id := range []string{"a b", "-x", long[:129]} {
		c.dial(0, []string{"token", c.token("r", "x", "guest"), "peer", id}).fails("join", nil, badParams, "bad_params")
	}
	bound := c.mint(auth.Principal{Room: "r", User: "u", Role: "guest", Peer: "mine"})
	c.dial(0, []string{"token", bound, "peer", "other"}).fails("join", nil, 403, "forbidden")
	has(t, "join", c.dial(0, []string{"token", bound}).ok("join", nil), "peer_id", "mine")
	// A management token names no room to join.
	if r := c.dial(0, []string{"token", c.server()}).call("join", object{}); at(t, r, "error") == absent {
		t.Errorf("a server joined: %s", r)
	}
}

func keysOps(n int) (ops []object) {
	for i := range n {
		ops = append(ops, object{"op": "set", "key": strconv.Itoa(i), "data": i})
	}
	return ops
}

func TestVersions(t *testing.T) {
	each(t, func(c *cluster) {
		k := c.join(0, "r", "ann", "host", nil)
		has(t, "set", k.ok("set-metadata", object{"key": "k", "data": object{"a": 1}, "if_change_version": 0}), "change_version", "2",
			"data.a", "1", "updated_by", "ann", "key", "k")
		e := k.fails("set-metadata", object{"key": "k", "data": 2, "if_change_version": 0}, 412, "version_conflict")
		has(t, "conflict", e, "data.current.change_version", "2", "data.current.data.a", "1", "data.current.key", "k")
		e = k.fails("set-metadata", object{"key": "none", "data": 2, "if_change_version": 9}, 412, "version_conflict")
		has(t, "absent", e, "data.current.change_version", "0", "data.current.data", "null", "data.current.key", "none")
		e = k.fails("update-metadata", object{"ops": []object{
			{"op": "set", "key": "x", "data": 1}, {"op": "check", "key": "k", "if_change_version": 1},
		}}, 412, "version_conflict")
		has(t, "of an update", e, "data.current.change_version", "2", "data.current.key", "k")
		has(t, "nothing of it happened", k.ok("get-metadata", object{"key": "x"}), "change_version", "0", "data", "null")
		k.fails("update-metadata", object{"ops": []object{{"op": "increment", "key": "k"}}}, -32602, "bad_params")
		has(t, "right version", k.ok("set-metadata", object{"key": "k", "data": 2, "if_change_version": 2}), "change_version", "3")
		has(t, "delete", k.ok("set-metadata", object{"key": "k", "if_change_version": 3}), "deleted", "true", "change_version", "4", "data", "null")
		has(t, "delete of nothing", k.ok("set-metadata", object{"key": "k", "data": nil}), "deleted", absent, "change_version", "0")
		k.ok("update-metadata", object{"ops": keysOps(5)})
		page := k.ok("list-metadata", object{"limit": 3})
		has(t, "page", page, "entries.#", "3", "entries.0.key", "0", "seq", "5")
		has(t, "next", k.ok("list-metadata", object{"limit": 3, "cursor": at(t, page, "cursor")}), "entries.#", "2", "cursor", absent)
		has(t, "prefix", k.ok("list-metadata", object{"prefix": "4"}), "entries.#", "1", "entries.0.data", "4")
	})
}

func TestRepeats(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", object{"listen": []string{"*"}})
		c.settle("r", ann, bob)
		first := ann.ok("set-metadata", object{"key": "k", "data": 1, "op_id": "o1"})
		if again := ann.ok("set-metadata", object{"key": "k", "data": 1, "op_id": "o1"}); again != first {
			t.Errorf("the repeat got %s, not %s", again, first)
		}
		has(t, "of another peer", bob.ok("set-metadata", object{"key": "k", "data": 2, "op_id": "o1"}), "updated_by", "bob")
		up := object{"ops": []object{{"op": "increment", "key": "n"}}, "op_id": "o2"}
		if one, two := ann.ok("update-metadata", up), ann.ok("update-metadata", up); one != two {
			t.Errorf("the repeat got %s, not %s", two, one)
		}
		say := object{"info": object{"message": "m"}, "message_id": "m1"}
		if one, two := ann.ok("broadcast", say), ann.ok("broadcast", say); one != two {
			t.Errorf("the repeat got %s, not %s", two, one)
		}
		has(t, "own message_id", ann.ok("broadcast", say), "message_id", "m1")
		if got := bob.before(c.mark("r")); got != "on-metadata-change on-metadata-change on-metadata-change on-broadcast" {
			t.Errorf("bob heard %q", got)
		}
		// With another connection of the same peer too: that is when repeats are needed.
		k := c.connect(1, "r", "ann", "host")
		k.ok("join", nil)
		if again := k.ok("set-metadata", object{"key": "k", "data": 1, "op_id": "o1"}); again != first {
			t.Errorf("the repeat after a takeover got %s, not %s", again, first)
		}
	})
}

func TestEndingOneself(t *testing.T) {
	each(t, func(c *cluster) {
		for range 5 { // the close must not overtake the reply
			ann := c.join(0, "r", "ann", "host", nil)
			ann.ok("peer-leave-request", object{"requested_for": "ann", "reason": "x"})
			ann.hears("on-peer-leave-request", "room_end", "false")
			ann.closed(node.CloseRemoved)
			bob := c.join(1, "r", "bob", "host", nil)
			bob.send(`[{"id":1,"method":"end-room"},{"id":2,"method":"leave"},{"id":3,"method":"ping"}]`)
			has(t, "batch", bob.first(), "0.result", "{}", "1.error.data.reason", "session_ended", "2.id", "3")
			bob.closed(node.CloseEnded)
			cat := c.join(1, "r", "cat", "host", nil)
			cat.send(`[{"id":1,"method":"leave"},{"id":2,"method":"ping"}]`)
			has(t, "batch", cat.first(), "#", "1", "0.result.session_ended", "true")
			cat.closed(node.CloseNormal)
		}
	})
}

func TestJoinTimeout(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, joinTimeout: time.Second})
	joined := c.join(0, "r", "ann", "guest", nil)
	c.connect(0, "r", "bob", "guest").closed(node.CloseNoJoin)
	joined.open()
}

// soon mints a token that the server's leeway keeps alive for d only.
func (c *cluster) soon(p auth.Principal, d time.Duration) string {
	c.Helper()
	then, err := auth.NewVerifier(auth.Config{
		AccessKey: testKey, Secret: testSecret, Now: func() time.Time { return time.Now().Add(d - time.Minute - time.Hour) },
	})
	if err != nil {
		c.Fatal(err)
	}
	t, err := then.Mint(p, time.Hour)
	if err != nil {
		c.Fatal(err)
	}
	return t
}

func TestTokensExpire(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "guest", nil)
	who := auth.Principal{Room: "r", User: "u-bob", Role: "guest"}
	const d = 2500 * time.Millisecond // exp is in whole seconds: 1.5 s at least
	bob := c.dial(1, []string{"token", c.soon(who, d), "peer", "bob"})
	cat := c.dial(1, []string{"token", c.soon(auth.Principal{Room: "r", User: "u-cat", Role: "guest"}, d), "peer", "cat"})
	bob.ok("join", nil)
	cat.ok("join", nil)
	for name, p := range map[string]auth.Principal{
		"room": {Room: "r2", User: "u-bob", Role: "guest"}, "user": {Room: "r", User: "u-ann", Role: "guest"},
		"peer": {Room: "r", User: "u-bob", Role: "guest", Peer: "bob2"}, "kind": {Management: true, Room: "r"},
	} {
		t.Run("another "+name, func(*testing.T) { bob.fails("refresh-token", object{"token": c.mint(p)}, 403, "forbidden") })
	}
	fresh := c.mint(who)
	p, err := c.verifier.Verify(fresh)
	if err != nil {
		t.Fatal(err)
	}
	has(t, "refresh", bob.ok("refresh-token", object{"token": fresh}), "exp", strconv.FormatInt(p.Expires.Unix(), 10))
	cat.closed(node.CloseAuth)
	ann.hears("on-peer-leave", "peer_id", "cat", "reason", "timed_out")
	bob.open()
}

func TestBadTokens(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	expired := c.soon(auth.Principal{Room: "r", User: "u", Role: "guest"}, -2*time.Second)
	other, err := auth.NewVerifier(auth.Config{AccessKey: testKey, Secret: strings.Repeat("z", 32)})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Mint(auth.Principal{Room: "r", User: "u", Role: "guest"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"none": "", "junk": "x", "expired": expired, "foreign": foreign} {
		t.Run(name, func(t *testing.T) {
			c := c.on(t)
			c.dial(0, []string{"token", token}).closed(node.CloseAuth)
			c.do("GET", "/v1/rooms/r", token, "").problem(401, "unauthenticated")
		})
	}
	eventually(t, "no connection is left", func() bool { return c.nodes[0].Connections() == 0 })
}

// ours are names of types in Go, which say nothing to a client.
var ours = regexp.MustCompile(`struct|int64|float|bool|\[\]|httpapi|hearth|Params|opID|a array|json`)

// Every reply to every method is JSON with an object as its result, whatever the params.
func TestParamsOfAnyType(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	for name := range verbs {
		for _, params := range []any{
			nil,
			object{},
			[]int{1},
			5, "x", true,
			object{"key": []int{}, "name": 5, "token": 5, "limit": "x", "info": 5},
			object{"op_id": 5},
			object{"ttl_ms": "x"},
			object{"owned": "x"},
			object{"lock": "x"},
			object{"ops": "x"},
			object{"keys": "x"},
			object{"by": []int{}},
			object{"info": object{"type": 5}},
		} {
			k := c.join(0, "any", "p", "host", nil)
			r := k.call(name, params)
			var reply struct {
				Result map[string]any
				Error  *struct {
					Message string
					Data    struct{ Reason string }
				}
			}
			if err := json.Unmarshal([]byte(r), &reply); err != nil {
				t.Errorf("%s(%v): %v: %s", name, params, err, r)
			}
			if e := reply.Error; e != nil && ours.MatchString(e.Message) {
				t.Errorf("%s(%v) tells of the server's inside: %s", name, params, e.Message)
			}
			if reply.Error != nil && reply.Error.Data.Reason == "internal" {
				t.Errorf("%s(%v): %s", name, params, r)
			}
			k.drop()
		}
	}
}
