package httpapi

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/hearthstore/hearth/node"
)

const locks = tree + "/r/locks"

// later sends a lock-acquire without waiting for its reply, which replyTo takes.
func (k *client) later(params string) (id string) {
	k.Helper()
	k.ids++
	id = strconv.Itoa(k.ids)
	k.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"lock-acquire","params":` + params + `}`)
	return id
}

func (k *client) replyTo(id string) string {
	k.Helper()
	return k.take("reply "+id, func(text string) bool { return at(k, text, "id") == id })
}

// waiters waits until so many wait for the lock l.
func (c *cluster) waiters(n int) {
	c.Helper()
	eventually(c, strconv.Itoa(n)+" wait", func() bool {
		return c.do("GET", locks, c.server(), "").is(200).at("locks.0.waiters") == strconv.Itoa(n)
	})
}

func TestLocks(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "guest", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		cid := c.join(1, "r", "cid", "guest", nil)
		for _, k := range []*client{ann, ann, bob} { // who came after them
			k.next("on-peer-join")
		}

		got := ann.ok("lock-acquire", object{"name": "l", "ttl_ms": 60000, "keys": []string{"k*"}})
		has(t, "acquire", got, "name", "l")
		token := at(t, got, "token")
		for _, k := range []*client{ann, bob, cid} {
			k.hears("on-lock-change", "seq", token, "name", "l", "state", "acquired", "peer_id", "ann", "token", token)
		}
		has(t, "again", ann.ok("lock-acquire", object{"name": "l", "ttl_ms": 60000}), "token", token)
		has(t, "held", bob.fails("lock-acquire", object{"name": "l", "ttl_ms": 1000}, 409, "lock_held"),
			"data.lock.peer_id", "ann", "data.lock.token", token, "data.lock.keys.0", "k*", "data.lock.waiters", absent)

		bob.fails("set-metadata", object{"key": "key", "data": 1}, 409, "lock_held")
		bob.fails("update-metadata", object{"ops": []object{{"op": "set", "key": "key", "data": 1}}}, 409, "lock_held")
		c.do("PUT", meta+"/key", c.server(), "1").problem(409, "lock_held").has("lock.name", "l", "lock.peer_id", "ann")
		bob.ok("set-metadata", object{"key": "other", "data": 1})
		num, _ := strconv.Atoi(token)
		ann.ok("set-metadata", object{"key": "key", "data": 1, "lock": object{"name": "l", "token": num}})

		c.do("GET", locks, c.token("r", "x", "guest"), "").is(200).has(
			"locks.#", "1", "locks.0.name", "l", "locks.0.peer_id", "ann", "locks.0.keys.0", "k*", "locks.0.waiters", "0")

		// Both wait, on another node; what they ask for besides is answered meanwhile.
		first := bob.later(`{"name":"l","ttl_ms":60000,"wait_ms":60000}`)
		c.waiters(1)
		second := cid.later(`{"name":"l","ttl_ms":1000,"wait_ms":60000}`)
		c.waiters(2)
		bob.open()
		has(t, "renew", ann.ok("lock-renew", object{"name": "l", "token": num, "ttl_ms": 60000}), "expires_at.#", absent)
		ann.ok("lock-release", object{"name": "l", "token": num})
		next := at(t, bob.replyTo(first), "result.token")
		ann.hears("on-lock-change", "state", "released", "peer_id", "ann", "token", token)
		ann.hears("on-lock-change", "state", "acquired", "peer_id", "bob", "token", next)
		ann.fails("set-metadata", object{"key": "key", "data": 2, "lock": object{"name": "l", "token": num}}, 409, "lock_lost")
		bob.drop() // its leave frees the lock at once
		ann.hears("on-lock-change", "state", "released", "peer_id", "bob", "token", next)
		ann.hears("on-lock-change", "state", "acquired", "peer_id", "cid", "token", at(t, cid.replyTo(second), "result.token"))
		ann.next("on-peer-leave")
		ann.hears("on-lock-change", "state", "expired", "peer_id", "cid") // nobody renews it
	})
}

func TestLockWaits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{})
	ann, bob := c.join(0, "r", "ann", "guest", nil), c.join(1, "r", "bob", "guest", nil)
	token := at(t, ann.ok("lock-acquire", object{"name": "l", "ttl_ms": 60000}), "token")

	t.Run("who waits in vain is told who holds it", func(*testing.T) {
		has(t, "late", bob.replyTo(bob.later(`{"name":"l","ttl_ms":1000,"wait_ms":50}`)),
			"error.data.reason", "lock_held", "error.data.lock.peer_id", "ann")
		c.waiters(0)
	})
	t.Run("two calls of one peer wait for one place", func(*testing.T) {
		short := bob.later(`{"name":"l","ttl_ms":60000,"wait_ms":100}`)
		long := bob.later(`{"name":"l","ttl_ms":60000,"wait_ms":60000}`)
		has(t, "short", bob.replyTo(short), "error.data.reason", "lock_held")
		c.waiters(1)
		num, _ := strconv.Atoi(token)
		ann.ok("lock-release", object{"name": "l", "token": num})
		token = at(t, bob.replyTo(long), "result.token")
	})
	t.Run("none waits in a batch", func(*testing.T) {
		bob.send(`[{"jsonrpc":"2.0","id":"b","method":"lock-acquire","params":{"name":"m","ttl_ms":1000,"wait_ms":5}}]`)
		has(t, "batch", bob.take("answer", func(text string) bool { return text[0] == '[' }), "0.error.data.reason", "bad_params")
	})
	t.Run("a waiter whose connection breaks is dropped", func(*testing.T) {
		cid := c.join(0, "r", "cid", "guest", nil)
		cid.later(`{"name":"l","ttl_ms":60000,"wait_ms":60000}`)
		c.waiters(1)
		cid.drop()
		c.waiters(0)
	})
	t.Run("a waiter who leaves is not answered", func(*testing.T) {
		cid := c.join(0, "r", "cid", "guest", nil)
		cid.later(`{"name":"l","ttl_ms":60000,"wait_ms":60000}`)
		c.waiters(1)
		cid.ok("leave", nil)
		cid.closed(node.CloseNormal)
		c.waiters(0)
	})
	t.Run("so many waits at a time", func(*testing.T) {
		for i := range 64 {
			bob.ok("lock-acquire", object{"name": "x" + strconv.Itoa(i), "ttl_ms": 60000})
		}
		bob.ok("lock-acquire", object{"name": "y", "ttl_ms": 60000})
		for i := range 64 {
			ann.later(`{"name":"x` + strconv.Itoa(i) + `","ttl_ms":1000,"wait_ms":60000}`)
		}
		has(t, "one more", ann.replyTo(ann.later(`{"name":"y","ttl_ms":1000,"wait_ms":60000}`)),
			"error.data.reason", "too_many")
	})
}

func TestLocksOverHTTP(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "guest", nil)
	s, own := c.server(), c.token("r", "ann", "guest")
	c.do("GET", tree+"/none/locks", s, "").problem(404, "no_session")
	c.do("POST", locks+"/l", s, `{"ttl_ms":1000}`).problem(400, "bad_params")
	c.do("POST", locks+"/l", s, `{"peer_id":"ann"}`).problem(400, "bad_params")
	c.do("POST", locks+"/l", s, `{"peer_id":"bob","ttl_ms":1000}`).problem(404, "not_found")
	c.do("POST", locks+"/l", own, `{"ttl_ms":1000}`).problem(400, "bad_params") // without Hearth-Conn
	c.do("POST", locks+"/l", own, `{"peer_id":"bob","ttl_ms":1000}`, "Hearth-Conn", ann.conn).problem(403, "forbidden")
	token := c.do("POST", locks+"/l", s, `{"peer_id":"ann","ttl_ms":60000,"keys":["k"]}`).is(200).has("name", "l").at("token")
	c.doAt(1, "POST", locks+"/l", own, `{"ttl_ms":60000}`, "Hearth-Conn", ann.conn).is(200).has("token", token)
	c.do("POST", locks+"/l", s, `{"peer_id":"ann","token":`+token+`,"ttl_ms":50000}`).is(200).has("token", token)
	c.do("POST", locks+"/l", s, `{"token":`+token+`,"keys":[]}`).problem(400, "bad_params")
	c.do("POST", locks+"/l", s, `{"token":1}`).problem(409, "lock_lost").has("lock.token", token)
	c.do("PUT", meta+"/k?lock=l&lock_token="+token, own, "1", "Hearth-Conn", ann.conn).is(200)
	c.do("PUT", meta+"/k?lock=l&lock_token=1", own, "1", "Hearth-Conn", ann.conn).problem(409, "lock_lost")
	c.do("PATCH", meta, own, `{"ops":[{"op":"set","key":"k","data":1}],"lock":{"name":"l","token":1}}`, "Hearth-Conn", ann.conn).
		problem(409, "lock_lost")
	c.do("DELETE", locks+"/l", s, "").problem(400, "bad_params")
	c.do("DELETE", locks+"/l?token=1", s, "").problem(409, "lock_lost")
	c.do("DELETE", locks+"/l?token="+token, own, "", "Hearth-Conn", ann.conn).is(http.StatusOK)
	c.do("DELETE", locks+"/l?token="+token, s, "").problem(409, "lock_lost")
	c.do("POST", locks+"/a%20b", s, `{"peer_id":"ann","ttl_ms":1000}`).problem(400, "bad_params")
}

func TestLives(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "guest", object{"listen": []string{"*"}})
		bob := c.join(1, "r", "bob", "guest", nil)
		e := bob.ok("set-metadata", object{"key": "k", "data": 1, "ttl_ms": 200})
		at := at(t, e, "expires_at")
		ann.hears("on-metadata-change", "values.0.expires_at", at)
		ann.hears("on-metadata-change", "values.0.key", "k", "values.0.data", "null", "values.0.deleted", "true", "values.0.reason", "expired",
			"values.0.updated_by", absent)
		bob.ok("set-metadata", object{"key": "mine", "data": 1, "owned": true})
		ann.hears("on-metadata-change", "values.0.owner", "bob")
		c.do("PUT", meta+"/m?ttl_ms=60000&owned=true", c.token("r", "bob", "guest"), "1", "Hearth-Conn", bob.conn).is(200).
			has("owner", "bob")
		ann.next("on-metadata-change")
		bob.ok("update-metadata", object{"ops": []object{{"op": "increment", "key": "n", "ttl_ms": 60000}}})
		ann.hears("on-metadata-change", "values.0.expires_at.#", absent, "values.0.data", "1")
		bob.ok("leave", nil)
		ann.hears("on-metadata-change", "values.#", "2", "values.0.reason", "owner_left", "values.1.reason", "owner_left")
		ann.hears("on-peer-leave", "peer_id", "bob")
	})
}
