package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

// never is a rate by which no call flows in while a test runs: those of hearth.MinBurst are all that there are.
const never = hearth.MinRate

// spend makes all calls that a peer may make at once, by its socket.
func (k *client) spend() {
	k.Helper()
	for range hearth.MinBurst {
		k.ok("get-metadata", object{"key": "k"})
	}
}

// retrying checks when a problem says that a repeat may succeed.
func (a *answer) retrying(most time.Duration) {
	a.Helper()
	ms, err := strconv.ParseInt(a.at("retry_after_ms"), 10, 64)
	if err != nil || ms < 1 || ms > most.Milliseconds() || a.header.Get("Retry-After") != strconv.FormatInt((ms+999)/1000, 10) {
		a.Errorf("%s: retry_after_ms %d, Retry-After %q: %v", a.call, ms, a.header.Get("Retry-After"), err)
	}
}

// uncounted are the methods that no rate refuses: the node answers them by itself, but for leave.
var uncounted = []string{"ping", "leave", "refresh-token", "listen-peers", "analytics", "track-update", "trickle", "answer"}

func TestEveryMethodCounts(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{PeerRate: never}})
	ann, bob := c.join(0, "r", "ann", "host", nil), c.join(1, "r", "bob", "host", nil)
	ann.spend()
	for i := range rights {
		n := &rights[i].ws
		switch r := ann.call; {
		case n.method == "" || n.method == "join" || n.method == "leave":
		case slices.Contains(uncounted, n.method):
			if got := at(t, r(n.method, n.args("")), "error.data.reason"); got == "rate_limited" {
				t.Errorf("%s counts", n.method)
			}
		default:
			e := ann.fails(n.method, n.args(""), 429, "rate_limited")
			if ms, err := strconv.Atoi(at(t, e, "data.retry_after_ms")); err != nil || ms < 900_000 || ms > 1_000_000 {
				t.Errorf("%s: %s", n.method, e)
			}
		}
	}
	// Who wants to hear less is not refused, nor is who leaves.
	ann.ok("listen-metadata-change", object{"keys": []string{}})
	bob.spend()
	ann.ok("leave", nil)
	bob.hears("on-peer-leave", "peer_id", "ann", "reason", "left")
	// A join counts as one of its user's. It has made one.
	for range hearth.MinBurst - 1 {
		c.do("GET", "/v1/rooms/r/metadata/k", c.token("r", "ann", "host"), "").is(404)
	}
	again := c.connect(1, "r", "ann", "host")
	again.fails("join", nil, 429, "rate_limited")
	again.open()
}

func TestEveryRequestCounts(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{PeerRate: never}})
	conn := c.occupied("r", "host")
	token := c.token("r", "ann", "host")
	for i := range hearth.MinBurst {
		c.doAt(i%2, "GET", "/v1/rooms/r", token, "").is(200)
	}
	for i := range rights {
		n := &rights[i].http
		if n.by&(byStore|byToken) == 0 {
			continue
		}
		method, path := n.at("r", strings.Replace(n.arg, "{session}", "none", 1))
		if method == http.MethodDelete && path == "/v1/rooms/r/peers/ann" {
			continue // it leaves
		}
		body := strings.ReplaceAll(n.body, "{conn}", conn)
		for i := range 2 {
			c.doAt(i, method, path, token, body, "Hearth-Conn", conn).problem(429, "rate_limited").retrying(1000 * time.Second)
		}
	}
	c.do("GET", "/v1/rooms/r/events", token, "", "Accept", "application/json").problem(429, "rate_limited")
	// A token that is for a peer is that peer's, another user's is another's, and a server may.
	c.do("GET", "/v1/rooms/r", c.mint(auth.Principal{Room: "r", User: "u-ann", Role: "host", Peer: "ann"}), "").is(200)
	c.do("GET", "/v1/rooms/r", c.token("r", "bob", "host"), "").is(200)
	for range 2 * hearth.MinBurst {
		c.do("PUT", "/v1/rooms/r/metadata/k", c.server(), "1").is(200)
	}
	c.do("DELETE", "/v1/rooms/r/peers/ann", token, "", "Hearth-Conn", conn).is(200)
	c.do("GET", "/metrics", "", "").is(200)
}

// A conn_id proves nothing before the store has seen it: nobody uses up what another may.
func TestNobodyCallsInAnothersName(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{PeerRate: never}})
	conn := c.occupied("r", "host")
	ann := c.join(0, "r", "eve-s-victim", "host", nil)
	eve := c.token("r", "eve", "host")
	for range hearth.MinBurst {
		c.do("PUT", "/v1/rooms/r/metadata/k", eve, "1", "Hearth-Conn", ann.conn).problem(409, "not_member")
	}
	c.do("PUT", "/v1/rooms/r/metadata/k", eve, "1", "Hearth-Conn", ann.conn).problem(429, "rate_limited")
	c.do("PUT", "/v1/rooms/r/metadata/k", eve, "1", "Hearth-Conn", conn).problem(429, "rate_limited")
	ann.spend()
}

// Each request of a batch counts, and those beyond the rate are refused alone.
func TestBatchesCount(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{PeerRate: never}})
	ann := c.join(0, "r", "ann", "guest", nil)
	batch := make([]string, hearth.MinBurst+2)
	for i := range batch {
		batch[i] = `{"id":` + strconv.Itoa(i) + `,"method":"update-metadata","params":{"ops":[{"op":"increment","key":"n"}]}}`
	}
	ann.send("[" + strings.Join(batch, ",") + "]")
	reply := ann.first()
	for i := range batch {
		want := absent
		if i >= hearth.MinBurst {
			want = "rate_limited"
		}
		if got := at(t, reply, strconv.Itoa(i)+".error.data.reason"); got != want {
			t.Errorf("request %d: %s", i, got)
		}
	}
	c.do("GET", "/v1/rooms/r/metadata/n", c.server(), "").is(200).has("data", strconv.Itoa(hearth.MinBurst))
}

// What one peer does at once is refused, and is nobody else's loss; it goes on when it is told to.
func TestAFloodIsRefused(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{PeerRate: 20, RoomRate: 10_000}})
	ann, bob := c.join(0, "r", "ann", "guest", nil), c.join(1, "r", "bob", "guest", nil)
	const flood = 500
	for i := range flood {
		ann.send(`{"id":` + strconv.Itoa(1000+i) + `,"method":"broadcast","params":{"info":{"message":` + strconv.Itoa(i) + `}}}`)
	}
	for range 10 {
		bob.ok("set-metadata", object{"key": "k", "data": 1})
	}
	done, refused := 0, 0
	for range flood {
		m := ann.take("reply", func(text string) bool { return strings.HasPrefix(text, `{"jsonrpc":"2.0","id":1`) })
		if at(t, m, "result") != absent {
			done++
			continue
		}
		has(t, "refused", m, "error.code", "429", "error.data.reason", "rate_limited")
		refused++
		wait, _ := strconv.Atoi(at(t, m, "error.data.retry_after_ms"))
		if wait < 1 || wait > 50 {
			t.Errorf("has to wait for %d ms", wait)
		}
	}
	if done < 20 || refused < flood/2 {
		t.Errorf("%d done, %d refused", done, refused)
	}
	for range done { // each of them once, and no other
		bob.next("on-broadcast")
	}
	eventually(c, "it may call again", func() bool { return at(t, ann.call("get-metadata", nil), "result") != absent })
	for limit, none := range map[string]bool{"peer": false, "room": true, "join": true, "user": true} {
		metrics := c.do("GET", "/metrics", "", "").is(200).body
		line := `hearth_rate_limited_total{limit="` + limit + `"} `
		if !strings.Contains(metrics, line) || strings.Contains(metrics, line+"0\n") != none {
			t.Errorf("no %s, or not as it has to be", line)
		}
	}
}

// Who is in a room that takes nobody new for now comes back, also when all do at once.
func TestJoinsAreLimited(t *testing.T) {
	c := newCluster(t, setup{joinTimeout: 2 * time.Second, limits: hearth.Limits{JoinRate: never, Grace: time.Minute, NodeLease: 2 * time.Minute}})
	var in []*client
	for i := range hearth.MinBurst {
		in = append(in, c.join(i%2, "r", "p"+strconv.Itoa(i), "guest", nil))
	}
	late := c.connect(0, "r", "late", "guest")
	late.fails("join", nil, 429, "rate_limited")
	c.do("PUT", "/v1/rooms/r/peers/later", c.token("r", "later", "guest"), "").problem(429, "rate_limited").retrying(1001 * time.Second)
	c.do("PUT", "/v1/rooms/r/peers/of-server", c.server(), "").is(201)
	for i, k := range in {
		last := at(t, k.ok("ping", nil), "cursor")
		k.drop()
		back := c.connect(i%2, "r", k.name, "guest")
		r := back.ok("join", object{"resume": object{"session_id": k.sess, "cursor": last}})
		has(t, "resume", r, "resumed", "true", "recovered", "true")
	}
	c.join(0, "r2", "late", "guest", nil) // another room
	late.closed(node.CloseTryLater)
}

// A client of 100ms that comes and goes faster than it may is told to wait, and keeps what it has.
func TestAClientThatReturnsTooOftenWaits(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{PeerRate: never}})
	token := c.token("r", "ann", "guest")
	dial := func() *client {
		return c.dial(0, []string{"token", token, "peer", "ann", "protocol_spec", "20210607"})
	}
	ann := dial()
	ann.ok("join", nil)             // and one before, by its connection
	for range hearth.MinBurst - 2 { // each by one call
		ann = dial()
		ann.open()
	}
	ann.spend() // its socket's
	ann.fails("listen-metadata-change", object{"keys": []string{"k"}}, 429, "rate_limited")
	ann.ok("listen-metadata-change", object{"keys": []string{}}) // who wants to hear less is not refused
	dial().closed(node.CloseTryLater)
	ann.open()
}

func TestAUsersPeersAreLimited(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{MaxUserPeers: 2}})
	token := c.token("r", "ann", "guest")
	one, two := c.dial(0, []string{"token", token, "peer", "one"}), c.dial(1, []string{"token", token, "peer", "two"})
	one.ok("join", nil)
	two.ok("join", nil)
	three := c.dial(0, []string{"token", token, "peer", "three"})
	has(t, "refused", three.fails("join", nil, 413, "too_many"), "data.retry_after_ms", absent)
	c.do("PUT", "/v1/rooms/r/peers/three", token, "").problem(413, "too_many")
	c.dial(1, []string{"token", token, "peer", "one"}).ok("join", nil) // takes over
	one.closed(node.CloseReplaced)
	c.join(0, "r", "bob", "guest", nil)
	two.ok("leave", nil)
	three.ok("join", nil)
}
