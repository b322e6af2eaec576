package redispipe

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// desk is a pipe, and the server at its other end, which takes what it is sent when it is told to. Time stands still until it is
// waited for.
type desk struct {
	*testing.T
	pipe *Pipe
	pool *fiber.Pool[fiberCall]
	wg   sync.WaitGroup // of callers

	mu     sync.Mutex
	away   error      // why nobody can connect
	dialed []net.Conn // the server's ends
}

// at runs a test with a desk.
func at(t *testing.T, test func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t}
		d.pipe = newPipe(nil, nil, d.dial)
		d.pool = fiber.NewPool(func(f *fiber.Fiber, c fiberCall) {
			c.then(c.d.pipe.send(f.Context(c.ctx), newCall(c.ctx, c.d.pipe, c.args)))
		})
		test(d)
		d.pipe.Close()
		d.wg.Wait()
		d.pool.Close()
		for _, nc := range d.dialed {
			_ = nc.Close()
		}
		if p := d.pipe; len(p.queue) != 0 || p.bytes != 0 || len(p.wires) != 0 || p.looking {
			t.Errorf("at rest %d calls of %d bytes wait, for %d connections", len(p.queue), p.bytes, len(p.wires))
		}
	})
}

func (d *desk) dial(context.Context) (*Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away != nil {
		return nil, d.away
	}
	ours, theirs := net.Pipe()
	d.dialed = append(d.dialed, theirs)
	return &Conn{nc: ours}, nil
}

// server returns the server's end of the n-th connection.
func (d *desk) server(n int) *server {
	d.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if n >= len(d.dialed) {
		d.Fatalf("%d connections were made", len(d.dialed))
	}
	return &server{desk: d, nc: d.dialed[n]}
}

func newCall(ctx context.Context, p *Pipe, args []any) *call {
	return &call{Cmd: redis.NewCmd(ctx, args...), pipe: p}
}

// told is what a call was told.
type told struct {
	mu    sync.Mutex
	done  bool
	err   error
	value any
}

func (o *told) outcome() (done bool, value any, err error) {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done, o.value, o.err
}

// call has a goroutine call.
func (d *desk) call(ctx context.Context, args ...any) *told {
	o := &told{}
	c := newCall(ctx, d.pipe, args)
	d.wg.Go(func() {
		err := d.pipe.send(ctx, c)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.done, o.err = true, err
		if err == nil { // else it may be gone, and nobody else's
			o.value = c.Val()
		}
	})
	synctest.Wait()
	return o
}

type fiberCall struct {
	d    *desk
	ctx  context.Context //nolint:containedctx // of the one call
	args []any
	then func(error)
}

// fiberCalls has a fiber call in a round.
func (d *desk) fiberCalls(ctx context.Context, r *fiber.Round, args ...any) *told {
	o := &told{}
	d.pool.Run(r, fiberCall{d, ctx, args, func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.done, o.err = true, err
	}})
	return o
}

func (o *told) is(t *testing.T, what string, wanted error, sent bool) {
	t.Helper()
	done, _, err := o.outcome()
	var e interface{ Sent() bool }
	if !done || !errors.Is(err, wanted) || !errors.As(err, &e) || e.Sent() != sent {
		t.Errorf("%s: told %v: %v, want %v, sent: %v", what, done, err, wanted, sent)
	}
}

func (o *told) waits(t *testing.T, what string) {
	t.Helper()
	if done, value, err := o.outcome(); done {
		t.Errorf("%s: told %v, %v, and should still wait", what, value, err)
	}
}

func (o *told) got(t *testing.T, what string, want any) {
	t.Helper()
	if done, value, err := o.outcome(); !done || err != nil || value != want {
		t.Errorf("%s: told %v: %v, %v, want %v", what, done, value, err, want)
	}
}

// server is the server's end of a connection.
type server struct {
	desk *desk
	nc   net.Conn
}

// take takes what was sent in one write, and returns the second words of the commands.
func (s *server) take() (said []string) {
	s.desk.Helper()
	buf := make([]byte, 8<<20)
	n, err := s.nc.Read(buf)
	if err != nil {
		s.desk.Fatalf("nothing was sent: %v", err)
	}
	for b := buf[:n]; len(b) > 0; {
		var scan scanner
		size, err := scan.next(b)
		if size == 0 || err != nil {
			s.desk.Fatalf("sent was %q: %v", b, err)
		}
		words := make([][]byte, 9)
		if _, err := texts(b[:size], words); err != nil {
			s.desk.Fatal(err)
		}
		said = append(said, string(words[1]))
		b = b[size:]
	}
	return said
}

// takes fails if something else was sent in one write.
func (s *server) takes(want ...string) {
	s.desk.Helper()
	if got := s.take(); !slices.Equal(got, want) {
		s.desk.Errorf("sent together were %d calls: %.200q, want %.200q", len(got), strings.Join(got, ","), strings.Join(want, ","))
	}
	synctest.Wait()
}

// says answers.
func (s *server) says(replies ...any) {
	s.desk.Helper()
	var b []byte
	for _, r := range replies {
		b = answer(b, r)
	}
	if _, err := s.nc.Write(b); err != nil {
		s.desk.Fatal(err)
	}
	synctest.Wait()
}
