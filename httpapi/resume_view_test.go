package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What who resumes is shown of it is what it was shown live.

// What was said to roles goes by the role of then, and what a role could not read is not given to it later.
func TestResumeByTheRoleOfThen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{limits: patient, roles: rolesOfAll(t)})
	ann := c.join(0, "s", "ann", roleOf(everything), nil)
	bob := c.join(1, "s", "bob", "has.read", nil)
	from := bob.cursor()
	bob.drop()
	c.gone(1)
	role := func(role string) {
		t.Helper()
		c.do("PATCH", "/v1/rooms/s/peers/bob", c.server(), `{"role":"`+role+`"}`).is(200)
	}
	say := func(text, role string) {
		t.Helper()
		ann.ok("broadcast", object{"info": object{"message": text}, "roles": []string{role}})
	}
	say("before", "has.read")
	say("not yet", "has.history")
	role("has.history") // which may not read
	say("blind", "has.history")
	ann.ok("set-metadata", object{"data": 1})
	role("student")
	say("again", "student")
	say("as it was", "has.read")
	say("not any more", "has.history")
	for i := range 2 {
		k, result := c.back(i, bob, "has.read", from, object{"listen": []string{"*"}})
		has(t, "result", result, "resumed", "true", "recovered", "true")
		k.hears("on-broadcast", "info.message", "before")
		k.hears("on-peer-update", "role", "has.history")
		k.hears("on-peer-update", "role", "student")
		k.hears("on-broadcast", "info.message", "again")
		if got := k.changes(c.mark("s")); len(got) > 0 {
			t.Errorf("and then %q", got)
		}
		k.ok("get-metadata", nil) // by the role that it has
	}
}

// In a large room who listened to peers is told of those who came and went, if it says so again.
func TestResumeInALargeRoom(t *testing.T) {
	limits := patient
	limits.LargeRoom = 1
	c := newCluster(t, setup{limits: limits})
	c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "guest", object{"listen_peers": true})
	c.join(0, "r", "cat", "guest", nil)
	bob.hears("on-peer-join", "peer_id", "cat")
	from := bob.cursor()
	bob.drop()
	c.gone(1)
	c.join(0, "r", "dan", "guest", nil).ok("leave", nil)
	for _, listens := range []bool{true, false} {
		k, result := c.back(1, bob, "guest", from, object{"listen_peers": listens})
		has(t, "result", result, "resumed", "true", "recovered", "true")
		mark := c.mark("r")
		got := slices.DeleteFunc(k.changes(mark), func(s string) bool { return strings.HasPrefix(s, "session-info") })
		want := []string{"on-peer-join 4", "on-peer-leave 5"}
		if !listens {
			want = nil
		}
		if len(got) < len(want) || !slices.Equal(got[:len(want)], want) || !listens && strings.Contains(fmt.Sprint(got), "peer") {
			t.Errorf("listening %v: %v", listens, got)
		}
	}
	late := c.connect(0, "r", "eve", "guest")
	late.fails("join", object{"listen_peers": "yes"}, -32602, "bad_params")
}
