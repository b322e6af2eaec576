package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/httpapi"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/wire"
	"github.com/hearthstore/hearth/node"
	"github.com/hearthstore/hearth/store"
)

// cluster is nodes, as servers on loopback, each with a Redis client of its own, on one real Redis.
type cluster struct {
	testing.TB
	client   *redis.Client
	store    *store.Store // beside the nodes, to look at what they did
	verifier *auth.Verifier
	addrs    []string
	http     *http.Client
	server   string // a management token
}

// newCluster starts three nodes on a real server, which keep nobody whose connection is cut. Their scripts are changed by
// mutate, if it is not nil.
func newCluster(tb testing.TB, mutate func(string) string) *cluster {
	tb.Helper()
	return newClusterOn(tb, redistest.Real(tb), time.Millisecond, mutate)
}

// newClusterOn starts three nodes on a server.
func newClusterOn(tb testing.TB, s *redistest.Server, grace time.Duration, mutate func(string) string) *cluster {
	tb.Helper()
	verifier, err := auth.NewVerifier(auth.Config{AccessKey: "app", Secret: "0123456789abcdef0123456789abcdef"})
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	tb.Cleanup(transport.CloseIdleConnections)
	c := &cluster{TB: tb, client: s.Client(tb), verifier: verifier, http: &http.Client{Transport: transport, Timeout: patience}}
	if c.server, err = verifier.Mint(auth.Principal{Management: true}, time.Hour); err != nil {
		tb.Fatal(err)
	}
	open := func() *store.Store {
		client := s.Client(tb)
		if mutate != nil {
			client = clientWith(tb, s, mutate)
		}
		limits := hearth.Limits{Grace: grace, LogEvents: 100_000, LogBytes: 1 << 28}
		st, err := store.New(tb.Context(), client, store.Options{Partitions: 4, Limits: limits})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(st.Close)
		return st
	}
	c.store = open()
	for i := range 3 {
		c.start(i, s.Client(tb), open())
	}
	return c
}

func (c *cluster) start(i int, client *redis.Client, st *store.Store) {
	c.Helper()
	n := node.New(node.Options{ID: "node" + strconv.Itoa(i), Client: client, Store: st, Encode: httpapi.EncodeNotification})
	srv := httpapi.New(httpapi.Options{Node: n, Verifier: c.verifier})
	l, err := new(net.ListenConfig).Listen(c.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	hs := srv.HTTPServer()
	served := make(chan struct{})
	go func() { // ends with hs.Close
		defer close(served)
		_ = hs.Serve(l)
	}()
	c.addrs = append(c.addrs, l.Addr().String())
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

// together runs n calls at the same time.
func (c *cluster) together(n int, call func(i int) error) {
	c.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = call(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.Fatal(err)
	}
}

// do sends a request with the management token to a node. An error says that its outcome is unknown.
func (c *cluster) do(ctx context.Context, node int, method, path, body string, headers ...string) (*wire.Answer, error) {
	return wire.Do(ctx, c.http, method, "http://"+c.addrs[node]+"/v1"+path, c.server, body, headers...)
}

// dial opens a socket to a node as a peer, whose user is u-<peer>.
func (c *cluster) dial(ctx context.Context, node int, room, peer string, hear wire.Hear) (*wire.Conn, error) {
	token, err := c.verifier.Mint(auth.Principal{Room: room, User: "u-" + peer, Role: "host"}, time.Hour)
	if err != nil {
		return nil, err
	}
	return wire.Dial(ctx, "ws://"+c.addrs[node], url.Values{"token": {token}, "peer": {peer}}, hear)
}

// join opens a socket and joins.
func (c *cluster) join(ctx context.Context, node int, room, peer string, params map[string]any, hear wire.Hear) (*wire.Conn, error) {
	w, err := c.dial(ctx, node, room, peer, hear)
	if err != nil {
		return nil, err
	}
	if err := w.Join(params); err != nil {
		w.Cut()
		return nil, fmt.Errorf("%s joins %s: %w", peer, room, err)
	}
	return w, nil
}
