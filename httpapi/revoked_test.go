package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/node"
	"github.com/hearthstore/hearth/store"
)

// revoke revokes what body names, at the first node, and returns the revocation's id.
func (c *cluster) revoke(body string) string {
	c.Helper()
	a := c.do("POST", "/v1/revocations", c.server(), body)
	if a.status != http.StatusCreated && a.status != http.StatusOK {
		c.Fatalf("%s: %d %s", body, a.status, a.body)
	}
	return a.at("id")
}

// jti returns the jti of a token.
func (c *cluster) jti(token string) string {
	c.Helper()
	p, err := c.verifier.Verify(token)
	if err != nil {
		c.Fatal(err)
	}
	return p.TokenID
}

// later mints a token that was issued in a while.
func (c *cluster) later(p auth.Principal, d time.Duration) string {
	c.Helper()
	v, err := auth.NewVerifier(auth.Config{AccessKey: testKey, Secret: testSecret, Now: func() time.Time { return time.Now().Add(d) }})
	if err != nil {
		c.Fatal(err)
	}
	t, err := v.Mint(p, time.Hour)
	if err != nil {
		c.Fatal(err)
	}
	return t
}

// Every route that wants a token refuses one that is revoked, and so do the WebSocket and refresh-token: at once on the node that
// was told, soon on the others.
func TestRevokedTokensAreRefused(t *testing.T) {
	c := newCluster(t, setup{})
	peer := auth.Principal{Room: "r", User: "u-ann", Role: "host"}
	revoked, server, good := c.mint(peer), c.mint(auth.Principal{Management: true}), c.mint(peer)
	k := c.dial(0, []string{"token", good, "peer", "ann"})
	for _, token := range []string{revoked, server} {
		c.revoke(`{"jti":"` + c.jti(token) + `"}`)
	}
	eventually(t, "the other node knows", func() bool { return c.doAt(1, "GET", "/init", revoked, "").status == http.StatusUnauthorized })
	tried := 0
	for i, n := range c.nodes {
		for _, r := range n.echo.Routes() {
			if !strings.HasPrefix(r.Path, "/v1/") && r.Path != "/init" || r.Path == wsPath || r.Method == "echo_route_not_found" {
				continue
			}
			tried++
			path := r.Path
			for _, param := range []string{":room", ":user", ":session", ":peer", ":key", ":name", ":id"} {
				path = strings.Replace(path, param, "r", 1)
			}
			for _, token := range []string{revoked, server} {
				r := httptest.NewRequestWithContext(t.Context(), r.Method, path, http.NoBody)
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				c.nodes[i].Handler().ServeHTTP(w, r)
				if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "the token was revoked") {
					t.Errorf("%s %s at node %d: %d %s", r.Method, path, i, w.Code, w.Body)
				}
			}
		}
		for _, how := range []*client{
			c.dial(i, []string{"token", revoked}), c.dial(i, nil, "Authorization", "Bearer "+revoked),
			c.dial(i, []string{"token", revoked, "protocol_spec", "20240720"}),
		} {
			how.closed(node.CloseAuth)
			if how.reason != "the token was revoked" {
				t.Errorf("closed for %q", how.reason)
			}
		}
		c.doAt(i, "GET", "/v1/rooms/r", good, "").is(200)
	}
	if tried < 2*30 {
		t.Errorf("only %d routes", tried)
	}
	k.fails("refresh-token", object{"token": revoked}, 401, "unauthenticated")
	k.ok("join", nil)
	k.ok("refresh-token", object{"token": c.mint(peer)})
}

// What is open by a revoked token ends, on every node, and nothing else does.
func TestRevokingEndsWhatIsOpen(t *testing.T) {
	each(t, func(c *cluster) {
		ann := auth.Principal{Room: "r", User: "ü \"x\"", Role: "host"}
		stolen, own := c.mint(ann), c.mint(ann)
		bob := c.join(1, "r", "bob", "guest", nil)
		stream := c.watch(1, "r", c.token("r", "bob", "guest"), "")
		stream.begins()
		open := func(token string) (ends func(), stays func()) {
			var sockets []*client
			var streams []*reading
			for i := range 2 {
				joined := c.dial(i, []string{"token", token, "peer", fmt.Sprint("p"+token[len(token)-8:], i)})
				joined.ok("join", nil)
				idle := c.dial(i, []string{"token", token})
				idle.ok("ping", nil)
				refreshed := c.dial(i, []string{"token", c.mint(ann)})
				refreshed.ok("refresh-token", object{"token": token})
				s := c.watch(i, "r", token, "")
				s.begins()
				sockets, streams = append(sockets, joined, idle, refreshed), append(streams, s)
			}
			return func() {
					for _, k := range sockets {
						k.closed(node.CloseAuth)
					}
					for _, s := range streams {
						s.over()
					}
				}, func() {
					for _, k := range sockets {
						k.ok("ping", nil)
					}
				}
		}
		stolenEnds, _ := open(stolen)
		ownEnds, ownStays := open(own)
		c.revoke(`{"jti":"` + c.jti(stolen) + `"}`)
		stolenEnds()
		ownStays()
		// Another token in its place is what counts.
		refreshed := c.dial(1, []string{"token", c.mint(ann)})
		later := c.later(ann, 5*time.Second)
		refreshed.ok("refresh-token", object{"token": later})
		c.revoke(`{"user_id":"ü \"x\""}`)
		ownEnds()
		c.doAt(0, "GET", "/v1/rooms/r", own, "").problem(401, "unauthenticated")
		refreshed.ok("ping", nil)
		c.dial(0, []string{"token", later, "peer", "again"}).ok("join", nil)
		c.doAt(0, "GET", "/v1/rooms/r", later, "").is(200)
		bob.ok("ping", nil)
		stream.before(c.mark("r"))
	})
}

func TestRevocations(t *testing.T) {
	each(t, func(c *cluster) {
		s, token := c.server(), c.token("r", "ann", "host")
		jti := c.jti(token)
		until := time.Now().Add(time.Hour).UnixMilli()
		a := c.do("POST", "/v1/revocations", s, fmt.Sprintf(`{"jti":%q,"until":%d}`, jti, until)).is(201)
		a.has("jti", jti, "user_id", absent, "until", strconv.FormatInt(until, 10), "id", hearth.RevocationID(jti, ""))
		c.do("POST", "/v1/revocations", s, fmt.Sprintf(`{"jti":%q,"until":%d}`, jti, until-1000)).is(200).
			has("id", a.at("id"), "until", strconv.FormatInt(until, 10))
		c.do("POST", "/v1/revocations", s, `{"user_id":"a\"b","until":null}`).is(201).has("user_id", `a"b`, "jti", absent)
		c.doAt(1, "GET", "/v1/revocations", s, "").is(200).has("revocations.#", "2", "revocations.0.user_id", `a"b`, "revocations.1.jti", jti)
		page := c.do("GET", "/v1/revocations?limit=1", s, "").is(200).has("revocations.#", "1")
		c.do("GET", "/v1/revocations?limit=1&cursor="+page.at("cursor"), s, "").is(200).
			has("revocations.#", "1", "revocations.0.jti", jti, "cursor", absent)
		c.do("GET", "/v1/revocations?jti="+jti, s, "").is(200).has("revocations.#", "1", "revocations.0.id", a.at("id"))
		c.do("GET", "/v1/revocations?user_id="+jti, s, "").is(200).has("revocations.#", "0")

		c.do("GET", "/v1/rooms/r", token, "").problem(401, "unauthenticated")
		c.doAt(1, "DELETE", "/v1/revocations/"+a.at("id"), s, "").is(200)
		c.doAt(1, "GET", "/v1/rooms/r", token, "").is(200)
		eventually(c, "good again on the other node", func() bool { return c.do("GET", "/v1/rooms/r", token, "").status == 200 })
		c.do("DELETE", "/v1/revocations/"+a.at("id"), s, "").problem(404, "not_found")

		for _, bad := range []string{
			`{}`, `{"jti":"","user_id":""}`, `{"jti":"a","user_id":"b"}`, `{"jti":"a\nb"}`, `{"user_id":"` + strings.Repeat("x", 257) + `"}`,
			`{"jti":"` + strings.Repeat("x", 257) + `"}`, `{"jti":"a","until":1}`, `{"jti":"a","until":0}`, `{"jti":"a","until":-5}`,
			`{"jti":"a","until":9999999999999}`, `{"jti":"a","until":1.5}`, `{"jti":1}`, `{"user_id":"a","until":"b"}`,
		} {
			c.do("POST", "/v1/revocations", s, bad).problem(400, "bad_params")
		}
		c.do("POST", "/v1/revocations", s, "{").problem(400, "not_json")
		c.do("GET", "/v1/revocations?limit=1001", s, "").problem(400, "bad_params")
		c.do("GET", "/v1/revocations?cursor=x", s, "").problem(400, "bad_params")
		c.do("GET", "/v1/revocations?jti=a&user_id=b", s, "").problem(400, "bad_params")

		for _, token := range []string{c.token("r", "bob", "host"), c.mint(auth.Principal{Management: true, Room: "r"})} {
			c.do("POST", "/v1/revocations", token, `{"jti":"a"}`).problem(403, "forbidden")
			c.do("GET", "/v1/revocations", token, "").problem(403, "forbidden")
			c.do("DELETE", "/v1/revocations/"+a.at("id"), token, "").problem(403, "forbidden")
		}
		c.do("GET", "/v1/revocations", s, "").has("revocations.#", "1")
		c.do("DELETE", "/v1/revocations/"+hearth.RevocationID("", `a"b`), s, "").is(200)
		c.nothingLeft()
	})
}

func TestTooManyRevocations(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	id := c.revoke(`{"jti":"one"}`)
	client := c.redis.Client(t)
	keys, err := client.Keys(t.Context(), c.redis.Prefix+":*:lapses").Result()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	full, till := make([]redis.Z, hearth.MaxRevocations-1), time.Now().Add(time.Hour).UnixMilli()
	for i := range full {
		full[i] = redis.Z{Score: float64(till), Member: strconv.Itoa(i)}
	}
	if err := client.ZAdd(t.Context(), keys[0], full...).Err(); err != nil {
		t.Fatal(err)
	}
	c.do("POST", "/v1/revocations", c.server(), `{"jti":"two"}`).problem(413, "too_many")
	c.do("DELETE", "/v1/revocations/"+id, c.server(), "").is(200)
	c.do("POST", "/v1/revocations", c.server(), `{"jti":"two"}`).is(201)
}

// tellNobody is a script as it would be if what it publishes got lost.
func (c *cluster) tellNobody(r hearth.Revocation) {
	c.Helper()
	client := c.redis.Client(c)
	other, err := store.New(c.Context(), client, store.Options{Prefix: "other", Partitions: 4})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(other.Close)
	if _, _, err := other.Revoke(c.Context(), r); err != nil {
		c.Fatal(err)
	}
	for _, kind := range []string{"lapses", "revoked"} {
		keys, err := client.Keys(c.Context(), "other:*:"+kind).Result()
		if err != nil || len(keys) != 1 {
			c.Fatal(keys, err)
		}
		if err := client.Copy(c.Context(), keys[0], c.redis.Prefix+strings.TrimPrefix(keys[0], "other"), 0, true).Err(); err != nil {
			c.Fatal(err)
		}
	}
}

// A change that goes unheard is known within seconds, and so is that the store has another list than it had: a restored one, or
// none.
func TestUnheardRevocations(t *testing.T) {
	c := newCluster(t, setup{})
	gone, stays := c.token("r", "ann", "guest"), c.token("r", "bob", "guest")
	k, l := c.dial(0, []string{"token", gone}), c.dial(1, []string{"token", stays})
	c.revoke(`{"jti":"something else"}`)
	c.tellNobody(hearth.Revocation{TokenID: c.jti(gone)})
	k.closed(node.CloseAuth)
	l.ok("ping", nil)
	for i := range 2 {
		eventually(t, "known", func() bool { return c.doAt(i, "GET", "/v1/rooms/r", gone, "").status == 401 })
	}
	// A node that starts knows it before anybody can ask.
	c.start(setup{})
	c.doAt(2, "GET", "/v1/rooms/r", gone, "").problem(401, "unauthenticated")
	client := c.redis.Client(t)
	keys, err := client.Keys(t.Context(), c.redis.Prefix+":*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if strings.HasSuffix(key, ":revoked") || strings.HasSuffix(key, ":lapses") {
			if err := client.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 {
		eventually(t, "forgotten with the store", func() bool { return c.doAt(i, "GET", "/v1/rooms/r", gone, "").status == 200 })
	}
}

// What is over is forgotten by the store and by the nodes.
func TestRevocationsAreOver(t *testing.T) {
	c := newCluster(t, setup{})
	token := c.token("r", "ann", "guest")
	c.revoke(fmt.Sprintf(`{"jti":%q,"until":%d}`, c.jti(token), time.Now().Add(time.Minute).UnixMilli()))
	c.revoke(`{"jti":"stays"}`)
	eventually(t, "both know", func() bool { return c.doAt(1, "GET", "/v1/rooms/r", token, "").status == 401 })
	c.redis.Mini.SetTime(time.Now().Add(time.Minute + hearth.RevocationSlack - time.Second))
	set := time.Now()
	for _, n := range c.nodes {
		eventually(t, "asked since", func() bool { _, silent := n.node.Revoked(); return silent < time.Since(set) })
	}
	c.do("GET", "/v1/rooms/r", token, "").problem(401, "unauthenticated")
	c.redis.Mini.SetTime(time.Now().Add(time.Minute + hearth.RevocationSlack + time.Second))
	for i := range c.nodes {
		eventually(t, "over", func() bool { n, _ := c.nodes[i].node.Revoked(); return n == 1 })
		c.doAt(i, "GET", "/v1/rooms/r", token, "").is(200)
	}
}

// While the store can't be asked what was known last stands; a node that never could ask lets nobody in, and is not ready.
func TestRevocationsWithoutTheStore(t *testing.T) {
	mini := redistest.Mini(t)
	c := newClusterOn(t, mini, setup{nodes: 1})
	gone, stays := c.token("r", "ann", "guest"), c.token("r", "bob", "guest")
	open := c.dial(0, []string{"token", stays})
	open.ok("ping", nil)
	c.revoke(`{"jti":"` + c.jti(gone) + `"}`)
	c.start(setup{starting: func() { mini.Mini.SetError("LOADING the test said so") }})
	ask := func(i int, token string) *answer { return c.doAt(i, "GET", "/init", token, "") } // asks the store nothing
	ask(1, gone).problem(503, "unavailable")
	ask(1, stays).problem(503, "unavailable")
	ask(1, "no token").problem(401, "unauthenticated")
	c.dial(1, []string{"token", stays}).closed(node.CloseTryLater)
	c.doAt(1, "GET", "/readyz", "", "").is(503)
	eventually(t, "the other one has tried to ask", func() bool { _, silent := c.nodes[0].node.Revoked(); return silent > 3*time.Second })
	ask(0, gone).problem(401, "unauthenticated")
	ask(0, stays).is(200)
	open.ok("ping", nil)
	mini.Mini.SetError("")
	eventually(t, "known", func() bool { return ask(1, gone).status == 401 })
	ask(1, stays).is(200)
	eventually(t, "ready", func() bool { return c.doAt(1, "GET", "/readyz", "", "").status == 200 })
}

// A token that is revoked after it was verified, and before what is opened by it can be found, opens nothing for long.
func TestRevokedWhileItIsOpened(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	n := c.nodes[0]
	k := c.dial(0, []string{"token", c.token("r", "ann", "guest")})
	for i := range 2 {
		token := c.token("r", "ann", "guest")
		p, err := n.verify(token)
		if err != nil {
			t.Fatal(err)
		}
		c.revoke(`{"jti":"` + p.TokenID + `"}`)
		switch i {
		case 0:
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/rooms/r/events", http.NoBody)
			e := n.echo.NewContext(r, httptest.NewRecorder())
			e.SetParamNames("room")
			e.SetParamValues("r")
			e.Set(principalKey, p)
			if err := n.getEvents(e); hearth.ReasonOf(err) != hearth.ReasonUnauthenticated {
				t.Errorf("a stream was opened, and ended by %v", err)
			}
		case 1:
			n.mu.Lock()
			conns := slices.Collect(maps.Keys(n.conns))
			n.mu.Unlock()
			conns[0].renew(p)
			k.closed(node.CloseAuth)
		}
	}
	// A socket's upgrade can't be stopped in the middle: some are revoked there, and some before or after.
	for range 100 {
		token := c.token("r", "bob", "guest")
		body := `{"jti":"` + c.jti(token) + `"}`
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.revoke(body)
		}()
		c.dial(0, []string{"token", token}).closed(node.CloseAuth)
		<-done
	}
}
