package redisurl

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	redistest.Main(m)
}

// silence is where the client says what it comes across, all of which is provoked here.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// wire is a dialer whose connections can lose replies: the server has done what it was asked, and nobody hears of it.
type wire struct {
	lose  atomic.Pointer[loss]
	lost  atomic.Int64
	dials atomic.Int64
}

// loss says which replies are lost: those to what contains word, which is in lower case; and how the reader finds out.
type loss struct {
	word string
	as   error
}

var (
	closed  = io.EOF
	timeout = &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
)

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.dials.Add(1)
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &lossy{Conn: c, wire: w}, nil
}

type lossy struct {
	net.Conn
	wire *wire
	as   error // of the reply that comes next
}

func (c *lossy) Write(b []byte) (int, error) {
	if l := c.wire.lose.Load(); l != nil && bytes.Contains(bytes.ToLower(b), []byte(l.word)) {
		c.as = l.as
	}
	return c.Conn.Write(b)
}

func (c *lossy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b) // the server has answered
	if c.as == nil {
		return n, err
	}
	if err == nil {
		c.wire.lost.Add(1)
		_ = c.Close()
	}
	return 0, c.as
}

// open returns a client of a URL over a wire.
func open(t *testing.T, url string, w *wire) redis.UniversalClient {
	t.Helper()
	target, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case w == nil:
	case target.cluster != nil:
		target.cluster.Dialer = w.dial
	case target.sentinel != nil:
		target.sentinel.Dialer = w.dial
	default:
		target.single.Dialer = w.dial
	}
	c := target.Client()
	t.Cleanup(func() { _ = c.Close() })
	return c
}
