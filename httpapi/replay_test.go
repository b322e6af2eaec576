package httpapi

import (
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// What a stream reads by is the store's role also if it names a connection that is none of its user's.
func TestStreamOfAnothersConnection(t *testing.T) {
	t.Parallel()
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		from := c.watch(0, "r", c.server(), "").begins()
		ann.ok("set-metadata", object{"data": 1})
		bob := c.join(1, "r", "bob", "host", nil)
		c.do("PATCH", "/v1/rooms/r/peers/bob", c.server(), `{"role":"guest"}`).is(200)
		host := c.token("r", "bob", "host") // as it was
		secret, _, _ := strings.Cut(bob.conn, ".")
		for _, conn := range []string{bob.conn, ann.conn, secret + ".nobody"} {
			page := c.do("GET", "/v1/rooms/r/events?after="+from.id, host, "", "Accept", "application/json", "Hearth-Conn", conn).is(200)
			page.has("recovered", "false", "events.0.method", "on-peer-update", "events.#", "1")
			c.do("POST", "/v1/rooms/r/messages", c.server(), `{"message":1,"roles":["host"]}`).is(202)
			page = c.do("GET", "/v1/rooms/r/events", host, "", "Accept", "application/json", "Hearth-Conn", conn).is(200)
			page.has("events.#", "1")
		}
	})
}

// What is replayed to a reader whose role has changed more than once goes by the role of then.
func TestReplayLooksForTheRoleOfThen(t *testing.T) {
	each(t, func(c *cluster) {
		c.join(0, "r", "ann", "host", nil)
		c.join(1, "r", "bob", "guest", nil)
		token := c.token("r", "bob", "guest")
		guest := c.watch(0, "r", token, "").begins()
		role := func(role string) {
			t.Helper()
			c.do("PATCH", "/v1/rooms/r/peers/bob", c.server(), `{"role":"`+role+`"}`).is(200)
		}
		say := func(role string) {
			t.Helper()
			c.do("POST", "/v1/rooms/r/messages", c.server(), `{"message":"`+role+`","roles":["`+role+`"]}`).is(202)
		}
		k := c.watch(1, "r", token, guest.id)
		role("mod")
		mod := k.next("on-peer-update", "role", "mod")
		say("guest")
		say("mod")
		role("guest")
		say("mod")
		say("guest")
		mark := c.mark("r")
		live := c.watch(0, "r", token, mod.id)
		for _, k := range []*reading{k, live} {
			k.next("on-broadcast", "info.message", "mod")
			k.next("on-peer-update", "role", "guest")
			k.next("on-broadcast", "info.message", "guest")
			if got := k.before(mark); got != "" {
				t.Errorf("and then %q", got)
			}
		}
		k = c.watch(1, "r", token, guest.id)
		if got := k.before(mark); got != "on-peer-update on-broadcast on-peer-update on-broadcast" {
			t.Errorf("from before both: %q", got)
		}
	})
}

// Where the log does not reach back to the role of then, a takeover tells it, and else nothing is given by a guess.
func TestReplayOfARoleThatTheLogForgot(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{limits: hearth.Limits{LogEvents: 16}})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "guest", nil)
	c.do("PATCH", "/v1/rooms/r/peers/bob", c.server(), `{"role":"mod"}`).is(200)
	token := c.token("r", "bob", "guest")
	for i := range 40 {
		ann.ok("set-metadata", object{"data": i})
	}
	from := c.watch(0, "r", token, "").begins()
	ann.ok("broadcast", object{"info": object{"message": 1}, "roles": []string{"mod"}})
	again := c.connect(0, "r", "bob", "guest")
	again.ok("join", nil)
	bob.closed(node.CloseReplaced)
	c.watch(0, "r", token, from.id).next("on-broadcast", "roles.0", "mod")

	for i := range 20 {
		ann.ok("set-metadata", object{"data": i})
	}
	from = c.watch(0, "r", token, "").begins()
	ann.ok("broadcast", object{"info": object{"message": 2}, "roles": []string{"mod"}})
	again.ok("peer-update", object{"name": "B"})
	c.watch(1, "r", token, from.id).begins("recovered", "false")
	page := c.do("GET", "/v1/rooms/r/events?after="+from.id, token, "", "Accept", "application/json").is(200)
	if page.has("recovered", "false"); strings.Contains(page.body, "on-broadcast") {
		t.Errorf("a page: %s", page.body)
	}
}

// Who could not read is not given it later, either.
func TestReplayKeepsWhatCouldNotBeRead(t *testing.T) {
	c := newCluster(t, setup{roles: rolesOfAll(t)})
	ann := c.join(0, "s", "ann", roleOf(everything), nil)
	bob := c.join(1, "s", "bob", "has.read", nil)
	role := func(role string) {
		t.Helper()
		c.do("PATCH", "/v1/rooms/s/peers/bob", c.server(), `{"role":"`+role+`"}`).is(200)
		bob.hears("on-peer-update", "role", role)
	}
	c.settle("s", ann, bob)
	role("nothing")
	from := at(t, bob.ok("ping", nil), "cursor")
	ann.ok("set-metadata", object{"data": 1})
	ann.ok("broadcast", object{"info": object{"message": 1}})
	role("has.read")
	mark := c.mark("s")
	if got := c.watch(0, "s", c.token("s", "bob", "has.read"), from).before(mark); got != "on-peer-update" {
		t.Errorf("a stream is given %q", got)
	}
	page := c.do("GET", "/v1/rooms/s/events?after="+from, c.token("s", "bob", "has.read"), "", "Accept", "application/json").is(200)
	page.has("recovered", "true", "events.#", "2", "events.0.method", "on-peer-update")
}
