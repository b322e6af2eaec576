package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

// notNames is what no room, peer, role, group or lock may be called; notKeys is what no entry and no user may be.
var (
	notNames = append([]string{
		"{", "}", "{}", "{0}", "a{0}", "{a}b", "*", "a*", "?", "[a]", "a/b", "/", "..", "../a", " ", "a b", "a,b", `"`, `a\`, "é", "😀", "-a", ":a",
		"%", "%2F", "$", "a|b", "<a>", strings.Repeat("a", 129),
	}, notKeys...)
	notKeys = []string{
		"a\r\nb", "\r\nDEL a\r\n", "a\n", "\n", "\t", "\x00", "a\x00b", "\x1f", "\x7f", "\u0080", "\u0085", strings.Repeat("a", 257),
		strings.Repeat("a", 30_000),
	}
	notEntries = append([]string{"*", "a*", "**"}, notKeys...)
)

// Every name that a client gives is held against its grammar wherever it is written: what is none changes nothing.
func TestNamesThatAreNone(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	ann := c.join(0, "r", "ann", "host", nil)
	c.join(0, "r", "bob", "host", nil)
	before, keys := c.state("r"), len(c.keys())
	far := c.connect(0, "r", "far", "host")
	far.send(`{"id":1,"method":"join","params":{"groups":["` + strings.Repeat("a", 1<<20) + `"]}}`)
	far.closed(node.CloseTooBig)
	refused := func(method string, params object) {
		t.Helper()
		ann.fails(method, params, -32602, "bad_params")
	}
	for _, name := range notNames {
		if name != "" {
			refused("group-add", object{"name": "g", "peer_id": name})
			refused("peer-update", object{"name": "N", "peer_id": name})
			refused("peer-leave-request", object{"requested_for": name})
			refused("broadcast", object{"info": object{"message": 1}, "peer_id": name})
		}
		refused("group-join", object{"name": name})
		refused("lock-acquire", object{"name": name, "ttl_ms": 1000})
		refused("lock-renew", object{"name": name, "token": 1})
		refused("lock-release", object{"name": name, "token": 1})
		refused("role-change-request", object{"requested_for": "bob", "role": name, "force": true})
		refused("role-change-request", object{"requested_for": name, "role": "guest"})
		refused("broadcast", object{"info": object{"message": 1}, "roles": []string{"guest", name}})
		c.connect(0, "r", "new", "host").fails("join", object{"groups": []string{name}}, -32602, "bad_params")
		for _, p := range []auth.Principal{
			{Room: name, User: "u", Role: "host"}, {Room: "r", User: "u", Role: name}, {Room: "r", User: "u", Role: "host", Peer: name},
		} {
			if _, err := c.verifier.Mint(p, time.Hour); err == nil {
				t.Errorf("a token is minted for %+.200v", p)
			}
		}
	}
	for _, key := range notEntries {
		refused("set-metadata", object{"key": key, "data": 1})
		refused("update-metadata", object{"ops": []object{{"op": "set", "key": "k", "data": 1}, {"op": "set", "key": key, "data": 1}}})
		if key != "*" && key != "a*" { // which are patterns
			refused("lock-acquire", object{"name": "l", "ttl_ms": 1000, "keys": []string{key}})
			refused("listen-metadata-change", object{"keys": []string{key}})
		}
	}
	for _, text := range notKeys {
		refused("set-metadata", object{"key": "k", "data": 1, "op_id": text})
		refused("broadcast", object{"info": object{"message": 1, "type": text}})
		if _, err := c.verifier.Mint(auth.Principal{Room: "r", User: text, Role: "host"}, time.Hour); err == nil {
			t.Errorf("a token is minted for the user %.200q", text)
		}
	}
	paths := func(name string) [][3]string {
		q, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		in := "/v1/rooms/" + url.PathEscape(name)
		return [][3]string{
			{"GET", in, ""},
			{"PUT", in, `{"max_peers":9}`},
			{"POST", in + "/end", ""},
			{"PUT", in + "/peers/new", ""},
			{"PUT", in + "/metadata/k", "1"},
			{"POST", in + "/messages", `{"message":1}`},
			{"GET", in + "/events", ""},
			{"PUT", "/v1/rooms/r/peers/" + url.PathEscape(name), ""},
			{"PATCH", "/v1/rooms/r/peers/" + url.PathEscape(name), `{"name":"N"}`},
			{"PATCH", "/v1/rooms/r/peers/bob", `{"role":` + string(q) + `}`},
			{"DELETE", "/v1/rooms/r/peers/" + url.PathEscape(name), ""},
			{"POST", "/v1/rooms/r/locks/" + url.PathEscape(name), `{"peer_id":"ann","ttl_ms":1000}`},
			{"POST", "/v1/rooms/r/messages", `{"message":1,"peer_id":` + string(q) + `}`},
			{"GET", "/v1/sessions/" + url.PathEscape(name), ""},
		}
	}
	for _, name := range notNames {
		if strings.Trim(name, "./") == "" || len(name) > 10_000 { // what a client cleans away, and what is no header
			continue
		}
		for _, p := range paths(name) {
			c.do(p[0], p[1], c.server(), p[2], "Accept", "application/json").problem(http.StatusBadRequest, "bad_params")
		}
	}
	for _, key := range notEntries {
		if len(key) > 10_000 {
			continue
		}
		c.do("PUT", "/v1/rooms/r/metadata/"+url.PathEscape(key), c.server(), "1").problem(http.StatusBadRequest, "bad_params")
	}
	for _, user := range notKeys {
		if len(user) > 10_000 {
			continue
		}
		c.do("POST", "/v1/users/"+url.PathEscape(user)+"/disconnect", c.server(), "").problem(http.StatusBadRequest, "bad_params")
	}
	if after := c.state("r"); after != before || len(c.keys()) != keys {
		t.Errorf("names that are none had an effect:\n%s\n%s\n%q", before, after, c.keys())
	}
}
