package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/auth"
)

// drop is what comes on a socket, after a time.
type drop struct {
	after time.Duration
	bytes []byte
}

// A message that has begun and does not go on holds its reader for messageTimeout, wherever it stops and however it drips;
// between messages there is all the time in the world.
func TestMessagesThatDrip(t *testing.T) {
	n := newCluster(t, setup{nodes: 1}).nodes[0]
	ping, text := part(ws.OpPing, true, "ping"), part(ws.OpText, true, pingText)
	long := header(300) // with two bytes for the length
	first := part(ws.OpText, false, "{")
	one := func(b []byte) []drop { return []drop{{0, b}} }
	drips := func(every time.Duration, b []byte, more ...[]byte) []drop {
		out := []drop{{0, b}}
		for _, m := range more {
			out = append(out, drop{every, m})
		}
		return out
	}
	const forever = 0
	for name, tt := range map[string]struct {
		drops []drop
		gone  time.Duration // when it is given up, after the first byte; forever: not within a day after all came
		got   int           // messages
	}{
		"nothing":                     {nil, forever, 0},
		"a byte of a header":          {one(text[:1]), messageTimeout, 0},
		"no mask":                     {one(text[:2]), messageTimeout, 0},
		"half a mask":                 {one(text[:4]), messageTimeout, 0},
		"half a length":               {one(long[:3]), messageTimeout, 0},
		"a header of eight more":      {one([]byte{0x81, 0xff, 0, 0, 0, 0}), messageTimeout, 0},
		"a header and no more":        {one(text[:6]), messageTimeout, 0},
		"half a text":                 {one(text[:10]), messageTimeout, 0},
		"half a ping":                 {one(ping[:8]), messageTimeout, 0},
		"a ping's first byte":         {one(ping[:1]), messageTimeout, 0},
		"a fragment":                  {one(first), messageTimeout, 0},
		"a fragment and a byte":       {drips(10*time.Second, first, first[:1]), messageTimeout, 0},
		"a fragment now and then":     {drips(12*time.Second, first, part(ws.OpContinuation, false, ""), part(ws.OpContinuation, false, "")), messageTimeout, 0},
		"pings between fragments":     {drips(12*time.Second, first, ping, ping), messageTimeout, 0},
		"a byte now and then":         {drips(8*time.Second, text[:1], text[1:2], text[2:3], text[3:4], text[4:5]), messageTimeout, 0},
		"a whole message":             {one(text), forever, 1},
		"a whole one, late, and idle": {drips(9*time.Second, text[:1], text[1:3], text[3:]), forever, 1},
		"a ping, late, and idle":      {drips(9*time.Second, ping[:1], ping[1:7], ping[7:]), forever, 0},
		"one in fragments, and idle":  {drips(9*time.Second, first, part(ws.OpContinuation, true, "}")), forever, 1},
		"a minute between two":        {drips(time.Minute, text, text, ping, text), forever, 3},
		"late and then half a one":    {drips(20*time.Second, text[:1], text[1:], text[:9]), 40*time.Second + messageTimeout, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				c := newConn(n.Server, ours, bufio.NewReaderSize(ours, readBuffer), &auth.Principal{}, "")
				defer c.cancel()
				read := make(chan struct{})
				go func() { // what it is answered; ends with the pipe
					defer close(read)
					_, _ = io.Copy(io.Discard, theirs)
				}()
				began := time.Now()
				var got atomic.Int64
				var gone time.Duration
				ended := make(chan struct{})
				go func() { // ends with the connection
					defer close(ended)
					for {
						_, what, _, _ := c.message()
						if what == gotEnd {
							gone = time.Since(began)
							_ = ours.Close()
							return
						}
						if what == gotMessage {
							got.Add(1)
						}
					}
				}()
				for _, d := range tt.drops {
					<-time.After(d.after)
					if _, err := io.Copy(theirs, bytes.NewReader(d.bytes)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
						t.Errorf("write: %v", err)
					}
				}
				select {
				case <-ended:
				case <-time.After(24 * time.Hour):
				}
				select {
				case <-ended:
					if gone != tt.gone || int(got.Load()) != tt.got {
						t.Errorf("given up after %s with %d messages, not %s with %d", gone, got.Load(), tt.gone, tt.got)
					}
				default:
					if tt.gone != forever || int(got.Load()) != tt.got {
						t.Errorf("not given up with %d messages, not %s with %d", got.Load(), tt.gone, tt.got)
					}
				}
				_ = theirs.Close()
				<-ended
				<-read
			})
		})
	}
}

// pipes is a listener whose connections are made by hand.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if nc, ok := <-p; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// A request that drips is given up: its head after 10 s, all of it after 30 s, and a connection that is kept after 2 min.
func TestRequestsThatDrip(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	put := "PUT /v1/rooms/r/metadata/k HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + c.server() + "\r\nContent-Length: 1000\r\n\r\n"
	for name, tt := range map[string]struct {
		first string
		then  string // each second
		gone  time.Duration
	}{
		"nothing":               {"", "", 10 * time.Second},
		"half a head":           {"GET /healthz HTTP/1.1\r\nHo", "", 10 * time.Second},
		"a head that drips":     {"GET /healthz HTTP/1.1\r\nHost: h\r\nX: ", "x", 10 * time.Second},
		"headers one by one":    {"GET /healthz HTTP/1.1\r\nHost: h\r\n", "X: y\r\n", 10 * time.Second},
		"half of a handshake":   {"GET /v1/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n", "", 10 * time.Second},
		"a body that drips":     {put, "1", 30 * time.Second},
		"a body that stays out": {put, "", 30 * time.Second},
		"idle":                  {"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", "", 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hs, in := c.nodes[0].HTTPServer(), make(pipes)
				served, read := make(chan struct{}), make(chan time.Duration, 1)
				go func() { // ends with the listener
					defer close(served)
					_ = hs.Serve(in)
				}()
				ours, theirs := net.Pipe()
				in <- ours
				began := time.Now()
				go func() { // ends with the pipe
					_, _ = io.Copy(io.Discard, theirs)
					read <- time.Since(began)
				}()
				_, err := io.WriteString(theirs, tt.first)
				for tt.then != "" && err == nil {
					<-time.After(time.Second)
					_, err = io.WriteString(theirs, tt.then)
				}
				if gone := <-read; gone < tt.gone || gone > tt.gone+time.Second { // what is left is read for half a second
					t.Errorf("given up after %s, not %s", gone, tt.gone)
				}
				close(in)
				_ = hs.Close()
				<-served
			})
		})
	}
}
