package httpapi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/node"
)

// patient is a grace in which everybody comes back.
var patient = hearth.Limits{Grace: time.Minute}

// eachPatient runs a flow on every kind of Redis, over two nodes that wait for who breaks off.
func eachPatient(t *testing.T, flow func(c *cluster)) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) { flow(newClusterOn(t, s, setup{limits: patient})) })
}

// cursor returns where a client has got to.
func (k *client) cursor() string {
	k.Helper()
	return at(k, k.ok("ping", nil), "cursor")
}

// back connects a peer again, which resumes the session of k from a cursor, and returns it with the result.
func (c *cluster) back(i int, k *client, role, cursor string, params object) (again *client, result string) {
	c.Helper()
	p := object{"resume": object{"session_id": k.sess, "cursor": cursor}}
	maps.Copy(p, params)
	again = c.connect(i, k.room, k.name, role)
	result = again.ok("join", p)
	again.conn, again.sess = at(c, result, "conn_id"), at(c, result, "session_id")
	return again, result
}

// gone waits until a node has told the store that all its sockets are gone.
func (c *cluster) gone(i int) {
	c.Helper()
	n := c.nodes[i]
	eventually(c, "its sockets are gone", func() bool { return n.Connections() == 0 })
	if err := n.node.Wait(c.Context()); err != nil {
		c.Fatal(err)
	}
}

// changes returns the methods and seqs of what came before a mark, but for other marks.
func (k *client) changes(mark string) (out []string) {
	k.Helper()
	for {
		m := k.first()
		if strings.Contains(m, `"type":"`+mark+`"`) {
			return out
		}
		if !strings.Contains(m, `"type":"mark-`) {
			out = append(out, method(m)+" "+at(k, m, "params.seq"))
		}
	}
}

// deed is something that happens while bob, a guest who listens to k*, is there or away.
type deed struct {
	method string // by which bob is told; "" if he isn't
	do     func(c *cluster, ann *client) (seq string)
}

var deeds = []deed{
	{"on-metadata-change", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("set-metadata", object{"key": "k1", "data": 1}), "change_version")
	}},
	{"", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("set-metadata", object{"key": "x", "data": 1}), "change_version")
	}},
	{"on-broadcast", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("broadcast", object{"info": object{"message": 1}, "peer_id": "bob"}), "seq")
	}},
	{"", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("broadcast", object{"info": object{"message": 1}, "peer_id": "ann"}), "seq")
	}},
	{"on-broadcast", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("broadcast", object{"info": object{"message": 1}, "roles": []string{"guest"}}), "seq")
	}},
	{"", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("broadcast", object{"info": object{"message": 1}, "roles": []string{"host"}}), "seq")
	}},
	{"on-metadata-change", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("update-metadata", object{"ops": []object{{"op": "set", "key": "y", "data": 1}, {"op": "set", "key": "k2", "data": 1}}}), "seq")
	}},
	{"on-peer-join", func(c *cluster, ann *client) string {
		return at(ann, c.connect(1, "r", "cat", "guest").ok("join", nil), "seq")
	}},
	{"on-lock-change", func(_ *cluster, ann *client) string {
		return at(ann, ann.ok("lock-acquire", object{"name": "l", "ttl_ms": 60000}), "token")
	}},
}

// Who comes back within the grace, on whichever node, is given all that it may see of what it missed, once and in order,
// and nobody saw it go. From where it counts is the client's to say.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, to := range []int{0, 1} {
		eachPatient(t, func(c *cluster) {
			c.Logf("to node %d", to)
			ann := c.join(0, "r", "ann", "host", nil)
			bob := c.join(1, "r", "bob", "guest", object{"listen": []string{"k*"}})
			cursors := []string{bob.cursor()} // at the join
			var told []string
			seen := 0
			for _, d := range deeds[:5] {
				seq := d.do(c, ann)
				if d.method != "" {
					told = append(told, d.method+" "+seq)
					seen++
				}
			}
			c.settle("r", bob)
			cursors = append(cursors, bob.cursor())
			bob.drop()
			c.gone(1)
			for _, d := range deeds[5:] {
				seq := d.do(c, ann)
				if d.method != "" {
					told = append(told, d.method+" "+seq)
				}
			}
			for i, from := range cursors {
				want := told
				if i == 1 {
					want = told[seen:]
				}
				k, result := c.back(to, bob, "guest", from, object{"listen": []string{"k*"}})
				has(t, "result", result, "resumed", "true", "recovered", "true", "cursor", from, "session_id", bob.sess, "peer_id", "bob")
				if got := k.changes(c.mark("r")); !slices.Equal(got[:len(want)], want) || i == 0 && len(got) > len(want) {
					t.Errorf("from %s came %v, not %v", from, got, want)
				}
				ann.ok("set-metadata", object{"key": "k1", "data": i})
				k.hears("on-metadata-change", "values.0.data", strconv.Itoa(i))
				if i > 0 {
					// From its end there is nothing but what goes on.
					last, result := c.back(to, bob, "guest", k.cursor(), nil)
					has(t, "result", result, "resumed", "true", "recovered", "true")
					k.closed(node.CloseReplaced)
					mark := c.mark("r")
					if got := last.changes(mark); len(got) > 0 {
						t.Errorf("at the end came %v", got)
					}
					last.ok("broadcast", object{"info": object{"message": "I am back"}})
				}
			}
			ann.take("what bob says", func(m string) bool { return strings.Contains(m, "I am back") })
			if got := ann.before(c.mark("r")); strings.Contains(got, "leave") || strings.Count(got, "on-peer-join") != 2 {
				t.Errorf("ann saw bob go: %s", got) // she saw bob and cat come
			}
		})
	}
}

// What can't be given is said so, and a snapshot comes instead; what it is for does not matter.
func TestResumeThatCantBe(t *testing.T) {
	limits := patient
	limits.LogEvents = 16
	c := newCluster(t, setup{limits: limits})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "guest", nil)
	early := bob.cursor()
	for i := range 40 {
		ann.ok("set-metadata", object{"key": "k", "data": i})
	}
	now := strings.Split(ann.cursor(), ".")
	epoch, seq, n := now[0], now[1], now[2]
	for name, cursor := range map[string]string{
		"beyond the log":   early,
		"another nonce":    epoch + "." + seq + ".AAAAAAAA",
		"ahead":            epoch + ".999." + n,
		"another epoch":    "AAAAAAAA." + seq + "." + n,
		"before the first": epoch + ".0." + epoch,
	} {
		t.Run(name, func(t *testing.T) {
			c := c.on(t)
			k, result := c.back(0, bob, "guest", cursor, object{"listen": []string{"k"}})
			resumed := name != "before the first" // which is before its join
			has(t, "result", result, "resumed", strconv.FormatBool(resumed), "recovered", "false", "session_id", bob.sess)
			if !strings.HasPrefix(at(t, result, "cursor"), epoch+"."+at(t, result, "seq")+".") {
				t.Errorf("the cursor is not at the snapshot: %s", result)
			}
			has(t, "peer-list", k.first(), "method", "peer-list", "params.total", "2", "params.peers.#", "2", "params.peers.bob.role", "guest",
				"params.seq", at(t, result, "seq"))
			has(t, "entries", k.first(), "method", "on-metadata-change", "params.snapshot", "true", "params.values.0.data", "39")
			ann.ok("set-metadata", object{"key": "k", "data": 39})
			has(t, "live", k.first(), "method", "on-metadata-change", "params.snapshot", absent)
			k.open()
			k.ok("broadcast", object{"info": object{"message": name}})
			ann.hears("on-broadcast", "info.message", name)
		})
	}
	if got := ann.before(c.mark("r")); strings.Contains(got, "leave") {
		t.Errorf("ann saw bob go: %s", got)
	}
}

// Who was away for too long has left. By its role it may be given what it missed all the same.
func TestResumeAfterTheGrace(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		for i, tt := range []struct {
			role      string
			recovered bool
		}{{"guest", false}, {"admin", true}} {
			bob := c.join(1, "r", "bob", tt.role, nil)
			ann.hears("on-peer-join", "peer_id", "bob")
			from := bob.cursor()
			ann.ok("broadcast", object{"info": object{"message": "to bob"}, "peer_id": "bob"})
			bob.drop()
			ann.hears("on-peer-leave", "peer_id", "bob", "reason", "timed_out")
			ann.ok("broadcast", object{"info": object{"message": "to all"}})
			ann.ok("broadcast", object{"info": object{"message": "to me"}, "peer_id": "ann"})
			ann.ok("broadcast", object{"info": object{"message": "to hosts"}, "roles": []string{"host"}})
			k, result := c.back(i, bob, tt.role, from, nil)
			has(t, tt.role, result, "resumed", "false", "recovered", strconv.FormatBool(tt.recovered), "session_id", bob.sess)
			ann.hears("on-peer-join", "peer_id", "bob")
			if !tt.recovered {
				k.hears("peer-list", "total", "2")
			}
			got, want := k.changes(c.mark("r")), 0
			if tt.recovered {
				want = 2 // to all, and what it was told before it left
			}
			if len(got) != want || strings.Contains(fmt.Sprint(got), "peer") {
				t.Errorf("%s is given %q", tt.role, got)
			}
			if i == 0 {
				k.ok("leave", nil)
				ann.hears("on-peer-leave", "peer_id", "bob")
				_, result = c.back(i, bob, tt.role, "AAAAAAAA.9.AAAAAAAA", nil) // which tells nothing of when
				has(t, tt.role, result, "resumed", "false", "recovered", "false")
				ann.hears("on-peer-join", "peer_id", "bob")
			}
			// A cursor of the membership before that one doesn't make it one that was kept.
			k, result = c.back(i, bob, tt.role, from, nil)
			has(t, tt.role, result, "resumed", "false", "recovered", strconv.FormatBool(tt.recovered))
			k.ok("leave", nil)
			ann.hears("on-peer-leave", "peer_id", "bob", "reason", "left")
		}
	})
}

// A session that is over is no error: its peer joins the current one, or begins the next.
func TestResumeOfASessionThatIsOver(t *testing.T) {
	eachPatient(t, func(c *cluster) {
		bob := c.join(1, "r", "bob", "host", object{"listen": []string{"*"}})
		from := bob.cursor()
		bob.ok("set-metadata", object{"data": "old"})
		bob.drop()
		c.gone(1)
		c.do("POST", "/v1/rooms/r/end", c.server(), "").is(200)
		k, result := c.back(0, bob, "host", from, object{"listen": []string{"*"}})
		has(t, "the next", result, "resumed", "false", "recovered", "false")
		if k.sess == bob.sess {
			t.Fatal("the session goes on")
		}
		k.hears("peer-list", "total", "1")
		k.hears("on-metadata-change", "snapshot", "true", "values.#", "0")
		// It is in the current one by another connection: that is a takeover, and of nothing that it resumes.
		again, result := c.back(1, bob, "host", from, nil)
		has(t, "the current", result, "resumed", "false", "recovered", "false", "session_id", k.sess)
		again.hears("peer-list", "total", "1")
		k.closed(node.CloseReplaced)
	})
}

// What is no resume is refused, and nothing has happened.
func TestMalformedResume(t *testing.T) {
	c := newCluster(t, setup{limits: patient})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.connect(1, "r", "bob", "guest")
	good := ann.cursor()
	for _, bad := range []any{
		5, "x",
		[]int{1},
		object{},
		object{"session_id": ann.sess},
		object{"cursor": good},
		object{"session_id": "not a name", "cursor": good},
		object{"session_id": ann.sess, "cursor": "x"},
		object{"session_id": ann.sess, "cursor": good + "!"},
		object{"session_id": 5, "cursor": good},
		object{"session_id": "", "cursor": ""},
		object{"session_id": ann.sess, "cursor": strings.Replace(good, ".", ".-", 1)},
	} {
		bob.fails("join", object{"resume": bad}, -32602, "bad_params")
	}
	bob.fails("get-metadata", nil, 409, "not_member")
	if now := ann.cursor(); now != good {
		t.Errorf("at %s, not %s", now, good)
	}
	has(t, "join", bob.ok("join", object{"resume": nil}), "resumed", "false", "recovered", "false")
	bob.hears("peer-list", "total", "2")
}

// Another user does not get a peer by knowing where it was.
func TestResumeOfAnothersPeer(t *testing.T) {
	eachPatient(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		ann.hears("on-peer-join")
		from := bob.cursor()
		resume := object{"resume": object{"session_id": bob.sess, "cursor": from}}
		steal := func() {
			t := c.dial(0, []string{"token", c.token("r", "thief", "host"), "peer", "bob"})
			t.fails("join", resume, 409, "peer_exists")
			t.open()
		}
		steal()
		bob.open()
		bob.drop()
		c.gone(1)
		before := ann.cursor()
		steal()
		if now := ann.cursor(); now != before {
			t.Errorf("at %s, not %s", now, before)
		}
		_, result := c.back(1, bob, "guest", from, nil)
		has(t, "bob", result, "resumed", "true", "recovered", "true")
	})
}

// A client whose continuity is lost, and one that is taken over, go on where they were.
func TestResumeAfterALoss(t *testing.T) {
	eachPatient(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		from := bob.cursor()
		s := c.nodes[1]
		s.mu.Lock()
		for one := range s.conns {
			one.member.Lost()
		}
		s.mu.Unlock()
		bob.closed(node.CloseLost)
		ann.ok("broadcast", object{"info": object{"message": "while away"}})
		k, result := c.back(1, bob, "guest", from, nil)
		has(t, "after 4412", result, "resumed", "true", "recovered", "true")
		k.hears("on-broadcast", "info.message", "while away")
		from = k.cursor()
		ann.ok("broadcast", object{"info": object{"message": "to both"}})
		k.hears("on-broadcast", "info.message", "to both")
		newer, result := c.back(0, bob, "guest", from, nil)
		has(t, "takeover", result, "resumed", "true", "recovered", "true")
		newer.hears("on-broadcast", "info.message", "to both")
		k.closed(node.CloseReplaced)
		if got := ann.before(c.mark("r")); got != "on-peer-join" {
			t.Errorf("ann heard %q", got)
		}
	})
}

// What was missed doesn't count as slowness, however much it is.
func TestResumeOfMoreThanTheQueueTakes(t *testing.T) {
	limits := patient
	limits.LogBytes = 8 << 20
	c := newCluster(t, setup{limits: limits})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "guest", nil)
	from := bob.cursor()
	bob.drop()
	c.gone(1)
	big := strings.Repeat("x", 60<<10)
	const n = 60
	for i := range n {
		ann.ok("broadcast", object{"info": object{"message": big, "type": "t" + strconv.Itoa(i)}})
	}
	k, result := c.back(0, bob, "guest", from, nil)
	has(t, "result", result, "recovered", "true")
	for i := range n {
		k.hears("on-broadcast", "info.type", "t"+strconv.Itoa(i))
	}
	k.open()
}

// Between the answer and what was missed, a client is where it was.
func TestPingBehindAResume(t *testing.T) {
	c := newCluster(t, setup{limits: patient})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(1, "r", "bob", "guest", nil)
	from := bob.cursor()
	ann.ok("broadcast", object{"info": object{"message": 1}})
	k := c.connect(0, "r", "bob", "guest")
	k.send(`[{"id":1,"method":"join","params":{"resume":{"session_id":"` + bob.sess + `","cursor":"` + from + `"}}},{"id":2,"method":"ping"}]`)
	has(t, "replies", k.first(), "0.result.recovered", "true", "0.result.cursor", from, "1.result.cursor", from)
	k.hears("on-broadcast")
	if now := k.cursor(); now == from {
		t.Errorf("still at %s", now)
	}
}

// What a client asks for in one message with its resume holds from there on.
func TestListeningBehindAResume(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{Grace: time.Minute, LargeRoom: 2}})
	ann := c.join(0, "r", "ann", "host", nil)
	c.join(0, "r", "cat", "guest", nil)
	bob := c.join(1, "r", "bob", "guest", object{"listen": []string{"a"}})
	from := bob.cursor()
	ann.ok("set-metadata", object{"key": "a", "data": 1})
	k := c.connect(0, "r", "bob", "guest")
	k.send(`[{"id":1,"method":"join","params":{"listen":["a"],"resume":{"session_id":"` + bob.sess + `","cursor":"` + from + `"}}},` +
		`{"id":2,"method":"listen-metadata-change","params":{"keys":["b"]}},{"id":3,"method":"listen-peers","params":{"all":true}}]`)
	has(t, "replies", k.first(), "0.result.recovered", "true", "1.result.#", "0", "2.result.#", "0")
	k.hears("on-metadata-change", "values.0.key", "a") // as it listened when that was
	k.hears("on-metadata-change", "snapshot", "true", "values.0.key", "b")
	ann.ok("set-metadata", object{"key": "a", "data": 2})
	ann.ok("set-metadata", object{"key": "b", "data": 2})
	k.hears("on-metadata-change", "values.0.key", "b", "values.0.data", "2")
	c.join(1, "r", "dan", "guest", nil)
	k.hears("on-peer-join", "peer_id", "dan")
}

// However often a client breaks off in the middle of what goes on, it is given every change once and in order.
func TestResumeInTheMiddleOfIt(t *testing.T) {
	t.Parallel()
	eachPatient(t, func(c *cluster) {
		const messages, breaks = 400, 12
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		done := make(chan struct{})
		go func() { // ends with the messages
			defer close(done)
			for i := range messages {
				ann.ok("broadcast", object{"info": object{"message": i}})
			}
		}()
		next := 0
		epoch, _, _ := strings.Cut(bob.cursor(), ".")
		from := bob.cursor()
		take := func(k *client) {
			t.Helper()
			m := k.next("on-broadcast")
			if got := at(t, m, "info.message"); got != strconv.Itoa(next) {
				t.Fatalf("%s came, not %d", got, next)
			}
			from = epoch + "." + at(t, m, "seq") + "." + at(t, m, "n")
			next++
		}
		k := bob
		for i := range breaks {
			for range messages / breaks / 2 {
				take(k)
			}
			k.drop()
			again, result := c.back(i%2, bob, "guest", from, nil)
			has(t, "result", result, "resumed", "true", "recovered", "true", "cursor", from)
			k = again
		}
		for next < messages {
			take(k)
		}
		<-done
		if got := k.before(c.mark("r")); got != "" {
			t.Errorf("and then %q", got)
		}
		if got := ann.before(c.mark("r")); strings.Contains(got, "leave") {
			t.Errorf("ann heard %q", got)
		}
	})
}
