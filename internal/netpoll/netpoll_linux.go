package netpoll

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/rawio"
)

const (
	// arrival is what is told: that something has come, once, and not for as long as it is there.
	arrival = syscall.EPOLLIN | syscall.EPOLLRDHUP | 1<<31 // EPOLLET, which package syscall has as a negative number
	// hangup is of a socket by which nothing comes any more, behind what is there.
	hangup = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	// batch is how many sockets are told of at once.
	batch = 128
)

// Poller watches sockets, by some goroutines.
type Poller struct{ loops []*loop }

// loop is one goroutine's part of the sockets.
type loop struct {
	file *os.File // the epoll; Go's own poller tells when it has something, so that no thread waits for it
	raw  syscall.RawConn
	fd   int

	mu   sync.Mutex
	last uint64 // the id given last; none is given twice
	byID map[uint64]*Handle

	watched atomic.Int64 // how many it has

	ended chan struct{} // closed when its goroutine has
}

// Handle is a socket that is watched. Its id, which the kernel gives back with an event, is its own for ever: an event of
// a closed socket can't be taken for one of the next that has its number.
type Handle struct {
	l   *loop
	id  uint64
	raw syscall.RawConn
	w   Waiter

	ended atomic.Bool
}

// New returns a poller of so many goroutines, each of which has its part of the sockets; 0 for as many as the machine has use for.
// Close has to be called for it, once nothing is watched any more.
func New(goroutines int) (*Poller, error) {
	if goroutines == 0 {
		goroutines = min(max(1, runtime.GOMAXPROCS(0)/2), mostLoops)
	}
	p := &Poller{}
	for range goroutines {
		l, err := newLoop()
		if err != nil {
			_ = p.Close()
			return nil, err
		}
		p.loops = append(p.loops, l)
		go l.run() // until Close, which waits for it
	}
	return p, nil
}

// mostLoops is how many goroutines a poller has of its own accord. What comes together is handled together, so few are better than many,
// as long as they are not short of processors.
const mostLoops = 4

func newLoop() (*loop, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l := &loop{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, byID: map[uint64]*Handle{}, ended: make(chan struct{})}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close()
		return nil, fmt.Errorf("netpoll: %w", err)
	}
	return l, nil
}

// run tells the waiters until Close is called.
func (l *loop) run() {
	defer close(l.ended)
	events := make([]syscall.EpollEvent, batch)
	ready := make([]Waiter, 0, batch)
	var round fiber.Round
	_ = l.raw.Read(func(fd uintptr) bool { // is called again when there is more, and returns when the file is closed
		for {
			n, errno := look(fd, events)
			if errno == syscall.EINTR {
				continue
			}
			if errno != 0 {
				return true
			}
			ready = l.waiters(ready[:0], events[:n])
			for _, w := range ready {
				w.Ready(&round)
			}
			clear(ready)
			round.End()
			if n < len(events) {
				return false
			}
		}
	})
}

// look returns how many events there are. It doesn't wait, so Go's scheduler need not be told of it; see package rawio.
func look(fd uintptr, events []syscall.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	return int(n), errno
}

// waiters appends those whom events concern.
func (l *loop) waiters(to []Waiter, events []syscall.EpollEvent) []Waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		if h := l.byID[id(&events[i])]; h != nil {
			if events[i].Events&hangup != 0 {
				h.ended.Store(true)
			}
			to = append(to, h.w)
		}
	}
	return to
}

// Close frees the poller, and returns when its goroutines have ended: it must not be called by a Waiter.
func (p *Poller) Close() error {
	var failed error
	for _, l := range p.loops {
		failed = errors.Join(failed, l.file.Close())
		<-l.ended
	}
	return failed
}

// Add has a socket watched for w, which is told at once if something is there to read, and then of each time that more comes.
func (p *Poller) Add(raw syscall.RawConn, w Waiter) (*Handle, error) {
	l := p.loops[0]
	for _, other := range p.loops[1:] {
		if other.watched.Load() < l.watched.Load() {
			l = other
		}
	}
	h := &Handle{l: l, raw: raw, w: w}
	l.mu.Lock()
	l.last++
	h.id = l.last
	l.byID[h.id] = h
	l.watched.Store(int64(len(l.byID)))
	l.mu.Unlock()
	if err := h.control(syscall.EPOLL_CTL_ADD, arrival); err != nil {
		l.forget(h)
		return nil, err
	}
	return h, nil
}

// Pass has w told from now on, in place of who was. It is called by who was told last, before Ready returns, or else something may go
// unseen.
func (h *Handle) Pass(w Waiter) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.w = w
}

// Ended reports whether a Waiter was told of the socket's end. It is told of it once, maybe together with bytes that come before it:
// then it has to read until the end, and not until there is nothing.
func (h *Handle) Ended() bool { return h.ended.Load() }

// Pending reports whether a read would find something: bytes, the end, or an error. It is for who was told while reading, and
// may have read already what it was told of.
func (h *Handle) Pending() bool {
	pending := true
	_ = h.raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		pending = err != syscall.EAGAIN
	})
	return pending
}

// Reader reads sockets without waiting, one at a time.
type Reader struct {
	try func(fd uintptr) bool

	// Of the read that is under way.
	p   []byte
	n   int
	err error
}

// Read reads what is there, or returns ErrNothing.
func (r *Reader) Read(h *Handle, p []byte) (int, error) {
	if r.try == nil {
		r.try = r.attempt
	}
	r.p, r.n, r.err = p, 0, nil
	err := h.raw.Read(r.try)
	r.p = nil
	if err == nil {
		err = r.err
	}
	return r.n, err //nolint:wrapcheck // as of net.Conn
}

func (r *Reader) attempt(fd uintptr) bool {
	n, err := rawio.Read(fd, r.p)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		r.err = ErrNothing
	case err != nil:
		r.err = os.NewSyscallError("read", err)
	case n == 0 && len(r.p) > 0:
		r.err = io.EOF
	default:
		r.n = n
	}
	return true
}

// Writer writes to sockets without waiting, one at a time.
type Writer struct {
	try func(fd uintptr) bool

	// Of the write that is under way.
	p   []byte
	n   int
	err error
}

// Write writes as much as the kernel takes, which may be nothing.
func (w *Writer) Write(h *Handle, p []byte) (int, error) {
	if w.try == nil {
		w.try = w.attempt
	}
	w.p, w.n, w.err = p, 0, nil
	err := h.raw.Write(w.try)
	w.p = nil
	if err == nil {
		err = w.err
	}
	return w.n, err //nolint:wrapcheck // as of net.Conn
}

func (w *Writer) attempt(fd uintptr) bool {
	n, err := rawio.Write(fd, w.p)
	switch {
	case err == nil:
		w.n = n
	case !errors.Is(err, syscall.EAGAIN):
		w.err = os.NewSyscallError("write", err)
	}
	return true
}

// Remove ends the watch of a socket that stays open. Ready may still be running when it returns.
func (h *Handle) Remove() {
	_ = h.control(syscall.EPOLL_CTL_DEL, 0) // which fails if the socket is closed, and the kernel has forgotten it
	h.l.forget(h)
}

// Forget ends the watch of a socket that is closed next, with which the kernel forgets it. Ready may still be running when it returns.
func (h *Handle) Forget() { h.l.forget(h) }

func (l *loop) forget(h *Handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byID, h.id)
	l.watched.Store(int64(len(l.byID)))
}

// control changes the socket's entry while its number can't be given to another.
func (h *Handle) control(op int, interest uint32) error {
	var failed error
	err := h.raw.Control(func(fd uintptr) {
		e := syscall.EpollEvent{Events: interest, Fd: int32(uint32(h.id)), Pad: int32(uint32(h.id >> 32))}
		failed = os.NewSyscallError("epoll_ctl", syscall.EpollCtl(h.l.fd, op, int(fd), &e))
	})
	if err != nil {
		return fmt.Errorf("netpoll: %w", err)
	}
	return failed
}

func id(e *syscall.EpollEvent) uint64 {
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
}
