package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// Nobody becomes a peer that another user is, in whichever way it is asked for: every one is refused, and nothing changes.
func TestNobodyBecomesAnothersPeer(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "host", object{"data": "hers"})
	eve := c.join(1, "r", "eve", "guest", nil)
	ann.hears("on-peer-join", "peer_id", "eve")
	cursor, before := ann.cursor(), c.state("r")
	token := c.token("r", "eve", "guest")
	asAnn := c.mint(auth.Principal{Room: "r", User: "u-eve", Role: "guest", Peer: "ann"})
	for i := range 2 { // by the node that has ann's socket, and by another
		for name, t := range map[string]string{"a token that leaves the peer open": token, "a token for the peer": asAnn} {
			for params, join := range map[string]object{
				"plain": nil, "a resume": {"resume": object{"session_id": ann.sess, "cursor": cursor}}, "a name": {"name": "N", "data": "d"},
			} {
				k := c.dial(i, []string{"token", t, "peer", "ann"})
				if e := k.fails("join", join, 409, "peer_exists"); strings.Contains(e, "u-ann") {
					c.Errorf("%s, %s: the error says whose it is: %s", name, params, e)
				}
				_ = k.nc.Close()
			}
			c.doAt(i, "PUT", "/v1/rooms/r/peers/ann", t, `{"name":"N"}`).problem(http.StatusConflict, "peer_exists")
			c.doAt(i, "PUT", "/v1/rooms/r/peers/ann", t, `{"name":"N"}`, "Hearth-Conn", eve.conn).problem(http.StatusConflict, "peer_exists")
		}
		for _, r := range [][3]string{
			{"PATCH", "/v1/rooms/r/peers/ann", `{"name":"N"}`},
			{"DELETE", "/v1/rooms/r/peers/ann", ""},
			{"POST", "/v1/rooms/r/peers/ann/renew", `{"conn_id":"` + eve.conn + `"}`},
		} {
			for _, t := range []string{token, asAnn} {
				for _, conn := range []string{eve.conn, ann.conn} {
					if a := c.doAt(i, r[0], r[1], t, r[2], "Hearth-Conn", conn); a.status < 400 || a.status >= 500 {
						c.Errorf("%s with the conn_id of %s: %d %s", a.call, conn, a.status, a.body)
					}
				}
			}
		}
		// ann's conn_id alone, should it be seen, is nothing without a token of ann's user.
		c.doAt(i, "PUT", "/v1/rooms/r/metadata/k", token, "1", "Hearth-Conn", ann.conn).problem(http.StatusConflict, "not_member")
		c.doAt(i, "POST", "/v1/rooms/r/messages", token, `{"message":1}`, "Hearth-Conn", ann.conn).problem(http.StatusConflict, "not_member")
	}
	for _, p := range []auth.Principal{
		{Room: "r", User: "u-ann", Role: "host"},
		{Room: "r", User: "u-ann", Role: "host", Peer: "ann"},
		{Room: "r", User: "u-eve", Role: "host", Peer: "ann"},
		{Room: "other", User: "u-eve", Role: "guest"},
		{Management: true},
		{Management: true, Room: "r"},
	} {
		eve.fails("refresh-token", object{"token": c.mint(p)}, 403, "forbidden")
	}
	eve.fails("end-room", nil, 403, "forbidden") // it is who it was
	ann.open()
	eve.open()
	if after := c.state("r"); after != before {
		t.Errorf("what was refused had an effect:\n%s\n%s", before, after)
	}
	if heard := ann.before(c.mark("r")); heard != "" {
		t.Errorf("ann was told %s", heard)
	}
}

// A value that is JSON is kept as it is written, whatever it is; one that is none is refused, and nothing of it is kept.
func TestEvilValues(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "host", object{"listen": []string{"*"}})
	stream := c.watch(1, "r", c.server(), "")
	stream.begins()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	// is compares without looking into what it is: a decoder would make one number of many.
	is := func(where, text, value string) {
		t.Helper()
		if !strings.Contains(text, value) {
			t.Errorf("%s: %.300s is not in %.600s", where, value, text)
		}
	}
	raw := func(k *client, name string) string {
		t.Helper()
		return k.take(name, func(text string) bool { return method(text) == name })
	}
	// say calls with params as they stand: an encoder would write some values in another way. It returns the reason of an error.
	say := func(method, params string) (reason string) {
		t.Helper()
		ann.send(`{"id":"said","method":"` + method + `","params":` + params + `}`)
		reply := ann.take("reply to "+method, func(text string) bool {
			return strings.Contains(text, `"id":"said"`) || strings.Contains(text, `"id":null`)
		})
		return at(t, reply, "error.data.reason")
	}
	const path = "/v1/rooms/r/metadata/k"
	for _, value := range []string{
		"1e400", "-0", "-0.0", "1E+2", "0.10000000000000000000000000000000001", "9007199254740993", strings.Repeat("9", 1000), "1e-999999999",
		`"\ud800"`, `"\udc00\ud800"`, `"\u0000"`, `"\u000d\u000a"`, `"\/"`, "\"\u2028\u2029\"", "\"\u202e\"", "\"\x7f\"", `"</script><!--"`,
		`{"a":1,"a":2}`, `{"":{"":{}}}`, `{"__proto__":{"x":1}}`, `{"\u0061":1,"a":2}`, `"data: x\n\nevent: y"`, `"` + strings.Repeat(`\ud83d`, 100) + `"`,
		deep(hearth.MaxDepth),
	} {
		if reason := say("set-metadata", `{"key":"k","data":`+value+`}`); reason != absent {
			t.Errorf("%.60q is refused: %s", value, reason)
		}
		is("a watcher's", raw(bob, "on-metadata-change"), `"data":`+value+`,`)
		is("a stream's", stream.next("on-metadata-change").data, `"data":`+value+`,`)
		is("an entry", c.doAt(1, "GET", path, c.server(), "").is(200).body, `"data":`+value+`,`)
		c.do("PUT", path, c.server(), value).is(200)
		is("what HTTP set", raw(bob, "on-metadata-change"), `"data":`+value+`,`)
		stream.next("on-metadata-change")
		if reason := say("broadcast", `{"info":{"message":`+value+`}}`); reason != absent {
			t.Errorf("%.60q as a message is refused: %s", value, reason)
		}
		is("a message", raw(bob, "on-broadcast"), `"message":`+value)
		is("a message in a stream", stream.next("on-broadcast").data, `"message":`+value)
	}
	before := c.state("r")
	for _, value := range []string{
		"", "{", "[1,]", "1 2", "'a'", "NaN", "Infinity", "01", "+1", ".5", "0x10", `{"a"}`, `{a:1}`, "\"\n\"", `"\x"`, `"\u12"`, "\"\xff\"", "\"\xed\xa0\x80\"",
		"\"\xc0\x80\"", "\xff", "\uFEFF1", "1//x", deep(hearth.MaxDepth + 1), deep(9_000), strings.Repeat("[", 20_000),
	} {
		if a := c.do("PUT", path, c.server(), value); a.status != http.StatusBadRequest {
			t.Errorf("%.60q over HTTP: %d %.300s", value, a.status, a.body)
		}
		if a := c.do("POST", "/v1/rooms/r/messages", c.server(), `{"message":`+value+`}`); a.status != http.StatusBadRequest {
			t.Errorf("%.60q as a message over HTTP: %d %.300s", value, a.status, a.body)
		}
		if !utf8.ValidString(value) {
			continue // a socket ends with it: see TestBadFrames
		}
		for _, q := range [][2]string{{"set-metadata", `{"key":"k","data":` + value + `}`}, {"broadcast", `{"info":{"message":` + value + `}}`}} {
			reason := say(q[0], q[1])
			if reason != "not_json" && reason != "bad_params" {
				t.Errorf("%.60q by %s: %s", value, q[0], reason)
			}
		}
	}
	if after := c.state("r"); after != before {
		t.Errorf("what was refused had an effect:\n%s\n%s", before, after)
	}
}
