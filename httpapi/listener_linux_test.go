package httpapi

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/auth"
)

// door is a further address of a node, at which connections of the HTTP server are counted.
type door struct {
	addr   string
	front  net.Listener // what its HTTP server listens to
	served atomic.Int64
}

// door opens one: the node's own kind, or one at which net/http does it all.
func (c *cluster) door(own bool) *door {
	c.Helper()
	l, err := new(net.ListenConfig).Listen(c.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	d := &door{addr: l.Addr().String(), front: l}
	if own {
		d.front = c.nodes[0].Listener(l)
	}
	hs := c.nodes[0].HTTPServer()
	hs.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			d.served.Add(1)
		}
	}
	served := make(chan struct{})
	go func() { // ends with hs.Close
		defer close(served)
		_ = hs.Serve(d.front)
	}()
	c.Cleanup(func() {
		_ = hs.Close()
		<-served
	})
	return d
}

// own returns the listener of a door of the node's own kind.
func (d *door) own() *listener { return d.front.(*listener) } //nolint:errcheck // it is one

// connect returns a connection to it that nothing was sent by.
func (d *door) connect(c *cluster) *net.TCPConn {
	c.Helper()
	nc, err := new(net.Dialer).DialContext(c.Context(), "tcp", d.addr)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc.(*net.TCPConn) //nolint:errcheck // as dialed
}

// joins sends a request that opens a WebSocket, in pieces that end at some bytes of it, and joins.
func (d *door) joins(c *cluster, peer string, ends ...int) {
	c.Helper()
	nc := d.connect(c)
	text, from := opens("?peer="+peer+"&token="+c.token("r", peer, "guest")), 0
	for _, end := range append(ends, len(text)) {
		served := d.served.Load()
		if _, err := io.WriteString(nc, text[from:end]); err != nil {
			c.Fatal(err)
		}
		if from = end; end < len(text) {
			eventually(c, "the first piece has been read", func() bool { return d.served.Load() > served || end != ends[0] })
		}
	}
	br := bufio.NewReader(nc)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		c.Fatalf("%+v, %v", res, err)
	}
	_ = res.Body.Close()
	c.attach(nc, br).ok("join", nil)
}

// WebSockets are opened without the HTTP server, unless the request comes in pieces; all else is the HTTP server's.
func TestListenerOpensWebSockets(t *testing.T) {
	for name, s := range waysToOpen {
		t.Run(name, func(t *testing.T) { opensWebSockets(t, newCluster(t, s)) })
	}
}

// waysToOpen are where a request is read and answered: in the poller's round, and by goroutines.
var waysToOpen = map[string]setup{
	"in a round":       {nodes: 1},
	"after a slow log": {nodes: 1, debug: true},
	"by a public key":  {nodes: 1, keys: noKeys{}},
}

// noKeys is a source that knows no key: a token may be of one.
type noKeys struct{}

func (noKeys) Find(string) (auth.Key, bool) { return auth.Key{}, false }

func opensWebSockets(t *testing.T, c *cluster) {
	d := c.door(true)
	d.joins(c, "ann")
	d.joins(c, "bob")
	if n := d.served.Load(); n != 0 {
		t.Errorf("%d connections of two were the HTTP server's", n)
	}
	d.joins(c, "cat", 1)
	d.joins(c, "dan", 80)
	d.joins(c, "eve", len(opens("")), len(opens(""))+10)
	if n := d.served.Load(); n != 3 {
		t.Errorf("%d connections of three were the HTTP server's", n)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.addr+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(r)
	if err != nil || res.StatusCode != http.StatusOK || d.served.Load() != 4 {
		t.Errorf("%+v, %v, %d", res, err, d.served.Load())
	}
	if err == nil {
		_ = res.Body.Close()
	}
	const count = `hearth_http_requests_total{method="GET",route="/v1/ws",status="200"} `
	eventually(t, "five openings are counted", func() bool {
		_, after, _ := strings.Cut(c.do("GET", "/metrics", "", "").is(http.StatusOK).body, count)
		return strings.HasPrefix(after, "5\n")
	})
}

// A client may send on before it is answered: what comes right behind a request of the size that is read at once is not left.
func TestListenerReadsOn(t *testing.T) {
	for name, s := range waysToOpen {
		t.Run(name, func(t *testing.T) { readsOn(t, newCluster(t, s)) })
	}
}

func readsOn(t *testing.T, c *cluster) {
	d := c.door(true)
	query := "?peer=ann&token=" + c.token("r", "ann", "guest")
	text := opens(query, "X: "+strings.Repeat("x", readBuffer-len(opens(query, "X: "))))
	nc := d.connect(c)
	if _, err := io.WriteString(nc, text+string(part(ws.OpText, true, `{"id":1,"method":"join"}`))); err != nil || len(text) != readBuffer {
		t.Fatal(err, len(text))
	}
	br := bufio.NewReader(nc)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	has(t, "join", c.attach(nc, br).first(), "id", "1", "result.peer_id", "ann")
	if n := d.served.Load(); n != 0 {
		t.Errorf("%d connections were the HTTP server's", n)
	}
}

// What is refused is refused as by net/http, byte by byte; so are odd requests, whatever it does with them.
func TestListenerAnswersAsHTTPDoes(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, origins: []string{"https://good.example"}})
	own, plain := c.door(true), c.door(false)
	answer := func(d *door, text string) string {
		nc := d.connect(c)
		if _, err := io.WriteString(nc, text); err != nil {
			t.Fatal(err)
		}
		_ = nc.CloseWrite()
		b, err := io.ReadAll(nc)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			b = append(b, "\nand "+err.Error()...)
		}
		var lines []string
		for line := range strings.Lines(string(b)) {
			if !strings.HasPrefix(line, "Date: ") {
				lines = append(lines, line)
			}
		}
		return strings.ReplaceAll(strings.Join(lines, ""), d.addr, "ADDR")
	}
	texts := map[string]string{
		"no token":         opens(""),
		"a bad token":      opens("?token=x"),
		"an origin":        opens("?token=x", "Origin: https://evil.example"),
		"a good origin":    opens("?token=x", "Origin: https://good.example"),
		"a server's token": opens("?token=" + c.server()),
		"an end":           opens("?token=" + c.token("r", "x", "guest")),
	}
	maps.Copy(texts, odd)
	for name, text := range texts {
		if text == "" || strings.HasPrefix(name, "a second") { // which net/http answers as it likes
			continue
		}
		if got, want := answer(own, text), answer(plain, text); got != want {
			t.Errorf("%s is answered\n%s\nby net/http\n%s", name, got, want)
		}
	}
	c.nodes[0].refuse()
	if got := answer(own, opens("?token="+c.token("r", "x", "guest"))); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a stopping node answers\n%s", got)
	}
}

// Who connects and says nothing, or does not say all, is given up.
func TestListenerGivesUp(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, headTimeout: 50 * time.Millisecond})
	d := c.door(true)
	for name, text := range map[string]string{"nothing": "", "half": opens("")[:80]} {
		nc := d.connect(c)
		if _, err := io.WriteString(nc, text); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(nc); err != nil || len(b) > 0 && text == "" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	eventually(t, "nobody is waited for", func() bool { return d.own().guests() == 0 })
}

// guests returns how many are there of whom nothing has come.
func (l *listener) guests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Close closes whom nothing has come of, and leaves WebSockets alone.
func TestListenerCloses(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	d := c.door(true)
	silent := d.connect(c)
	ann := d.connect(c)
	eventually(t, "both are there", func() bool { return d.own().guests() == 2 })
	if _, err := io.WriteString(ann, opens("?peer=ann&token="+c.token("r", "ann", "guest"))); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(ann)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	k := c.attach(ann, br)
	for range 2 {
		if err := d.front.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if b, err := io.ReadAll(silent); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	if n := d.own().guests(); n != 0 {
		t.Errorf("%d are waited for", n)
	}
	if nc, err := d.front.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepts %v, %v", nc, err)
	}
	ours, theirs := net.Pipe()
	d.own().pass(ours) // one that was just being read
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("what comes to a closed listener is not closed: %v", err)
	}
	k.ok("join", nil)
}

// feeder is a listener that accepts what it is fed.
type feeder struct {
	net.Listener

	next  chan any // errors and connections
	asked atomic.Int64
}

func (f *feeder) Accept() (net.Conn, error) {
	f.asked.Add(1)
	switch next := (<-f.next).(type) {
	case net.Conn:
		return next, nil
	case error:
		return nil, next
	}
	return nil, net.ErrClosed
}

func (f *feeder) Close() error {
	close(f.next)
	return nil
}

// The HTTP server is told when nothing can be accepted, each time, and nothing more is accepted until it was: it waits then. What
// is no TCP goes to it as it is.
func TestListenerFails(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	inner := &feeder{next: make(chan any, 3)}
	front := c.nodes[0].Listener(inner)
	first, second := errors.New("too many files"), errors.New("still too many")
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	inner.next <- first
	inner.next <- second
	inner.next <- ours
	for i, want := range []error{first, second} {
		if nc, err := front.Accept(); !errors.Is(err, want) {
			t.Errorf("accepts %v, %v", nc, err)
		}
		if n := inner.asked.Load(); n > int64(i)+2 {
			t.Errorf("asked %d times after %d failures were told", n, i+1)
		}
	}
	if nc, err := front.Accept(); err != nil || nc != ours {
		t.Errorf("accepts %v, %v", nc, err)
	}
	if err := front.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkOpen opens WebSockets, and closes them.
func BenchmarkOpen(b *testing.B) {
	for name, own := range map[string]bool{"by itself": true, "by net-http": false} {
		b.Run(name, func(b *testing.B) {
			c := newCluster(b, setup{nodes: 1})
			d := c.door(own)
			text, answer := opens("?peer=ann&token="+c.token("r", "ann", "guest")), make([]byte, 1024)
			b.ReportAllocs()
			for b.Loop() {
				nc, err := new(net.Dialer).DialContext(b.Context(), "tcp", d.addr)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.WriteString(nc, text); err != nil {
					b.Fatal(err)
				}
				if n, err := nc.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 101 ") {
					b.Fatalf("%s, %v", answer[:n], err)
				}
				_ = nc.Close()
			}
		})
	}
}
