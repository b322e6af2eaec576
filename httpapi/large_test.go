package httpapi

import (
	"strconv"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// In a large room who comes, changes and goes is told to who asked for it, on every node, and how many there are to all.
func TestLargeRoom(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := newClusterOn(t, s, setup{limits: hearth.Limits{LargeRoom: 3}})
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		cat := c.join(0, "r", "cat", "guest", nil)
		bob.ok("listen-peers", object{"all": true})
		bob.fails("listen-peers", nil, -32602, "bad_params")
		bob.fails("listen-peers", object{"all": 1}, -32602, "bad_params")
		c.settle("r", ann, bob, cat)

		// heard returns what each heard until now beside counts, which come when they come.
		heard := func(clients ...*client) string {
			mark := c.mark("r")
			var out []string
			for _, k := range clients {
				out = append(out, k.name+":")
				for {
					m := k.first()
					if method(m) == "on-broadcast" && at(t, m, "params.info.type") == mark {
						break
					}
					if method(m) != "session-info" {
						out = append(out, method(m))
					}
				}
			}
			return strings.Join(out, " ")
		}
		// counted waits until k is told of a count.
		counted := func(k *client, n int) string {
			t.Helper()
			return k.take("session-info "+strconv.Itoa(n), func(m string) bool {
				if method(m) != "session-info" {
					return false
				}
				has(t, k.name, m, "params.session_id", ann.sess, "params.room_id", "r", "params.track_count", "0",
					"params.seq", absent, "params.#", "4")
				return at(t, m, "params.peer_count") == strconv.Itoa(n)
			})
		}
		dan := c.join(1, "r", "dan", "guest", nil)
		var lines []string
		for _, k := range []*client{ann, bob, cat, dan} {
			lines = append(lines, k.name+" "+counted(k, 4))
		}
		golden(t, "large", lines)
		if got := heard(ann, bob, cat, dan); got != "ann: bob: on-peer-join cat: dan:" {
			t.Errorf("of a join they heard %s", got)
		}

		dan.ok("peer-update", object{"name": "D"})
		dan.hears("on-peer-update", "info.name", "D") // one's own always
		bob.hears("on-peer-update", "info.name", "D")
		ann.ok("set-metadata", object{"key": "k", "data": 1})
		ann.ok("peer-leave-request", object{"requested_for": "dan", "reason": "bye"})
		dan.hears("on-peer-leave-request", "reason", "bye")
		dan.closed(4403)
		bob.hears("on-peer-leave", "peer_id", "dan", "reason", "removed")
		for _, k := range []*client{ann, bob, cat} {
			counted(k, 3)
		}
		if got := heard(ann, bob, cat); got != "ann: bob: cat:" {
			t.Errorf("they heard as well %s", got)
		}

		// Not large any more: all are told of each, and of no counts.
		cat.ok("leave", nil)
		mark := c.mark("r")
		for _, k := range []*client{ann, bob} {
			if got := k.before(mark); got != "on-peer-leave" {
				t.Errorf("%s heard %q", k.name, got)
			}
		}

		// Who stops asking is told no more.
		bob.ok("listen-peers", object{"all": false})
		for _, p := range []string{"p1", "p2"} {
			c.do("PUT", "/v1/rooms/r/peers/"+p, c.server(), "").is(201)
		}
		counted(ann, 4)
		counted(bob, 4)
		if got := heard(ann, bob); got != "ann: on-peer-join bob: on-peer-join" {
			t.Errorf("of p1, and not of p2, they heard %s", got)
		}
	})
}
