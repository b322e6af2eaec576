package httpapi

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
)

func TestStreamFollowsTheRoom(t *testing.T) {
	each(t, func(c *cluster) {
		k := c.watch(1, "r", c.server(), "")
		if k.header.Get("X-Accel-Buffering") != "no" || k.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers: %v", k.header)
		}
		ann := c.join(0, "r", "ann", "host", nil)
		start := k.next("on-session-start", "seq", "0", "session_id", ann.sess, "room_id", "r", "recovered", absent)
		join := k.next("on-peer-join", "seq", "1", "peer_id", "ann")
		ann.ok("set-metadata", object{"key": "a", "data": 1})
		k.next("on-metadata-change", "seq", "2", "values.0.key", "a", "values.0.data", "1")
		late := c.watch(0, "r", c.server(), "")
		end := late.begins("seq", "2", "session_id", ann.sess, "recovered", absent)
		has(t, "entries", end.data, "seq", "2", "values.#", "1", "values.0.data", "1")
		ann.ok("end-room", object{"reason": "done"})
		for _, k := range []*reading{k, late} {
			end = k.next("on-session-end", "session_id", ann.sess, "reason", "ended", "seq", "3", "recovered", absent)
		}
		bob := c.join(1, "r", "bob", "guest", nil)
		for _, k := range []*reading{k, late} {
			k.next("on-session-start", "session_id", bob.sess, "seq", "0")
			k.next("on-peer-join", "seq", "1", "peer_id", "bob")
		}
		// Each of these resumes: from a session that is over to the one that is on.
		for _, id := range []string{start.id, join.id, end.id} {
			k := c.watch(0, "r", c.server(), id)
			if e := k.next("on-session-end", "recovered", "false", "epoch", strings.Split(id, ".")[0]); e.id != "" {
				t.Errorf("it has the id %s", e.id)
			}
			k.begins("session_id", bob.sess, "recovered", "false")
		}
		bob.ok("leave", nil)
		k.next("on-peer-leave", "seq", "2", "peer_id", "bob")
		end = k.next("on-session-end", "session_id", bob.sess, "reason", "empty", "seq", "3")
		k = c.watch(0, "r", c.server(), end.id)
		k.next("on-session-end", "recovered", "false")
		cat := c.join(1, "r", "cat", "guest", nil)
		k.next("on-session-start", "session_id", cat.sess)
		k.next("on-peer-join", "peer_id", "cat")
		open := c.nodes[0].Streams()
		k.cut()
		eventually(t, "one stream fewer", func() bool { return c.nodes[0].Streams() == open-1 })
	})
}

func TestStreamResumesBeforeTheFirstChange(t *testing.T) {
	c := newCluster(t, setup{})
	k := c.watch(1, "r", c.server(), "")
	ann := c.join(0, "r", "ann", "host", nil)
	start := k.next("on-session-start")
	ann.ok("set-metadata", object{"key": "a", "data": 1})
	k = c.watch(0, "r", c.server(), start.id)
	k.next("on-peer-join", "seq", "1")
	k.next("on-metadata-change", "seq", "2")
}

// What is seen on a stream that is cut all the time is what a socket that stays open is sent, and a server sees all.
func TestStreamsThatAreCutLoseNothing(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "guest", object{"listen": []string{"*"}})
		bob := c.join(1, "r", "bob", "host", nil)
		c.settle("r", ann)
		annToken := c.mint(auth.Principal{Room: "r", User: "u-ann", Role: "guest", Peer: "ann"})
		streams := map[string]*cutter{"ann": newCutter(c, annToken), "server": newCutter(c, c.server())}
		var wg sync.WaitGroup
		for _, s := range streams {
			s.next().begins()
			wg.Go(s.run)
		}
		const writes = 250
		rnd := rand.New(rand.NewPCG(1, 2))
		for i := range writes {
			switch rnd.IntN(8) {
			case 0:
				bob.ok("broadcast", object{"info": object{"message": i}, "peer_id": "ann"})
			case 1:
				bob.ok("broadcast", object{"info": object{"message": i}, "peer_id": "bob"})
			case 2:
				bob.ok("broadcast", object{"info": object{"message": i}, "roles": []string{[]string{"guest", "host"}[i%2]}})
			case 3:
				bob.ok("peer-update", object{"data": strconv.Itoa(i)})
			case 4:
				ann.ok("peer-update", object{"data": strconv.Itoa(i)})
			case 5:
				p := "p" + strconv.Itoa(i)
				c.join(i%2, "r", p, "guest", nil).ok("leave", nil)
			case 6:
				bob.ok("update-metadata", object{"ops": []object{{"op": "set", "key": "a", "data": i}, {"op": "increment", "key": "b", "by": 1}}})
			default:
				bob.ok("set-metadata", object{"key": "k" + strconv.Itoa(i%3), "data": i})
			}
		}
		mark := c.mark("r")
		wg.Wait()
		var want []string
		ann.take("mark", func(text string) bool { return strings.Contains(text, mark) })
		ann.mu.Lock()
		for _, m := range ann.inbox {
			if strings.HasPrefix(m, `{"jsonrpc":"2.0","method":`) {
				want = append(want, method(m)+" "+at(t, m, "params"))
			}
		}
		ann.mu.Unlock()
		var got []string
		for _, e := range streams["ann"].seen {
			got = append(got, e.name+" "+at(t, `{"params":`+e.data+`}`, "params"))
		}
		if len(want) < writes/2 || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("ann's stream has %d of %d\n%s\n\n%s", len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		first := 0
		for i, e := range streams["server"].seen {
			seq, err := strconv.Atoi(at(t, e.data, "seq"))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = seq
			}
			if seq != first+i {
				t.Fatalf("the server's stream has seq %d for %d", seq, first+i)
			}
		}
		t.Logf("cut %d and %d times over %d and %d events", streams["ann"].cuts, streams["server"].cuts, len(got), len(streams["server"].seen))
		if streams["ann"].cuts < 10 {
			t.Error("too few cuts to show anything")
		}
	})
}

// cutter is a browser behind a proxy that cuts its stream all the time.
type cutter struct {
	c     *cluster
	token string
	rnd   *rand.Rand
	cur   *reading
	cuts  int
	seen  []event
}

func newCutter(c *cluster, token string) *cutter {
	return &cutter{c: c, token: token, rnd: rand.New(rand.NewPCG(3, uint64(len(token))))}
}

func (s *cutter) next() *reading {
	last := ""
	if s.cur != nil {
		last = s.cur.lastID()
	}
	s.cur = s.c.watch(s.rnd.IntN(2), "r", s.token, last)
	return s.cur
}

// run reads, cuts and resumes until a mark comes.
func (s *cutter) run() {
	isMark := func(e event) bool { return strings.Contains(e.data, `"type":"mark-`) }
	for {
		k := s.cur
		most := 1 + s.rnd.IntN(12)
		if !k.wait(func() bool {
			return len(k.inbox) >= most || len(k.inbox) > 0 && isMark(k.inbox[len(k.inbox)-1])
		}) {
			s.c.Error("a stream ended by itself, or nothing came")
			return
		}
		k.cut()
		s.cuts++
		for _, e := range k.inbox {
			if isMark(e) {
				return
			}
			s.seen = append(s.seen, e)
		}
		s.next()
	}
}

func TestStreamShowsNobodyElsesMessages(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		c.join(1, "r", "bob", "guest", nil)
		bob := c.watch(0, "r", c.token("r", "bob", "guest"), "")
		named := c.watch(1, "r", c.mint(auth.Principal{Room: "r", User: "u-bob", Role: "guest", Peer: "bob"}), "")
		thief := c.watch(0, "r", c.mint(auth.Principal{Room: "r", User: "u-thief", Role: "guest", Peer: "bob"}), "")
		other := c.watch(1, "r", c.token("r", "cat", "guest"), "")
		hid := c.join(0, "r", "hid", "admin", object{"hidden": true})
		hid.ok("peer-update", object{"name": "x"})
		server := c.watch(1, "r", c.server(), "")
		for _, k := range []*reading{bob, named, thief, other} {
			k.begins()
		}
		server.next("on-session-start")
		server.next("peer-list", "total", "3", "peers.hid.info.name", "x")
		server.next("on-metadata-change")
		for _, tt := range []struct {
			params               object
			bob, others, servers string
		}{
			{object{"peer_id": "bob"}, "on-broadcast", "", "on-broadcast"},
			{object{"peer_id": "hid"}, "", "", "on-broadcast"},
			{object{"roles": []string{"host"}}, "", "", "on-broadcast"},
			{object{"roles": []string{"guest"}}, "on-broadcast", "on-broadcast", "on-broadcast"},
			{object{}, "on-broadcast", "on-broadcast", "on-broadcast"},
		} {
			params := object{"info": object{"message": 1}}
			maps.Copy(params, tt.params)
			ann.ok("broadcast", params)
			mark := c.mark("r")
			for k, want := range map[*reading]string{bob: tt.bob, named: tt.bob, thief: tt.others, other: tt.others, server: tt.servers} {
				if got := k.before(mark); got != want {
					t.Errorf("%v: %q, not %q", tt.params, got, want)
				}
			}
		}
		hid.ok("leave", nil)
		mark := c.mark("r")
		if got := server.before(mark); got != "on-peer-leave" {
			t.Errorf("a hidden peer's leave: a server is told %q", got)
		}
		if got := bob.before(mark); got != "" {
			t.Errorf("a hidden peer's leave: a peer is told %q", got)
		}
		other.before(mark)
		// A membership that begins under a stream is its reader's from there on, and over with the session.
		cat := c.join(0, "r", "cat", "host", nil)
		ann.ok("broadcast", object{"info": object{"message": 1}, "roles": []string{"host"}})
		ann.ok("broadcast", object{"info": object{"message": 1}, "peer_id": "cat"})
		cat.ok("leave", nil)
		ann.ok("broadcast", object{"info": object{"message": 1}, "roles": []string{"host"}})
		if got := other.before(c.mark("r")); got != "on-broadcast on-broadcast" {
			t.Errorf("as a member: %q", got)
		}
	})
}

func TestStreamReadsNoHistory(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		k := c.watch(0, "r", c.server(), "")
		old := k.begins()
		ann.ok("set-metadata", object{"data": 1})
		ann.ok("set-metadata", object{"data": 2})
		bob := c.join(1, "r", "bob", "guest", nil)
		mark := c.mark("r")
		k.before(mark)
		since := k.lastID()
		ann.ok("set-metadata", object{"data": 3})
		k.next("on-metadata-change")
		head := k.lastID()
		guest, host := c.token("r", "bob", "guest"), c.token("r", "ann", "host")
		stranger := c.token("r", "eve", "guest")
		c.watch(0, "r", guest, old.id).begins("recovered", "false", "seq", "6")
		c.watch(0, "r", guest, since).next("on-metadata-change", "values.0.data", "3")
		c.watch(1, "r", guest, "", "after", since).next("on-metadata-change", "values.0.data", "3")
		c.watch(1, "r", stranger, since).begins("recovered", "false")
		c.watch(0, "r", host, old.id).next("on-metadata-change", "values.0.data", "1")
		k = c.watch(1, "r", stranger, head)
		bob.ok("set-metadata", object{"data": 4})
		k.next("on-metadata-change", "values.0.data", "4")

		// Pages, too.
		page := func(token, query string) *answer {
			t.Helper()
			return c.do("GET", "/v1/rooms/r/events?"+query, token, "", "Accept", "application/json").is(200)
		}
		page(c.server(), "").has("seq", "7", "oldest", "1", "events.#", "7", "events.0.method", "on-peer-join", "recovered", absent)
		page(host, "").has("events.#", "6") // without its own join
		page(guest, "").has("events.#", "3", "events.0.method", "on-broadcast", "events.2.params.seq", "7")
		page(guest, "after="+since).has("recovered", "true", "events.#", "2")
		page(guest, "after="+old.id).has("recovered", "false", "events.#", "3")
		page(stranger, "").has("events.#", "0")
		page(stranger, "after="+since).has("events.#", "0", "recovered", "false")
	})
}

// A message to roles is shown by the role at its seq, also to one who was another then.
func TestReplayKnowsTheRoleOfThen(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", nil)
		bob := c.join(1, "r", "bob", "guest", nil)
		k := c.watch(0, "r", c.token("r", "bob", "guest"), "")
		from := k.begins()
		ann.ok("broadcast", object{"info": object{"message": "g"}, "roles": []string{"guest"}})
		ann.ok("broadcast", object{"info": object{"message": "h"}, "roles": []string{"host"}})
		bob.ok("peer-update", object{"name": "B"})
		mark := c.mark("r")
		if got := k.before(mark); got != "on-broadcast on-peer-update" {
			t.Errorf("live: %q", got)
		}
		if got := c.watch(0, "r", c.token("r", "bob", "guest"), from.id).before(mark); got != "on-broadcast on-peer-update" {
			t.Errorf("replayed: %q", got)
		}
	})
}

func TestStreamKeys(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "host", nil)
	ann.ok("set-metadata", object{"key": "a,b", "data": 1})
	two := c.watch(1, "r", c.server(), "", "keys", "a,b", "keys", "x*")
	has(t, "snapshot", two.begins().data, "values.#", "1")
	none := c.watch(1, "r", c.server(), "", "keys", "")
	none.next("on-session-start")
	if e := none.next("peer-list"); e.id == "" {
		t.Error("the end of a snapshot has no id")
	}
	ann.ok("update-metadata", object{"ops": []object{{"op": "set", "key": "x1", "data": 2}, {"op": "set", "key": "y", "data": 3}}})
	two.next("on-metadata-change", "values.#", "1", "values.0.key", "x1")
	if got := none.before(c.mark("r")); got != "" {
		t.Errorf("who watches no keys is told %q", got)
	}
}

// A cursor that the log no longer reaches, one of a change that never was, and a cursor of the future.
func TestStreamThatCannotResume(t *testing.T) {
	c := newCluster(t, setup{limits: hearth.Limits{LogEvents: 16}})
	ann := c.join(0, "r", "ann", "host", nil)
	from := c.watch(0, "r", c.server(), "").begins()
	for i := range 40 {
		ann.ok("set-metadata", object{"key": "k", "data": i})
	}
	epoch, _, _ := strings.Cut(from.id, ".")
	for _, id := range []string{from.id, epoch + ".41.abcdef", epoch + ".40.abcdef", epoch + ".99.abcdef", epoch + ".0.abcdef"} {
		k := c.watch(1, "r", c.server(), id)
		has(t, id, k.begins("recovered", "false", "seq", "41").data, "values.0.data", "39")
		page := c.do("GET", "/v1/rooms/r/events?limit=3&after="+id, c.server(), "", "Accept", "application/json").is(200)
		page.has("recovered", "false", "events.#", "3", "events.0.params.seq", page.at("oldest"))
	}
	c.do("GET", "/v1/rooms/r/events?after=x", c.server(), "").problem(400, "bad_params")
	c.do("GET", "/v1/rooms/r/events", c.server(), "", "Last-Event-ID", "x.y.z").problem(400, "bad_params")
	c.do("GET", "/v1/rooms/r/events", c.server(), "", "Accept", "image/png").problem(400, "bad_params")
	c.do("GET", "/v1/rooms/r/events", c.token("other", "ann", "host"), "").problem(403, "forbidden")
	c.do("GET", "/v1/rooms/r/events", "", "").problem(401, "unauthenticated")
	c.do("GET", "/v1/rooms/none/events", c.server(), "", "Accept", "application/json").problem(404, "no_session")
}

func TestPagesOfTheLog(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "host", nil)
	for i := range 25 {
		ann.ok("set-metadata", object{"key": "k" + strconv.Itoa(i%2), "data": i})
	}
	var got []string
	for after, pages := "", 0; ; pages++ {
		query := "limit=4&keys=k1"
		if after != "" {
			query += "&after=" + after
		}
		page := c.doAt(pages%2, "GET", "/v1/rooms/r/events?"+query, c.server(), "", "Accept", "application/json").is(200)
		page.has("session_id", ann.sess, "seq", "26", "oldest", "1")
		n, err := strconv.Atoi(page.at("events.#"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			got = append(got, page.at("events."+strconv.Itoa(i)+".params.seq"))
		}
		next := page.at("cursor")
		if next == after {
			break
		}
		after = next
	}
	want := "1 3 5 7 9 11 13 15 17 19 21 23 25"
	if strings.Join(got, " ") != want {
		t.Errorf("pages have %v, not %s", got, want)
	}
}

// A reader who is shown nothing is told that the line is open, and how far it is.
func TestIdleStream(t *testing.T) {
	c := newCluster(t, setup{heartbeat: 20 * time.Millisecond})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(0, "r", "bob", "guest", nil)
	k := c.watch(1, "r", c.token("r", "bob", "guest"), "")
	k.begins()
	if !k.wait(func() bool { return k.comments > 2*cursorBeats }) || len(k.inbox) > 0 {
		t.Errorf("%d comments, %v", k.comments, k.inbox)
	}
	ann.ok("broadcast", object{"info": object{"message": 1}, "peer_id": "ann"})
	e := k.next("on-cursor")
	if at(t, e.data, "cursor") != e.id || !strings.Contains(e.id, ".3.") {
		t.Errorf("told %v", e)
	}
	beats := k.comments
	if !k.wait(func() bool { return k.comments > beats+2*cursorBeats }) || len(k.inbox) > 0 {
		t.Errorf("told again: %v", k.inbox)
	}
	k.cut()
	bob.ok("set-metadata", object{"data": 1})
	c.watch(0, "r", c.token("r", "bob", "guest"), e.id).next("on-metadata-change", "seq", "4")
}

func TestStreamsEndWithTheNode(t *testing.T) {
	c := newCluster(t, setup{})
	c.join(0, "r", "ann", "host", nil)
	k := c.watch(1, "r", c.server(), "")
	k.begins()
	empty := c.watch(1, "none", c.server(), "")
	if err := c.nodes[1].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.over()
	empty.over()
	if n := c.nodes[1].Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	c.doAt(1, "GET", "/v1/rooms/r/events", c.server(), "").problem(503, "unavailable")
	k = c.watch(0, "r", c.server(), k.lastID())
	if got := k.before(c.mark("r")); got != "" {
		t.Errorf("after the move came %q", got)
	}
}

// Who doesn't read loses the stream, and the node keeps no more than the bound.
func TestStreamThatIsNotRead(t *testing.T) {
	c := newCluster(t, setup{})
	ann := c.join(0, "r", "ann", "host", nil)
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", c.nodes[1].addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	if _, err := fmt.Fprintf(nc, "GET /v1/rooms/r/events?token=%s HTTP/1.1\r\nHost: x\r\n\r\n", c.server()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stream", func() bool { return c.nodes[1].Streams() == 1 })
	big := strings.Repeat("x", 60<<10)
	for range 400 {
		ann.ok("broadcast", object{"info": object{"message": big}})
		if c.nodes[1].Streams() == 0 {
			break
		}
	}
	eventually(t, "no streams", func() bool { return c.nodes[1].Streams() == 0 })
	text := make([]byte, len("HTTP/1.1 200")) // not all that the kernel has: through so small a buffer it takes minutes
	if _, err := io.ReadFull(nc, text); err != nil || string(text) != "HTTP/1.1 200" {
		t.Errorf("%q: %v", text, err)
	}
}

// The node's subscription breaks: who is in a session misses nothing, and who waits for one is told that it may have.
func TestStreamsWhenTheSubscriptionBreaks(t *testing.T) {
	c := newClusterOn(t, redistest.Real(t), setup{})
	ann := c.join(0, "r", "ann", "host", nil)
	k := c.watch(1, "r", c.server(), "")
	k.begins()
	idle := c.watch(1, "none", c.server(), "")
	breakIt := func() {
		if err := c.redis.Client(t).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
	}
	breakIt()
	for i := range 20 {
		ann.ok("set-metadata", object{"data": i})
	}
	for i := range 20 {
		k.next("on-metadata-change", "values.0.data", strconv.Itoa(i))
	}
	idle.next("on-session-end", "recovered", "false", "epoch", absent)
	bob := c.join(0, "none", "bob", "host", nil)
	idle.next("on-session-start", "session_id", bob.sess)
	idle.next("on-peer-join")
	ann.ok("end-room", nil)
	k.next("on-session-end", "recovered", absent)
	breakIt()
	k.next("on-session-end", "recovered", "false")
	ann = c.join(0, "r", "ann", "host", nil)
	k.next("on-session-start", "session_id", ann.sess)
}
