package httpapi

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
	{regexp.MustCompile(`"[0-9a-f]{32}"`), `"<id>"`},
	{regexp.MustCompile(`:1\d{12}\b`), `:<time>`},
	{regexp.MustCompile(`"exp":1\d{9}\b`), `"exp":<time>`},
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

// The exact text of every result and every notification.
func TestGolden(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.connect(0, "r", "ann", "host")
		var results []string
		call := func(k *client, method string, params object) {
			_, reply, _ := strings.Cut(k.call(method, params), `"id":`)
			_, reply, _ = strings.Cut(reply, ",")
			results = append(results, k.name+" "+method+" {"+reply)
		}
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
		ann.wait(func() bool { return strings.Contains(ann.inbox[len(ann.inbox)-1], `"seq":4,"n"`) })
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
		ann.wait(func() bool { return strings.Contains(ann.inbox[len(ann.inbox)-1], `"timed_out"`) })
		call(ann, "end-room", object{"reason": "done"})
		ann.closed(4410)
		golden(t, "results", results)
		var notes []string
		for _, k := range []*client{ann, bob} {
			k.mu.Lock()
			for _, m := range k.inbox {
				notes = append(notes, k.name+" "+m)
			}
			k.mu.Unlock()
		}
		golden(t, "notifications", notes)
	})
}
