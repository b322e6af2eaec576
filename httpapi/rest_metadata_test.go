package httpapi

import (
	"net/url"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

const meta = tree + "/r/metadata"

func TestEntries(t *testing.T) {
	t.Parallel()
	each(t, func(c *cluster) {
		s := c.server()
		c.do("GET", meta+"/k", s, "").problem(404, "no_session")
		c.do("GET", meta, s, "").problem(404, "no_session")
		for _, method := range []string{"PUT", "DELETE"} {
			c.do(method, meta+"/k", s, "1").problem(409, "no_session")
			c.do(method, meta+"/k", s, "1", "If-Match", "*").problem(409, "no_session")
		}
		c.do("PATCH", meta, s, `{"ops":[{"op":"set","key":"k","data":1}]}`).problem(409, "no_session")
		ann := c.join(1, "r", "ann", "guest", object{"listen": []string{"*"}})
		own := c.token("r", "ann", "guest")

		a := c.do("PUT", meta+"/k", s, ` {"a": [1, 1.50]} `).is(200)
		a.has("key", "k", "change_version", "2", "updated_by", absent, "data.a.1", "1.50")
		if want := `"` + ann.sess + `.2"`; a.header.Get("ETag") != want {
			t.Errorf("ETag %s, not %s", a.header.Get("ETag"), want)
		}
		ann.hears("on-metadata-change", "values.0.data.a.0", "1", "seq", "2")
		g := c.doAt(1, "GET", meta+"/k", own, "").is(200)
		if g.body != a.body || g.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("read %s %s, written %s", g.body, g.header, a.body)
		}
		c.do("GET", meta+"/none", own, "").problem(404, "not_found")
		b := c.do("PUT", meta+"/k", own, `"x"`, "Hearth-Conn", ann.conn).is(200).has("change_version", "3", "updated_by", "ann")
		c.do("PUT", meta+"/k", own, `1`).problem(400, "bad_params")
		c.do("DELETE", meta+"/k", own, ``).problem(400, "bad_params")
		c.do("PUT", meta+"/k", own, `1`, "Hearth-Conn", strings.Repeat("A", 22)+".ann").problem(409, "not_member")
		c.do("PUT", meta+"/k", own, `1`, "Hearth-Conn", strings.Repeat("A", 22)+".bob").problem(409, "not_member")
		c.do("PUT", meta+"/k", s, `1`, "Hearth-Session", "gone").problem(410, "session_ended")
		c.do("PUT", meta+"/k", s, `2`, "Hearth-Session", ann.sess).is(200)
		for _, body := range []string{"null", " null ", ""} {
			c.do("PUT", meta+"/k", s, body).problem(400, "bad_params")
		}
		for _, body := range []string{"{", "x", "1 2", "\"\xff\""} {
			if a := c.do("PUT", meta+"/k", s, body); a.status != 400 {
				t.Errorf("body %q: %d %s", body, a.status, a.body)
			}
		}
		for _, q := range []string{"ttl_ms=0", "ttl_ms=-1", "ttl_ms=x", "ttl_ms=2592000001", "owned=true", "owned=1", "lock=l", "lock=l&lock_token=x"} {
			c.do("PUT", meta+"/k?"+q, s, `1`).problem(400, "bad_params")
		}
		c.do("PUT", meta+"/k", s, `"`+strings.Repeat("x", 64<<10)+`"`).problem(413, "too_large")
		c.do("PUT", meta+"/k", s, `"`+strings.Repeat("x", 300<<10)+`"`).problem(413, "too_large")
		c.do("PATCH", meta, s, `{"x":"`+strings.Repeat("x", 300<<10)+`"}`).problem(413, "too_large")

		d := c.do("DELETE", meta+"/k", s, "").is(200).has("deleted", "true", "data", "null", "change_version", "5")
		c.do("DELETE", meta+"/k", s, "").is(200).has("deleted", absent, "change_version", "0")
		if d.header.Get("ETag") == b.header.Get("ETag") {
			t.Error("the ETag is an old one")
		}
		op := []string{"Idempotency-Key", "o1"}
		first := c.do("PUT", meta+"/once", s, `1`, op...).is(200)
		if again := c.doAt(1, "PUT", meta+"/once", s, `1`, op...).is(200); again.body != first.body || again.header.Get("ETag") != first.header.Get("ETag") {
			t.Errorf("the repeat got %s, not %s", again.body, first.body)
		}
		c.do("PUT", meta+"/once", s, `1`, "Idempotency-Key", strings.Repeat("x", 65)).problem(400, "bad_params")
	})
}

func TestConditions(t *testing.T) {
	t.Parallel()
	each(t, func(c *cluster) {
		s := c.server()
		old := c.join(0, "r", "ann", "guest", nil)
		c.do("PUT", meta+"/k", s, "0").is(200)
		old.ok("leave", nil)
		k := c.join(0, "r", "ann", "guest", nil)
		tag := c.do("PUT", meta+"/k", s, "1").is(200).header.Get("ETag")
		for _, match := range []string{
			"W/" + tag, `"x"`, "x", `""`, tag[:len(tag)-1], `"` + old.sess + `.2"`, `"` + k.sess + `.1"`, `"` + k.sess + `.02"`,
			`"` + k.sess + `.99999999999999999999"`, `"a", "b"`, ",", strings.ToUpper(tag), `"` + k.sess + `"`,
		} {
			for _, method := range []string{"PUT", "DELETE"} {
				c.do(method, meta+"/k", s, "2", "If-Match", match).problem(412, "version_conflict").
					has("current.key", "k", "current.data", "1", "current.change_version", "2")
			}
		}
		for _, match := range []string{"*", tag, `"a.1"`} {
			c.do("PUT", meta+"/none", s, "2", "If-Match", match).problem(412, "version_conflict").
				has("current.key", "none", "current.data", "null", "current.change_version", "0")
		}
		for _, match := range []string{"%", "*", `"x", %`, `%, "x"`, "W/%, %"} {
			a := c.do("PUT", meta+"/k", s, "1", "If-Match", strings.ReplaceAll(match, "%", tag)).is(200)
			tag = a.header.Get("ETag")
		}
		c.do("PUT", meta+"/k", s, "1", "If-Match", tag, "Hearth-Session", k.sess).is(200)
		c.do("PUT", meta+"/k", s, "1", "If-None-Match", "*").problem(412, "version_conflict").has("current.data", "1")
		c.do("PUT", meta+"/k", s, "1", "If-None-Match", tag).problem(400, "bad_params")
		c.do("PUT", meta+"/k", s, "1", "If-None-Match", "*", "If-Match", tag).problem(400, "bad_params")
		tag = c.do("PUT", meta+"/new", s, "1", "If-None-Match", "*").is(200).header.Get("ETag")
		for match, status := range map[string]int{tag: 304, "W/" + tag: 304, "*": 304, `"a", ` + tag: 304, `"a"`: 200} {
			a := c.do("GET", meta+"/new", s, "", "If-None-Match", match).is(status)
			if a.header.Get("ETag") != tag || status == 304 && a.body != "" {
				t.Errorf("If-None-Match %s: %v %q", match, a.header, a.body)
			}
		}
		c.do("DELETE", meta+"/new", s, "", "If-Match", tag).is(200).has("deleted", "true")
	})
}

func TestUpdateOverHTTP(t *testing.T) {
	each(t, func(c *cluster) {
		s := c.server()
		k := c.join(1, "r", "ann", "guest", object{"listen": []string{"*"}})
		body := `{"ops":[{"op":"set","key":"a","data":1},{"op":"increment","key":"n","by":2.5},{"op":"delete","key":"none"}]}`
		a := c.do("PATCH", meta, s, body, "Idempotency-Key", "o").is(200)
		a.has("session_id", k.sess, "seq", "2", "entries.#", "3", "entries.0.data", "1", "entries.1.data", "2.5", "entries.2.data", "null")
		if again := c.do("PATCH", meta, s, body, "Idempotency-Key", "o").is(200); again.body != a.body {
			t.Errorf("the repeat got %s, not %s", again.body, a.body)
		}
		k.hears("on-metadata-change", "values.#", "2", "seq", "2")
		c.do("PATCH", meta, s, `{"ops":[{"op":"set","key":"b","data":1},{"op":"check","key":"a","if_change_version":1},{"op":"check","key":"n","if_change_version":1}]}`).
			problem(412, "version_conflict").has("current.key", "a", "current.change_version", "2")
		c.do("GET", meta+"/b", s, "").problem(404, "not_found")
		c.do("PATCH", meta, s, `{"ops":[{"op":"increment","key":"a","by":"x"}]}`).problem(400, "bad_params")
		c.do("PATCH", meta, s, `{"ops":5}`).problem(400, "bad_params")
		c.do("PATCH", meta, s, ``).problem(400, "bad_params")
		c.do("PATCH", meta, s, `{"ops":`).problem(400, "not_json")
		c.do("PATCH", meta, s, `{"lock":{},"ops":[]}`).problem(400, "bad_params")
		p := c.do("GET", meta+"?limit=1", s, "").is(200).has("session_id", k.sess, "seq", "2", "entries.#", "1", "entries.0.key", "a")
		c.do("GET", meta+"?cursor="+p.at("cursor"), s, "").is(200).has("entries.#", "1", "entries.0.key", "n", "cursor", absent)
		c.do("GET", meta+"?prefix=n", s, "").is(200).has("entries.#", "1")
		c.do("GET", meta+"?cursor=%25", s, "").problem(400, "bad_params")
	})
}

// Every key can be named: in the path, or where proxies mangle that in the query.
func TestKeysOfAnyForm(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{nodes: 1})
	s := c.server()
	k := c.join(0, "r", "ann", "guest", nil)
	for _, key := range []string{
		"a", "a/b", "/", "a%2Fb", "%", "?x=1", "a b", "a+b", "é世界🎉", `"q"\`, ".", "..", "*a", "a&b=c", "#", ";", strings.Repeat("é", 128),
	} {
		value := string(hearth.AppendString(nil, key))
		for _, path := range []string{meta + "/" + pathEscape(key), tree + "/r/entry?key=" + url.QueryEscape(key)} {
			a := c.do("PUT", path, s, value).is(200)
			a.has("key", key, "data", key)
			c.do("GET", path, s, "").is(200).has("key", key, "data", key)
			has(t, key, k.ok("get-metadata", object{"key": key}), "data", key, "change_version", a.at("change_version"))
			c.do("DELETE", path, s, "", "If-Match", a.header.Get("ETag")).is(200).has("deleted", "true", "key", key)
			c.do("GET", path, s, "").problem(404, "not_found")
		}
	}
	for _, key := range []string{"a*", "a\n", "\xff", strings.Repeat("x", 257), "\x7f"} {
		for _, path := range []string{meta + "/" + pathEscape(key), tree + "/r/entry?key=" + url.QueryEscape(key)} {
			c.do("PUT", path, s, "1").problem(400, "bad_params")
			c.do("GET", path, s, "").problem(400, "bad_params")
		}
	}
	c.do("GET", tree+"/r/entry?key=", s, "").problem(400, "bad_params")
	c.do("PUT", tree+"/r/entry", s, "1").is(200).has("key", "default")
	c.do("GET", tree+"/r/entry", s, "").is(200).has("key", "default")
}

// pathEscape escapes a key so that no layer takes "." or ".." for a step.
func pathEscape(key string) string {
	return strings.ReplaceAll(url.PathEscape(key), ".", "%2E")
}
