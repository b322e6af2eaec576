package check

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/httpapi"
	"github.com/hearthstore/hearth/internal/redistest"
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
	wires    sync.WaitGroup
}

// newCluster starts three nodes, whose scripts are changed by mutate, if it is not nil.
func newCluster(tb testing.TB, mutate func(string) string) *cluster {
	tb.Helper()
	s := redistest.Real(tb)
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
	tb.Cleanup(c.wires.Wait) // after the nodes, which close what is open
	open := func() *store.Store {
		client := s.Client(tb)
		if mutate != nil {
			client = clientWith(tb, s, mutate)
		}
		st, err := store.New(tb.Context(), client, store.Options{Partitions: 4, Limits: hearth.Limits{Grace: time.Millisecond, LogEvents: 100_000, LogBytes: 1 << 28}})
		if err != nil {
			tb.Fatal(err)
		}
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

// answer is what an HTTP request got.
type answer struct {
	status int
	etag   string
	body   []byte
	reason hearth.Reason
}

// do sends a request with the management token to a node. An error says that its outcome is unknown.
func (c *cluster) do(ctx context.Context, node int, method, path, body string, headers ...string) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.addrs[node]+"/v1"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.server)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{status: res.StatusCode, etag: res.Header.Get("ETag")}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	if a.status >= 400 {
		var p struct {
			Reason hearth.Reason `json:"reason"`
		}
		if err := json.Unmarshal(a.body, &p); err != nil || p.Reason == "" {
			return nil, fmt.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		}
		a.reason = p.Reason
	}
	return a, nil
}

// wire is a client's end of a WebSocket.
type wire struct {
	nc   net.Conn
	hear func(method string, params []byte) // is called by the reader for each notification; may be nil
	conn string                             // conn_id
	sess string                             // session_id
	seq  uint64                             // of the join
	// resumed: the join took a membership over.
	resumed bool

	wmu     sync.Mutex
	mu      sync.Mutex
	ids     int
	waiting map[string]chan []byte
	over    chan struct{}
}

// errCut says that the socket ended before the answer came: whether the call was executed is unknown.
var errCut = errors.New("the socket ended before the answer")

// dial opens a socket to a node as a peer, whose user is u-<peer>.
func (c *cluster) dial(ctx context.Context, node int, room, peer string, hear func(string, []byte)) (*wire, error) {
	token, err := c.verifier.Mint(auth.Principal{Room: room, User: "u-" + peer, Role: "host"}, time.Hour)
	if err != nil {
		return nil, err
	}
	q := url.Values{"token": {token}, "peer": {peer}}
	d := ws.Dialer{Timeout: patience}
	nc, br, _, err := d.Dial(ctx, "ws://"+c.addrs[node]+"/v1/ws?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	w := &wire{nc: nc, hear: hear, waiting: map[string]chan []byte{}, over: make(chan struct{})}
	c.wires.Go(func() { w.read(br) }) // ends with the socket
	return w, nil
}

// join opens a socket and joins.
func (c *cluster) join(ctx context.Context, node int, room, peer string, params map[string]any, hear func(string, []byte)) (*wire, error) {
	w, err := c.dial(ctx, node, room, peer, hear)
	if err != nil {
		return nil, err
	}
	r, err := w.call("join", params)
	if err != nil {
		w.cut()
		return nil, fmt.Errorf("%s joins %s: %w", peer, room, err)
	}
	var j struct {
		Conn    string `json:"conn_id"`
		Session string `json:"session_id"`
		Seq     uint64 `json:"seq"`
		Resumed bool   `json:"resumed"`
	}
	if err := json.Unmarshal(r, &j); err != nil {
		return nil, err
	}
	w.conn, w.sess, w.seq, w.resumed = j.Conn, j.Session, j.Seq, j.Resumed
	return w, nil
}

// rpcError is what a call was refused with.
type rpcError struct {
	Code int `json:"code"`
	Data struct {
		Reason  hearth.Reason   `json:"reason"`
		Current json.RawMessage `json:"current"`
	} `json:"data"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Data.Reason) }

// reasonOf returns the reason of a refusal; "" if err is another error.
func reasonOf(err error) hearth.Reason {
	if e, ok := errors.AsType[*rpcError](err); ok {
		return e.Data.Reason
	}
	return ""
}

// call sends a request and returns its result. A refusal is an *rpcError; errCut leaves the outcome unknown.
func (w *wire) call(method string, params any) (json.RawMessage, error) {
	got, err := w.send(method, params)
	if err != nil {
		return nil, err
	}
	return w.answer(got)
}

// send sends a request; its answer will come by the channel.
func (w *wire) send(method string, params any) (chan []byte, error) {
	b, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	got := make(chan []byte, 1)
	w.mu.Lock()
	w.ids++
	id := strconv.Itoa(w.ids)
	w.waiting[id] = got
	w.mu.Unlock()
	text := `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + string(b) + `}`
	w.wmu.Lock()
	defer w.wmu.Unlock()
	if err := ws.WriteFrame(w.nc, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
		return nil, errCut
	}
	return got, nil
}

func (w *wire) answer(got chan []byte) (json.RawMessage, error) {
	timeout := time.NewTimer(2 * patience) // also for who waits for a lock
	defer timeout.Stop()
	var text []byte
	select {
	case text = <-got:
	case <-w.over:
		select {
		case text = <-got:
		default:
			return nil, errCut
		}
	case <-timeout.C:
		return nil, fmt.Errorf("no answer: %w", errCut)
	}
	var m struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	if m.Error != nil {
		return nil, m.Error
	}
	return m.Result, nil
}

const (
	replyHead = `{"jsonrpc":"2.0","id":`
	noteHead  = `{"jsonrpc":"2.0","method":"`
)

func (w *wire) read(br *bufio.Reader) {
	defer close(w.over)
	defer w.nc.Close()
	for {
		h, err := ws.ReadHeader(br)
		if err != nil {
			return
		}
		b := make([]byte, h.Length)
		if _, err := io.ReadFull(br, b); err != nil {
			return
		}
		switch h.OpCode {
		case ws.OpText:
			w.got(b)
		case ws.OpClose:
			return
		}
	}
}

func (w *wire) got(b []byte) {
	text := string(b)
	if rest, ok := strings.CutPrefix(text, replyHead); ok {
		id, _, _ := strings.Cut(rest, ",")
		w.mu.Lock()
		got := w.waiting[id]
		delete(w.waiting, id)
		w.mu.Unlock()
		if got != nil {
			got <- b
		}
		return
	}
	if w.hear == nil {
		return
	}
	if rest, ok := strings.CutPrefix(text, noteHead); ok {
		method, rest, _ := strings.Cut(rest, `"`)
		w.hear(method, []byte(strings.TrimSuffix(strings.TrimPrefix(rest, `,"params":`), "}")))
	}
}

// cut ends the socket as a broken path does: without a close frame.
func (w *wire) cut() {
	if tcp, ok := w.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.nc.Close()
	<-w.over
}
