package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/testlog"
	"github.com/hearthstore/hearth/node"
	"github.com/hearthstore/hearth/store"
)

// patience is how long a test waits for what has to come: far more than it takes, also beside other tests.
const patience = 15 * time.Second

const (
	testKey    = "app"
	testSecret = "0123456789abcdef0123456789abcdef"
)

// setup says how a cluster differs from the usual one.
type setup struct {
	nodes        int // 2
	dev, debug   bool
	keys         auth.KeySource
	origins      []string
	joinTimeout  time.Duration
	preview      time.Duration
	greetAfter   time.Duration // an hour, so that the order of messages is what tells
	publicWS     string
	acceptRate   float64
	silence      time.Duration // an hour, so that nothing comes but what is expected
	heartbeat    time.Duration
	headTimeout  time.Duration
	closeTimeout time.Duration
	write        time.Duration // the http.Server's WriteTimeout and ReadTimeout, if not the usual ones
	limits       hearth.Limits
	roles        *auth.Roles
	starting     func() // called when a node's store is there, and the node is not
	hook         redis.Hook
}

// cluster is some nodes, as servers on loopback, on one Redis.
type cluster struct {
	testing.TB
	redis    *redistest.Server
	verifier *auth.Verifier
	nodes    []*testNode
	logs     *testlog.Buffer
	http     *http.Client
	marks    *atomic.Int64
}

type testNode struct {
	*Server
	addr string
	node *node.Node
}

// newCluster starts two nodes on a miniredis.
func newCluster(tb testing.TB, s setup) *cluster { return newClusterOn(tb, redistest.Mini(tb), s) }

func newClusterOn(tb testing.TB, server *redistest.Server, s setup) *cluster {
	tb.Helper()
	if s.nodes == 0 {
		s.nodes = 2
	}
	verifier, err := auth.NewVerifier(auth.Config{AccessKey: testKey, Secret: testSecret, Keys: s.keys})
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{}
	tb.Cleanup(transport.CloseIdleConnections)
	c := &cluster{
		TB: tb, redis: server, verifier: verifier, logs: &testlog.Buffer{}, marks: &atomic.Int64{},
		http: &http.Client{Transport: checked(tb, transport), Timeout: patience},
	}
	for range s.nodes {
		c.start(s)
	}
	return c
}

// on returns the cluster as a subtest uses it.
func (c *cluster) on(t *testing.T) *cluster {
	d := *c
	d.TB, d.http = t, &http.Client{Transport: checked(t, c.http.Transport), Timeout: patience}
	return &d
}

func (c *cluster) start(s setup) {
	c.Helper()
	client := c.redis.Client(c)
	if s.hook != nil {
		client.AddHook(s.hook)
	}
	if s.limits.Grace == 0 {
		s.limits.Grace = 50 * time.Millisecond
	}
	poller := redistest.Poller(c)
	st, err := store.New(c.Context(), client, store.Options{Prefix: c.redis.Prefix, Partitions: 4, Limits: s.limits, Poller: poller})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(st.Close)
	if s.greetAfter == 0 {
		s.greetAfter = time.Hour
	}
	if s.starting != nil {
		s.starting()
	}
	level := slog.LevelInfo
	if s.debug { // then much is done by goroutines that is done in rounds else
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(c.logs, &slog.HandlerOptions{Level: level}))
	n := node.New(node.Options{
		ID: "node" + strconv.Itoa(len(c.nodes)), Client: client, Store: st, Encode: EncodeNotification, Log: log,
		Roles: s.roles, Poller: poller,
	})
	srv := New(Options{
		Node: n, Verifier: c.verifier, Dev: s.dev, AllowedOrigins: s.origins, JoinTimeout: s.joinTimeout, PreviewTimeout: s.preview,
		PublicWSURL: s.publicWS, Log: log, Version: "test", greetAfter: s.greetAfter, heartbeat: s.heartbeat,
		AcceptRate: s.acceptRate, headTimeout: s.headTimeout, closeTimeout: s.closeTimeout, silence: cmp.Or(s.silence, time.Hour), Poller: poller,
	})
	l, err := new(net.ListenConfig).Listen(c.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	hs := srv.HTTPServer()
	if s.write > 0 {
		hs.WriteTimeout, hs.ReadTimeout = s.write, s.write
	}
	if len(c.nodes)%2 == 0 { // the others have net/http open their WebSockets
		l = srv.Listener(l)
	}
	served := make(chan struct{})
	go func() { // ends with hs.Close
		defer close(served)
		_ = hs.Serve(l)
	}()
	tn := &testNode{Server: srv, addr: l.Addr().String(), node: n}
	c.nodes = append(c.nodes, tn)
	c.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			c.Errorf("close %s: %v", n.ID(), err)
		}
		_ = hs.Close()
		<-served
		n.Close()
	})
}

// token mints a peer's token: its user is "u-" and the peer's id.
func (c *cluster) token(room, peer, role string) string {
	c.Helper()
	return c.mint(auth.Principal{Room: room, User: "u-" + peer, Role: role})
}

// server mints a management token that is not narrowed.
func (c *cluster) server() string {
	c.Helper()
	return c.mint(auth.Principal{Management: true})
}

func (c *cluster) mint(p auth.Principal) string {
	c.Helper()
	t, err := c.verifier.Mint(p, time.Hour)
	if err != nil {
		c.Fatal(err)
	}
	return t
}

// keys returns the keys that are left in Redis beside those of the nodes themselves and the summaries of ended sessions.
func (c *cluster) keys() []string {
	c.Helper()
	client := c.redis.Client(c)
	all, err := client.Keys(c.Context(), c.redis.Prefix+":*").Result()
	if err != nil {
		c.Fatal(err)
	}
	var out []string
	for _, k := range all {
		switch _, kind, _ := strings.Cut(k, "}:"); {
		case k == c.redis.Prefix+":live", k == c.redis.Prefix+":partitions", kind == "sums", kind == "ended", kind == "nodes", kind == "beat", kind == "gone":
			continue
		case kind == "due":
			items, err := client.ZRange(c.Context(), k, 0, -1).Result()
			if err != nil {
				c.Fatal(err)
			}
			if slices.Equal(items, []string{"sums"}) {
				continue
			}
		}
		out = append(out, k)
	}
	return out
}

// nothingLeft waits until no keys are left: after an end for all the sweep takes the peers off the indexes.
func (c *cluster) nothingLeft() {
	c.Helper()
	eventually(c, "nothing is left in Redis", func() bool { return len(c.keys()) == 0 })
}

// answer is what a request got.
type answer struct {
	testing.TB
	call   string
	status int
	header http.Header
	body   string
	closes bool // the connection ends with it
}

// do sends a request to the first node. headers are pairs.
func (c *cluster) do(method, path, token, body string, headers ...string) *answer {
	c.Helper()
	return c.doAt(0, method, path, token, body, headers...)
}

func (c *cluster) doAt(i int, method, path, token, body string, headers ...string) *answer {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), method, "http://"+c.nodes[i].addr+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatal(err)
	}
	return &answer{TB: c.TB, call: method + " " + path, status: res.StatusCode, header: res.Header, body: string(b), closes: res.Close}
}

// is fails the test unless the answer has the status.
func (a *answer) is(status int) *answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("%s: status %d, not %d: %s", a.call, a.status, status, a.body)
	}
	return a
}

// problem fails the test unless the answer is a problem of that status and reason in the shape that all have.
func (a *answer) problem(status int, reason hearth.Reason) *answer {
	a.Helper()
	a.is(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.Errorf("%s: Content-Type %q: %s", a.call, got, a.body)
	}
	var p struct {
		Type, Title, Detail, Reason string
		Status                      int
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		a.Fatalf("%s: %v: %s", a.call, err, a.body)
	}
	if p.Reason != string(reason) || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" ||
		!strings.HasSuffix(p.Type, "#reason-"+p.Reason) {
		a.Errorf("%s: not the problem %s: %s", a.call, reason, a.body)
	}
	return a
}

// at returns a part of the body; see at.
func (a *answer) at(path string) string {
	a.Helper()
	return at(a, a.body, path)
}

// has fails the test unless parts of the body, named and given in pairs, are so.
func (a *answer) has(pairs ...string) *answer {
	a.Helper()
	has(a, a.call, a.body, pairs...)
	return a
}

// absent is what at returns for what isn't there.
const absent = "(absent)"

// at returns a part of a JSON text as a string: path is member names and indices with dots between; "#" is a length.
func at(tb testing.TB, text, path string) string {
	tb.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		tb.Fatalf("%v: %q", err, text)
	}
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			if name == "#" {
				return strconv.Itoa(len(in))
			}
			var ok bool
			if v, ok = in[name]; !ok {
				return absent
			}
		case []any:
			if name == "#" {
				return strconv.Itoa(len(in))
			}
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return absent
			}
			v = in[i]
		default:
			return absent
		}
	}
	switch v := v.(type) {
	case nil:
		return "null"
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		return string(b)
	}
	return fmt.Sprint(v)
}

func has(tb testing.TB, what, text string, pairs ...string) {
	tb.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := at(tb, text, pairs[i]); got != pairs[i+1] {
			tb.Errorf("%s: %s is %s, not %s: %s", what, pairs[i], got, pairs[i+1], text)
		}
	}
}

func hearthError(tb testing.TB, err error) *hearth.Error {
	tb.Helper()
	e, ok := errors.AsType[*hearth.Error](err)
	if !ok {
		tb.Fatalf("no hearth.Error: %v", err)
	}
	return e
}

// eventually waits until ok is so, for what tells nobody when it happens.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("not in %s: %s", patience, what)
		}
	}
}
