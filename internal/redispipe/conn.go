package redispipe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
)

// Reader is told what comes by a connection. Its methods are called one after the other, by whoever reads, and must not block.
type Reader interface {
	// Read gets what has come and was not taken yet, and returns how much of it it takes. What it keeps it has to copy. After
	// ErrLater it is told nothing more before Resume. After any other error the connection is of no use.
	Read(r *fiber.Round, b []byte) (int, error)
	// Broken is called when the connection broke by itself, and then nothing more is read.
	Broken(r *fiber.Round, err error)
}

// Conn is a connection that has introduced itself. Start begins to read it; Wait has to be called in the end.
type Conn struct {
	nc     net.Conn
	handle *netpoll.Handle // nil: a goroutine reads
	to     Reader
	closed atomic.Bool
	wg     sync.WaitGroup // of goroutines that read
	told   atomic.Bool    // that something has come, which nobody has looked at

	mu     sync.Mutex // of whoever reads
	now    netpoll.Reader
	buf    []byte
	have   int           // bytes in it that were not taken
	paused chan struct{} // closed by Resume; nil while it is read

	out netpoll.Writer // of whoever writes
}

// Sizes of a buffer: how it begins, and what is kept for the next replies.
const (
	smallBuffer = 16 << 10
	keepBuffer  = 256 << 10
)

// ErrLater is returned by a Reader that has to wait for something before it can be told more.
var ErrLater = errors.New("redispipe: later")

// inOneGo is how many times a connection is read in a round.
const inOneGo = 16

// dialer is a client that knows more of its server than its options say.
type dialer interface {
	DialServer(ctx context.Context) (net.Conn, error)
}

// optioned is a client of one server.
type optioned interface{ Options() *redis.Options }

// Dial connects to the server of a client as that one does, with its credentials, and gives the connection a name, if that is
// not "". A server that forbids that is told by named. When it returns the server has answered.
func Dial(ctx context.Context, client redis.UniversalClient, name string) (c *Conn, named bool, err error) {
	known, ok := client.(optioned)
	if !ok {
		return nil, false, errors.New("redispipe: a client of more than one server")
	}
	o := known.Options()
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	var nc net.Conn
	if d, ok := client.(dialer); ok {
		nc, err = d.DialServer(ctx)
	} else {
		nc, err = o.Dialer(ctx, o.Network, o.Addr)
	}
	if err != nil {
		return nil, false, err //nolint:wrapcheck // as the client's
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	c = &Conn{nc: nc}
	named, err = c.introduce(o, name)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, false, &net.OpError{Op: "dial", Net: o.Network, Addr: nc.RemoteAddr(), Err: err}
	}
	return c, named, nil
}

// introduce says who connects, and what for.
func (c *Conn) introduce(o *redis.Options, name string) (named bool, err error) {
	type step struct {
		needed bool
		args   []any
	}
	var steps []step
	user, password := o.Username, o.Password
	if o.CredentialsProvider != nil {
		user, password = o.CredentialsProvider()
	}
	switch {
	case password == "":
	case user == "": // also of servers that know no users
		steps = append(steps, step{true, []any{"auth", password}})
	default:
		steps = append(steps, step{true, []any{"auth", user, password}})
	}
	if o.DB != 0 {
		steps = append(steps, step{true, []any{"select", o.DB}})
	}
	if name != "" {
		steps = append(steps, step{false, []any{"client", "setname", name}})
		named = true
	} else if o.ClientName != "" {
		steps = append(steps, step{false, []any{"client", "setname", o.ClientName}})
	}
	// The kernel takes connections, and what is sent by them, for a server that stands still or wants nobody more: what it would find
	// when it goes on was sent.
	steps = append(steps, step{true, []any{"ping"}})
	var all []byte
	for _, s := range steps {
		if all, err = AppendCommand(all, s.args...); err != nil {
			return false, err
		}
	}
	if _, err = c.nc.Write(all); err != nil {
		return false, err //nolint:wrapcheck // Dial does
	}
	for _, s := range steps {
		reply, err := c.await()
		if err != nil {
			return false, err
		}
		if refused, ok := reply.(Error); ok && s.needed {
			return false, refused
		} else if ok {
			named = false
		}
	}
	return named, nil
}

// await waits for a reply to what was just sent.
func (c *Conn) await() (any, error) {
	var s scanner
	for {
		if n, err := s.next(c.buf[:c.have]); n > 0 || err != nil {
			if err != nil {
				return nil, err
			}
			value, _, err := parse(c.buf[:n])
			c.took(n)
			return value, err
		}
		c.grow()
		n, err := c.nc.Read(c.buf[c.have:])
		if c.have += n; err != nil {
			return nil, err //nolint:wrapcheck // Dial does
		}
	}
}

// Start has the connection read: by a poller, if there is one that can; else by a goroutine.
func (c *Conn) Start(p *netpoll.Poller, to Reader) {
	c.start(p, to)
	if c.handle != nil {
		c.look() // at what was told of before there was a handle
	}
}

func (c *Conn) start(p *netpoll.Poller, to Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = to
	s, ok := c.nc.(syscall.Conn)
	if _, over := c.nc.(*tls.Conn); ok && !over && p != nil {
		if raw, err := s.SyscallConn(); err == nil {
			c.handle, _ = p.Add(raw, c)
		}
	}
	if c.handle == nil {
		c.wg.Go(c.run) // until the connection breaks, or is closed
	}
}

// Write writes all of b, and may wait for that as long as it is told to.
func (c *Conn) Write(b []byte, within time.Duration) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(within))
	_, err := c.nc.Write(b)
	_ = c.nc.SetWriteDeadline(time.Time{}) // it would hold for WriteNow, and over TLS for what reading writes
	return err                             //nolint:wrapcheck // as of net.Conn
}

// WriteNow writes what the server takes without waiting, which may be nothing.
func (c *Conn) WriteNow(b []byte) (int, error) {
	if c.handle == nil {
		return 0, nil
	}
	return c.out.Write(c.handle, b) //nolint:wrapcheck // as of net.Conn
}

// Close closes the connection. Its Reader may still be being told something; see Wait.
func (c *Conn) Close() {
	if c.closed.Swap(true) {
		return
	}
	if c.handle != nil {
		c.handle.Forget()
	}
	_ = c.nc.Close()
}

// Wait closes the connection and returns when its Reader is told nothing any more. A Reader must not call it.
func (c *Conn) Wait() {
	c.Close()
	c.mu.Lock()   // whoever reads later finds it closed
	c.mu.Unlock() //nolint:staticcheck // see above
	c.wg.Wait()
}

// Pending reports whether something has come that was not read. It is said of those that a poller watches.
func (c *Conn) Pending() bool { return c.handle != nil && c.handle.Pending() }

// Resume has a connection read on whose Reader has returned ErrLater, or is just about to. It has to be called then, by a goroutine that
// may read for a while.
func (c *Conn) Resume() {
	c.mu.Lock()
	paused := c.paused
	c.paused = nil
	c.mu.Unlock()
	if paused != nil {
		close(paused)
	}
	if c.handle != nil {
		c.look()
	}
}

// look is Ready in rounds of a goroutine's own, each of which it ends before the next: there may always be more.
func (c *Conn) look() {
	var r fiber.Round
	c.told.Store(true)
	for c.once(&r) {
		r.End()
	}
}

// Ready implements netpoll.Waiter. Nobody waits for who reads already: he looks once more.
func (c *Conn) Ready(r *fiber.Round) {
	c.told.Store(true)
	for c.once(r) {
		continue
	}
}

// once reads what was told of, and reports false if that is nothing more, or somebody else's to read.
func (c *Conn) once(r *fiber.Round) bool {
	if !c.told.Load() || !c.mu.TryLock() {
		return false
	}
	defer c.mu.Unlock()
	c.told.Store(false)
	if c.paused == nil {
		c.read(r)
	}
	return true
}

// read reads what is there, or leaves that to a goroutine if it is much: others wait. c.mu is held.
func (c *Conn) read(r *fiber.Round) {
	if c.closed.Load() { // and maybe waited for: nobody is told anything
		return
	}
	if c.have > 0 && !c.hand(r, 0, nil) { // what was left when its reader had to wait
		return
	}
	for range inOneGo {
		if c.closed.Load() {
			return
		}
		c.grow()
		space := c.buf[c.have:]
		n, err := c.now.Read(c.handle, space)
		if errors.Is(err, netpoll.ErrNothing) {
			return
		}
		if !c.hand(r, n, err) || n < len(space) && !c.handle.Ended() {
			return
		}
	}
	c.wg.Go(c.look) // ends when nothing more is there
}

// run reads until the connection breaks.
func (c *Conn) run() {
	var r fiber.Round
	for more := true; more; r.End() {
		c.mu.Lock()
		c.grow()
		space := c.buf[c.have:]
		c.mu.Unlock()
		n, err := c.nc.Read(space)
		for {
			c.mu.Lock()
			more = !c.closed.Load() && c.hand(&r, n, err)
			paused := c.paused
			c.mu.Unlock()
			if paused == nil {
				break
			}
			r.End()
			<-paused
			n, err = 0, nil
		}
	}
}

// hand hands on what was read, and reports whether more may come. c.mu is held.
func (c *Conn) hand(r *fiber.Round, n int, err error) bool {
	c.have += n
	if c.have > 0 {
		took, failed := c.to.Read(r, c.buf[:c.have])
		c.took(took)
		if failed == ErrLater { //nolint:errorlint // itself
			c.paused = make(chan struct{})
			return false
		}
		if failed != nil {
			err = failed
		}
	}
	switch {
	case err == nil:
		return true
	case c.closed.Load(): // which Read may have done
		return false
	case errors.Is(err, io.EOF):
		err = errEOF
	}
	c.Close()
	c.to.Broken(r, err)
	return false
}

// errEOF is an end that nobody has asked for.
var errEOF = errors.New("the server has closed the connection")

// grow sees to it that there is space to read into.
func (c *Conn) grow() {
	if c.have < len(c.buf) {
		return
	}
	buf := make([]byte, max(smallBuffer, 2*len(c.buf)))
	copy(buf, c.buf[:c.have])
	c.buf = buf
}

// took forgets what the reader took.
func (c *Conn) took(n int) {
	c.have = copy(c.buf, c.buf[n:c.have])
	if c.have == 0 && len(c.buf) > keepBuffer { // one long reply is not kept for ever
		c.buf = nil
	}
}
