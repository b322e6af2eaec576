package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/wire"
)

// Times of nodes in the quick half: as short as the product allows them to be, so that what has to pass passes soon.
const (
	shortGrace = 2 * time.Second
	shortLease = 6 * time.Second
)

// options say how a cluster is made. The zero value is three nodes with short times, on the server of its own.
type options struct {
	redis        *redistest.Server // where the nodes' data is; nil: a real server of the cluster's own
	url          string            // HEARTH_REDIS, where it is not the server's: sentinels, a cluster
	nodes        int               // 0: three
	grace, lease time.Duration     // 0: shortGrace, shortLease
	partitions   int               // 0: four
	links        bool              // each node has a link that can be cut
	race         bool              // the binary has the race detector
	binary       string            // another build of the product
	env          map[string]string // more settings, HEARTH_*
}

// cluster is nodes, as processes, on one Redis. Nodes that have ended stay in the list.
type cluster struct {
	testing.TB
	o        options
	prefix   string
	redis    *redis.Client // beside the nodes, to look and to disturb; nil where o.url was given without a server
	verifier *auth.Verifier
	server   string // a management token
	http     *http.Client
	books    *books

	mu    sync.Mutex
	nodes []*process
	count int
}

// newCluster starts nodes and returns when they are ready.
func newCluster(tb testing.TB, o options) *cluster {
	tb.Helper()
	if o.redis == nil && o.url == "" {
		o.redis = redistest.Real(tb)
	}
	if o.nodes == 0 {
		o.nodes = 3
	}
	if o.grace == 0 {
		o.grace = shortGrace
	}
	if o.lease == 0 {
		o.lease = shortLease
	}
	if o.partitions == 0 {
		o.partitions = 4
	}
	const key, secret = "faults", "0123456789abcdef0123456789abcdef"
	verifier, err := auth.NewVerifier(auth.Config{AccessKey: key, Secret: secret})
	if err != nil {
		tb.Fatal(err)
	}
	c := &cluster{TB: tb, o: o, prefix: "hf", verifier: verifier, books: newBooks()}
	if o.redis != nil {
		c.prefix, c.redis = o.redis.Prefix, o.redis.Client(tb)
		if c.o.url == "" {
			c.o.url = o.redis.URL
		}
		if o.links && o.redis.Mini == nil { // nodes in a namespace do not come from its own address
			if err := c.redis.ConfigSet(tb.Context(), "protected-mode", "no").Err(); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if c.server, err = verifier.Mint(auth.Principal{Management: true}, 24*time.Hour); err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	tb.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport, Timeout: patience}
	c.o.env = maps.Clone(o.env)
	if c.o.env == nil {
		c.o.env = map[string]string{}
	}
	for k, v := range map[string]string{
		"HEARTH_PREFIX": c.prefix, "HEARTH_APP_ACCESS_KEY": key, "HEARTH_APP_SECRET": secret,
		"HEARTH_PARTITIONS": strconv.Itoa(o.partitions), "HEARTH_GRACE": o.grace.String(), "HEARTH_NODE_LEASE": o.lease.String(),
		"HEARTH_LOG_LEVEL": "debug",
	} {
		if _, given := c.o.env[k]; !given {
			c.o.env[k] = v
		}
	}
	for range o.nodes {
		c.launch()
	}
	for _, n := range c.nodes {
		n.await()
	}
	return c
}

// launch starts one more node and doesn't wait for it.
func (c *cluster) launch() *process {
	c.Helper()
	env := maps.Clone(c.o.env)
	env["HEARTH_ADDR"] = "127.0.0.1:0"
	u := c.o.url
	var l link
	if c.o.links {
		addr := strings.TrimPrefix(u, "redis://")
		l = newLink(c, addr)
		env["HEARTH_ADDR"] = l.listenAddr()
		u = strings.Replace(u, addr, l.redisAddr(addr), 1)
	}
	env["HEARTH_REDIS"] = u
	c.mu.Lock()
	c.count++
	name := fmt.Sprintf("node%d", c.count)
	c.mu.Unlock()
	env["HEARTH_NODE_ID"] = name
	path := c.o.binary
	if path == "" {
		path = binary(c, c.o.race)
	}
	p := launch(c, name, path, l, env)
	c.mu.Lock()
	c.nodes = append(c.nodes, p)
	c.mu.Unlock()
	return p
}

// start starts one more node, at a port of its own.
func (c *cluster) start() *process {
	c.Helper()
	return c.launch().await()
}

// restart starts a node in the place of the i-th, which has ended.
func (c *cluster) restart(i int) *process {
	c.Helper()
	p := c.start()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = c.nodes[:len(c.nodes)-1]
	c.nodes[i] = p
	return p
}

// node returns the i-th node.
func (c *cluster) node(i int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i%len(c.nodes)]
}

// live returns the nodes that have been ready and have not ended.
func (c *cluster) live() (out []*process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.up.Load() && !n.gone() {
			out = append(out, n)
		}
	}
	return out
}

// dial opens a socket to a node as a peer, whose user is u-<peer> and whose role is host.
func (c *cluster) dial(ctx context.Context, n *process, room, peer string, hear wire.Hear) (*wire.Conn, error) {
	token, err := c.verifier.Mint(auth.Principal{Room: room, User: "u-" + peer, Role: "host"}, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	return wire.Dial(ctx, "ws"+strings.TrimPrefix(n.url, "http"), url.Values{"token": {token}, "peer": {peer}}, hear)
}

// join opens a socket and joins, for tests that look after their socket themselves.
func (c *cluster) join(n *process, room, peer string, params map[string]any, hear wire.Hear) *wire.Conn {
	c.Helper()
	w, err := c.dial(c.Context(), n, room, peer, hear)
	if err == nil {
		err = w.Join(params)
	}
	if err != nil {
		c.Fatalf("%s joins %s on %s: %v", peer, room, n.name, err)
	}
	return w
}

// do sends a request with the management token to a node. An error says that its outcome is unknown.
func (c *cluster) do(ctx context.Context, n *process, method, path, body string, headers ...string) (*wire.Answer, error) {
	return wire.Do(ctx, c.http, method, n.url+"/v1"+path, c.server, body, headers...)
}

// read gets a path as a server does, from any node that answers, into v. False: there is no session.
func (c *cluster) read(path string, v any) bool {
	c.Helper()
	var last error
	ok := false
	await(c, "an answer to GET "+path, func() bool {
		for _, n := range c.live() {
			a, err := c.do(c.Context(), n, http.MethodGet, path, "", "Accept", "application/json")
			switch {
			case err != nil:
				last = err
			case a.Reason == hearth.ReasonNoSession:
				return true
			case a.Reason != "":
				last = errors.New(string(a.Body))
			default:
				if err := json.Unmarshal(a.Body, v); err != nil {
					c.Fatalf("GET %s: %v: %s", path, err, a.Body)
				}
				ok = true
				return true
			}
		}
		c.Logf("GET %s: %v", path, last)
		return false
	})
	return ok
}
