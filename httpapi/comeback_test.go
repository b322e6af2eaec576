package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/node"
)

// comesBack connects as the 100ms client of ann does that knows it has joined, and takes off the inbox what it is told of the room.
func (c *cluster) comesBack(i int, role string) *client {
	c.Helper()
	k := c.hms(i, "r", "ann", role)
	k.send(`{"method":"ping","params":{"timestamp":1},"id":"back"}`)
	k.hears("on-policy-change", "name", role)
	k.hears("room-info", "room_id", "r")
	return k
}

// timeOut makes a peer's grace end now; it is in it, or is yet to be.
func (c *cluster) timeOut(room, peer string) {
	c.Helper()
	client := c.redis.Client(c)
	item := "peer/" + room + "/" + peer
	eventually(c, peer+" is in its grace", func() bool {
		keys, err := client.Keys(c.Context(), c.redis.Prefix+":*}:due").Result()
		if err != nil {
			c.Fatal(err)
		}
		for _, key := range keys {
			if client.ZScore(c.Context(), key, item).Err() == nil {
				if err := client.ZAddXX(c.Context(), key, redis.Z{Score: 1, Member: item}).Err(); err != nil {
					c.Fatal(err)
				}
				return true
			}
		}
		return false
	})
}

func TestHMSClientComesBack(t *testing.T) {
	each(t, func(c *cluster) {
		bob := c.join(1, "r", "bob", "host", nil)
		ann := c.hmsJoin(0, "r", "ann", "guest")
		cat := c.join(0, "r", "cat", "guest", nil)
		dan := c.join(1, "r", "dan", "guest", nil)
		bob.ok("set-metadata", object{"key": "k", "data": 1})
		bob.ok("set-metadata", object{"key": "gone", "data": 1})
		ann.ok("listen-metadata-change", object{"keys": []string{"k", "gone", "none"}})
		ann.ok("set-metadata", object{"key": "mine", "data": 1, "owned": true})
		c.settle("r", ann, bob, cat, dan)
		ann.drop()
		c.setRole("r", "ann", "stage")
		cat.ok("leave", nil)
		bob.ok("set-metadata", object{"key": "k", "data": 2})
		bob.ok("set-metadata", object{"key": "gone"})
		dan.ok("leave", nil)
		c.join(0, "r", "dan", "guest", nil)
		eve := c.join(0, "r", "eve", "balcony", nil)

		k := c.hms(1, "r", "ann", "guest")
		k.send(`{"method":"ping","params":{"timestamp":1},"id":"back"}`)
		has(t, "policy", k.first(), "method", "on-policy-change", "params.name", "stage", "params.known_roles.balcony.name", "balcony")
		has(t, "room", k.first(), "method", "room-info", "params.room_id", "r", "params.large_room_optimization", "false")
		has(t, "leave", k.first(), "method", "on-peer-leave", "params.peer_id", "cat", "params.reason", "left")
		has(t, "list", k.first(), "method", "peer-list", "params.peers.#", "4", "params.peers.ann.role", "stage", "params.peers.eve.role", "balcony",
			"params.peers.cat", absent)
		values := k.first()
		has(t, "values", values, "method", "on-metadata-change", "params.values.#", "3", "params.values.0.key", "gone", "params.values.0.data", "null",
			"params.values.1.key", "k", "params.values.1.data", "2", "params.values.2.key", "none")
		has(t, "reply", k.first(), "id", "back")
		bob.ok("set-metadata", object{"key": "k", "data": 3})
		has(t, "change", k.first(), "method", "on-metadata-change", "params.values.0.data", "3")
		bob.ok("set-metadata", object{"key": "other", "data": 3})
		bob.ok("broadcast", object{"info": object{"type": "chat", "message": "hi"}})
		has(t, "message", k.first(), "method", "on-broadcast")
		k.ok("set-metadata", object{"key": "k", "data": 4})
		eve.ok("get-metadata", object{"key": "mine"})
		// Nobody saw it come and go.
		told := bob.told(c.mark("r"))
		for _, m := range told {
			if name := method(m); (name == "on-peer-leave" || name == "on-peer-join") && at(t, m, "params.peer_id") == "ann" {
				t.Errorf("bob was told %s", m)
			}
		}
		k.send(`{"method":"leave","params":{}}`)
		k.closed(node.CloseNormal)
		var leaves []string
		for _, m := range bob.told(c.mark("r")) {
			if method(m) == "on-peer-leave" {
				leaves = append(leaves, at(t, m, "params.peer_id")+" "+at(t, m, "params.reason"))
			}
		}
		if fmt.Sprint(leaves) != "[ann left]" {
			t.Errorf("bob was told of leaves: %s", leaves)
		}
	})
}

// told returns what came before a mark, and takes all of it off the inbox.
func (k *client) told(mark string) []string {
	k.Helper()
	var out []string
	for {
		m := k.first()
		if strings.Contains(m, `"type":"`+mark+`"`) {
			return out
		}
		out = append(out, m)
	}
}

// The old path may be dead without the server knowing, and the client may say nothing.
func TestHMSClientComesBackBeforeItsOldSocketIsGone(t *testing.T) {
	c := newCluster(t, setup{greetAfter: 1})
	old := c.hmsJoin(0, "r", "ann", "guest")
	old.ok("listen-metadata-change", object{"keys": []string{"k"}})
	k := c.hms(1, "r", "ann", "guest")
	k.hears("peer-list", "peers.#", "1")
	k.hears("on-metadata-change", "values.0.key", "k")
	old.closed(node.CloseReplaced)
	k.ok("set-metadata", object{"key": "k", "data": 1})
	k.hears("on-metadata-change", "values.0.data", "1")
	// And again, many times over.
	for i := range 10 {
		next := c.comesBack(i%2, "guest")
		next.hears("on-metadata-change", "values.0.data", "1")
		k.closed(node.CloseReplaced)
		k = next
	}
	k.ok("leave", nil)
	c.nothingLeft()
}

func TestHMSClientThatComesBackMayJoin(t *testing.T) {
	c := newCluster(t, setup{})
	bob := c.join(0, "r", "bob", "host", nil)
	ann := c.hmsJoin(0, "r", "ann", "guest")
	ann.ok("listen-metadata-change", object{"keys": []string{"k"}})
	c.settle("r", ann, bob)
	ann.drop()
	k := c.comesBack(1, "guest")
	k.next("on-metadata-change")
	// A join that is refused leaves it what it was.
	k.fails("join", object{"name": strings.Repeat("x", 2000)}, 413, "too_large")
	k.ok("set-metadata", object{"key": "k", "data": 1})
	k.next("on-metadata-change")
	k.inbox = nil
	k.send(`{"id":"j","method":"join","params":{"name":"Ann","data":""}}`)
	has(t, "join", k.first(), "id", "j", "result.peer_id", "ann", "result.resumed", "true", "result.recovered", "false")
	k.hears("room-info", "room_id", "r")
	has(t, "list", k.first(), "method", "peer-list", "params.peers.#", "2")
	k.fails("join", nil, -32600, "bad_request")
	k.ok("set-metadata", object{"key": "k", "data": 2}) // which it does not watch any more
	bob.ok("broadcast", object{"info": object{"type": "chat", "message": "hi"}})
	has(t, "message", k.first(), "method", "on-broadcast")
	if got := bob.before(c.mark("r")); got != "on-peer-update" {
		t.Errorf("bob was told %s", got)
	}
	k.open()
	// A client that joins at once is answered the same way.
	k.drop()
	k = c.hms(0, "r", "ann", "guest")
	has(t, "join", k.ok("join", object{"name": "Ann", "listen": []string{"k"}}), "resumed", "true")
	k.drop()
	k = c.comesBack(1, "guest")
	k.hears("on-metadata-change", "values.0.data", "2")
}

func TestHMSClientThatTimedOutIsTold(t *testing.T) {
	each(t, func(c *cluster) {
		bob := c.join(1, "r", "bob", "host", nil)
		ann := c.hmsJoin(0, "r", "ann", "guest")
		c.settle("r", ann, bob)
		ann.drop()
		c.timeOut("r", "ann")
		bob.hears("on-peer-leave", "peer_id", "ann", "reason", "timed_out")
		k := c.hms(1, "r", "ann", "guest")
		k.ok("ping", nil)
		has(t, "policy", k.first(), "method", "on-policy-change")
		has(t, "told", k.first(), "method", "on-peer-leave-request", "params.reason", "timed_out", "params.room_end", "false", "params.#", "2")
		k.fails("broadcast", object{"info": object{"type": "chat", "message": "hi"}}, 409, "not_member")
		// Another user is told nothing of it.
		other := c.dial(0, []string{"peer", "ann", "protocol_spec", "1", "token", c.mint(auth.Principal{Room: "r", User: "eve", Role: "guest"})})
		other.ok("ping", nil)
		other.next("on-policy-change")
		other.ok("ping", nil)
		if len(other.inbox) > 0 {
			t.Errorf("another user was told %s", other.inbox)
		}
		// Who knows better isn't.
		again := c.hms(0, "r", "ann", "guest")
		has(t, "join", again.ok("join", nil), "resumed", "false")
		again.ok("ping", nil)
		again.next("peer-list")
		for _, m := range again.inbox {
			if method(m) == "on-peer-leave-request" {
				t.Errorf("it was told %s", m)
			}
		}
		again.ok("leave", nil)
		k = c.hms(0, "r", "ann", "guest")
		k.ok("ping", nil)
		k.next("on-policy-change")
		k.ok("ping", nil)
		if len(k.inbox) > 0 {
			t.Errorf("who left is told %s", k.inbox)
		}
		if got := bob.before(c.mark("r")); got != "on-peer-join on-peer-leave" {
			t.Errorf("bob was told %s", got)
		}
	})
}

func TestAnotherUserDoesNotComeBackToAPeer(t *testing.T) {
	c := newCluster(t, setup{})
	ann, bob := c.hmsJoin(0, "r", "ann", "host"), c.join(1, "r", "bob", "host", nil)
	c.settle("r", ann, bob)
	for _, drop := range []bool{false, true} {
		if drop {
			ann.drop()
		}
		eve := c.dial(1, []string{"peer", "ann", "protocol_spec", "1", "token", c.mint(auth.Principal{Room: "r", User: "eve", Role: "guest"})})
		eve.ok("ping", nil)
		eve.hears("on-policy-change", "name", "guest")
		eve.fails("broadcast", object{"info": object{"type": "chat", "message": "hi"}}, 409, "not_member")
		eve.fails("join", nil, 409, "peer_exists")
		if got := bob.before(c.mark("r")); got != "" {
			t.Errorf("bob was told %s", got)
		}
		if len(eve.inbox) > 0 {
			t.Errorf("eve was told %s", eve.inbox)
		}
	}
	c.comesBack(1, "host").hears("peer-list", "peers.#", "2")
}

// A 410 ends such a client for good, so one that has a place must not get it.
func TestHMSClientComesBackToAShutRoom(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.hmsJoin(0, "r", "ann", "guest")
	c.do("PUT", "/v1/rooms/r", c.server(), `{"enabled":false,"max_peers":1}`).is(200)
	ann.drop()
	k := c.comesBack(1, "guest")
	has(t, "join", k.ok("join", nil), "resumed", "true")
	c.hms(1, "r", "bob", "guest").fails("join", nil, 410, "room_closed")
}

func TestHMSClientComesBackToManyPeers(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{LargeRoom: 220}})
	ann := c.hmsJoin(0, "r", "ann", "guest")
	for i := range 219 {
		c.do("PUT", fmt.Sprintf("/v1/rooms/r/peers/p%d", i), c.server(), `{"role":"guest"}`).is(201)
	}
	ann.drop()
	k := c.comesBack(1, "guest")
	k.hears("peer-list", "peers.#", "220", "total", "220", "truncated", "false")
	c.do("PUT", "/v1/rooms/r/peers/one-more", c.server(), `{"role":"guest"}`).is(201)
	k.next("session-info")
	k.drop()
	// A list that isn't complete would make it take others for gone, so it gets none.
	k = c.comesBack(0, "guest")
	k.hears("session-info", "peer_count", "221")
	k.ok("ping", nil)
	for _, m := range k.inbox {
		if name := method(m); name == "peer-list" || name == "on-peer-leave" {
			t.Errorf("it was told %s", m)
		}
	}
}

func TestHMSClientTriesAgainWhileTheStoreIsAway(t *testing.T) {
	server := redistest.Real(t)
	c := newClusterOn(t, server, setup{})
	c.hmsJoin(0, "r", "ann", "guest").drop()
	server.Kill(t)
	c.hms(1, "r", "ann", "guest").closed(node.CloseTryLater)
}
