package httpapi

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What differs from run to run, by form.
var normal = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`"conn_id":"[A-Za-z0-9_-]{22}\.`), `"conn_id":"<secret>.`},
	{regexp.MustCompile(`"cursor":"[A-Za-z0-9_-]{11}\.(\d+)\.[A-Za-z0-9_-]{6,22}"`), `"cursor":"<epoch>.$1.<n>"`},
	{regexp.MustCompile(`"n":"[A-Za-z0-9_-]{6,22}"`), `"n":"<n>"`},
	{regexp.MustCompile(`"iterator":"[A-Za-z0-9_-]+"`), `"iterator":"<iterator>"`},
	{regexp.MustCompile(`"token":"[A-Za-z0-9_-]{22}"`), `"token":"<token>"`},
	{regexp.MustCompile(`"[0-9a-f]{32}"`), `"<id>"`},
	{regexp.MustCompile(`:1\d{12}\b`), `:<time>`},
	{regexp.MustCompile(`"exp":1\d{9}\b`), `"exp":<time>`},
	{regexp.MustCompile(`"reconnect_after_ms":\d+`), `"reconnect_after_ms":<ms>`},
}

func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	for _, n := range normal {
		got = n.re.ReplaceAllString(got, n.by)
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it by: go test ./httpapi -run TestGolden -update", err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		line := func(l []string) string {
			if i < len(l) {
				return l[i]
			}
			return "(none)"
		}
		if line(g) != line(w) {
			t.Errorf("%s:%d:\n got %s\nwant %s", path, i+1, line(g), line(w))
		}
	}
}

// script records what a flow is answered and, of some clients, what they hear.
type script struct{ results []string }

// call makes a call and records the reply.
func (s *script) call(k *client, method string, params object) {
	k.Helper()
	s.add(k.name+" "+method, k.call(method, params))
}

func (s *script) add(what, reply string) {
	_, reply, _ = strings.Cut(reply, `"id":`)
	_, reply, _ = strings.Cut(reply, ",")
	s.results = append(s.results, what+" {"+reply)
}

// newest waits until the last that came has that text.
func (k *client) newest(text string) {
	k.Helper()
	if !k.wait(func() bool { return len(k.inbox) > 0 && strings.Contains(k.inbox[len(k.inbox)-1], text) }) {
		k.Fatalf("%s: nothing came with %s", k.name, text)
	}
}

// heard returns what is in the clients' inboxes.
func heard(clients ...*client) (notes []string) {
	for _, k := range clients {
		k.mu.Lock()
		for _, m := range k.inbox {
			notes = append(notes, k.name+" "+m)
		}
		k.mu.Unlock()
	}
	return notes
}

// The exact text of every result and every notification.
func TestGolden(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.connect(0, "r", "ann", "host")
		var s script
		call := s.call
		call(ann, "ping", nil)
		call(ann, "get-metadata", nil)
		call(ann, "join", object{"name": "Ann \"A\" é", "data": "{}", "groups": []string{"g"}, "listen": []string{"*", "none"}})
		call(ann, "join", nil)
		call(ann, "set-metadata", object{"key": "k", "data": object{"a": 1.50, "b": nil}})
		call(ann, "set-metadata", object{"key": "k", "data": 1, "if_change_version": 0})
		call(ann, "get-metadata", object{"key": "k"})
		call(ann, "get-metadata", object{"key": "none"})
		bob := c.connect(1, "r", "bob", "guest")
		call(bob, "join", object{"listen": []string{"k"}})
		call(ann, "update-metadata", object{"ops": []object{
			{"op": "delete", "key": "k"}, {"op": "increment", "key": "n", "by": 2}, {"op": "set", "key": "s", "data": "x"}, {"op": "delete", "key": "none"},
		}})
		call(ann, "list-metadata", object{"limit": 1})
		call(ann, "list-metadata", object{"prefix": "s"})
		// What the update brings is told by what ann watches when it comes.
		ann.newest(`"seq":4,"n"`)
		call(ann, "listen-metadata-change", object{"keys": []string{"n", "x"}})
		call(ann, "set-metadata", object{"key": "n"})
		call(ann, "set-metadata", object{"key": "n"})
		call(ann, "broadcast", object{"info": object{"message": object{"t": "hi"}}})
		call(bob, "broadcast", object{"info": object{"message": 1, "type": "t"}, "peer_id": "ann", "message_id": "m1"})
		call(bob, "broadcast", object{"info": object{"message": "x"}, "roles": []string{"host"}, "message_id": "m2"})
		call(bob, "peer-update", object{"name": "Bob", "data": "d"})
		call(bob, "group-join", object{"name": "g2"})
		call(ann, "group-add", object{"name": "g3", "peer_id": "bob"})
		call(ann, "group-remove", object{"name": "g3", "peer_id": "bob"})
		call(bob, "group-leave", object{"name": "g2"})
		call(ann, "role-change-request", object{"requested_for": "bob", "role": "speaker", "force": false})
		var asked string
		bob.wait(func() bool {
			asked = bob.inbox[len(bob.inbox)-1]
			return strings.Contains(asked, "on-role-change-request")
		})
		call(bob, "role-change", object{"requested_by": "ann", "role": "speaker", "token": at(c, asked, "params.token")})
		call(bob, "role-change", object{"requested_by": "ann", "role": "speaker", "token": at(c, asked, "params.token")})
		call(ann, "role-change-request", object{"requested_for": "bob", "role": "guest", "force": true})
		call(ann, "get-peer", object{"peer_id": "bob"})
		call(ann, "get-peer", object{"peer_id": "none"})
		call(ann, "find-peer", object{"role": "guest", "limit": 1})
		call(ann, "peer-name-search", object{"query": "b", "limit": 5})
		call(ann, "trickle", nil)
		call(ann, "nope", nil)
		call(ann, "get-peer", object{"peer_id": 5})
		call(ann, "refresh-token", object{"token": c.token("r", "ann", "host")})
		cat := c.connect(1, "r", "cat", "guest")
		call(cat, "join", nil)
		call(cat, "leave", nil)
		call(ann, "peer-leave-request", object{"requested_for": "bob", "reason": "why"})
		bob.closed(4403)
		c.join(1, "r", "dan", "guest", nil).drop()
		ann.newest(`"timed_out"`)
		call(ann, "end-room", object{"reason": "done"})
		ann.closed(4410)
		golden(t, "results", s.results)
		golden(t, "notifications", heard(ann, bob))
	})
}

// Entries that end by themselves, and locks.
func TestGoldenLocks(t *testing.T) {
	each(t, func(c *cluster) {
		var s script
		ann := c.join(0, "r", "ann", "host", object{"listen": []string{"*"}})
		bob := c.join(1, "r", "bob", "guest", nil)
		ann.next("on-peer-join")
		s.call(bob, "lock-acquire", object{"name": "l", "ttl_ms": 60000, "keys": []string{"k*"}})
		s.call(bob, "lock-acquire", object{"name": "l", "ttl_ms": 50000})
		s.call(ann, "lock-acquire", object{"name": "l", "ttl_ms": 60000})
		s.call(ann, "lock-acquire", object{"name": "l"})
		s.call(ann, "set-metadata", object{"key": "k", "data": 1})
		s.call(bob, "set-metadata", object{"key": "k", "data": 1, "ttl_ms": 3600000, "lock": object{"name": "l", "token": 3}})
		s.call(bob, "set-metadata", object{"key": "mine", "data": []int{1}, "owned": true})
		s.call(ann, "set-metadata", object{"key": "brief", "data": 1, "ttl_ms": 1})
		ann.newest(`"expired"`)
		s.call(bob, "lock-renew", object{"name": "l", "token": 3, "ttl_ms": 60000})
		waits := ann.later(`{"name":"l","ttl_ms":60000,"wait_ms":60000}`)
		c.waiters(1)
		s.call(bob, "lock-release", object{"name": "l", "token": 3})
		s.add("ann lock-acquire (waited)", ann.replyTo(waits))
		s.call(bob, "lock-release", object{"name": "l", "token": 3})
		s.call(bob, "lock-renew", object{"name": "none", "token": 3})
		s.call(bob, "lock-acquire", object{"name": "m", "ttl_ms": 60000})
		bob.newest(`"m"`)
		told := heard(bob) // whether it still hears what its leave does is a race
		s.call(bob, "leave", nil)
		ann.newest("on-peer-leave")
		golden(t, "locks", slices.Concat(s.results, heard(ann), told))
	})
}

// What is told in a large room.
func TestGoldenListenPeers(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{LargeRoom: 1}})
	var s script
	ann := c.join(0, "r", "ann", "host", nil)
	s.call(ann, "listen-peers", object{})
	s.call(ann, "listen-peers", object{"all": true})
	bob := c.join(1, "r", "bob", "guest", nil)
	ann.newest("session-info") // after the join, which it is told of first
	bob.newest("session-info")
	s.call(bob, "leave", nil)
	ann.newest("on-peer-leave")
	golden(t, "listen-peers", slices.Concat(s.results, heard(ann, bob)))
}

// What who comes back is told, and who is sent away.
func TestGoldenResume(t *testing.T) {
	c := newCluster(t, setup{limits: patient})
	var s script
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "guest", nil)
	from := bob.cursor()
	bob.drop()
	c.gone(1)
	ann.ok("set-metadata", object{"key": "k", "data": 1})
	ann.ok("broadcast", object{"info": object{"message": "m"}, "message_id": "m1"})
	resume := func(cursor string) object {
		return object{"listen": []string{"k"}, "resume": object{"session_id": bob.sess, "cursor": cursor}}
	}
	k := c.connect(1, "r", "bob", "guest")
	k.name = "bob"
	s.call(k, "join", resume("nowhere"))
	s.call(k, "join", resume(from))
	k.newest("on-broadcast")
	told := heard(k)
	epoch, _, _ := strings.Cut(from, ".")
	k = c.connect(1, "r", "bob", "guest")
	s.call(k, "join", resume(epoch+".2.AAAAAAAAAAA"))
	k.newest("on-metadata-change")
	if err := c.nodes[1].Drain(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	k.closed(1001)
	golden(t, "resume", slices.Concat(s.results, told, heard(k)))
}

// What a 100ms client is told unasked.
func TestGoldenGreeting(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	var s script
	k := c.hms(0, "r", "ann", "host")
	s.call(k, "ping", object{"timestamp": 1})
	s.call(k, "find-peer", object{"limit": 1})
	s.call(k, "join", object{"name": "Ann", "data": ""})
	k.newest("peer-list")
	golden(t, "greeting", slices.Concat(s.results, heard(k)))
}
