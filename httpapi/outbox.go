package httpapi

import (
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/node"
)

const (
	// maxQueued is how many bytes of notifications may wait for one socket: who reads slower than that is closed with
	// 4429 and loses nothing that a resume doesn't bring back.
	maxQueued = 1 << 20
	// writeTimeout is how long one write may take before the socket is given up.
	writeTimeout = 10 * time.Second
	// maxKept bounds the slices that an idle outbox keeps for the next burst.
	maxKept = 8
	// maxCorked is how many bytes wait for uncork; with more they don't.
	maxCorked = 16 << 10
)

// outbox is a socket's queue of frames. Nobody who queues waits for the socket: a Sender sends what waits, as much of it as the
// kernel takes without waiting. The rest and what follows it is a goroutine's, which writes all that waits in one write and ends
// when nothing does, so that a socket that is read has none. Frames are never changed: one that goes to many sockets is the same
// bytes for all.
//
// While its reader handles a message it is corked: the reply, what follows the reply, and echoes (see node.Sink) wait for each
// other and leave in one write, which is what a frame costs. All else is sent as soon as may be, and takes along what waits.
type outbox struct {
	nc     wire
	fd     int // of the socket; noFD if only nc can write to it
	sender *Sender
	next   *outbox       // while it is posted, the sender's
	slow   *atomic.Int64 // counts those that are closed as too slow

	mu      sync.Mutex
	drained sync.Cond // signaled when something has been written, or the socket is gone
	frames  [][]byte  // that wait
	flight  [][]byte  // that the sender is sending
	spare   [][]byte
	begun   int                           // 1 if a part of the first frame has been written
	queued  int                           // bytes of notifications that wait or are being written; bounded by maxQueued
	answers int                           // bytes of replies and snapshots that do; the connection's reader waits for them
	flown   struct{ queued, answers int } // those of the flight
	state   transit
	corked  bool
	closing bool // a close frame was queued: nothing follows it
	gone    bool // the socket can't be written to any more
}

// wire is the socket of an outbox.
type wire interface {
	net.Conn
	// closing says that a close frame is on its way: the socket ends within closeTimeout, whether or not the other side answers.
	closing()
}

// transit is who sees to what waits.
type transit int8

const (
	resting transit = iota // nobody: nothing does, or it is corked
	posted                 // the sender will send it
	flying                 // the sender is sending; what has come since then waits
	writing                // a goroutine writes
)

func (o *outbox) init(nc wire, sender *Sender, slow *atomic.Int64) {
	o.nc, o.fd, o.sender, o.slow = nc, fdOf(nc), sender, slow
	o.drained.L = &o.mu
}

// Send implements node.Sink.
func (o *outbox) Send(frame []byte) {
	o.mu.Lock()
	defer o.release(true)
	o.note(frame)
}

// Echo implements node.Sink.
func (o *outbox) Echo(frame []byte) {
	o.mu.Lock()
	defer o.release(false)
	o.note(frame)
}

// note queues a notification. o.mu is held.
func (o *outbox) note(frame []byte) {
	// Nobody is too slow for what the kernel has not been offered, with half of the bound left for who reads meanwhile. Who sends
	// waits for nothing, so that is a moment.
	for o.offered() && o.queued+len(frame) > maxQueued/2 && !o.gone && !o.closing {
		o.mu.Unlock()
		o.sender.send()
		runtime.Gosched() // it may be in somebody's hands
		o.mu.Lock()
	}
	if o.queued+len(frame) > maxQueued && !o.closing && !o.gone {
		o.slow.Add(1)
		o.frames = o.frames[:o.begun]
		o.finish(node.CloseTooSlow, "too slow to read: reconnect and resume")
		return
	}
	o.queued += o.put(frame)
}

// offered reports whether the sender sees to what waits, which the kernel is then offered in a moment. o.mu is held.
func (o *outbox) offered() bool { return o.state == posted || o.state == flying }

// Snapshot implements node.Sink; replies go the same way.
func (o *outbox) Snapshot(frame []byte) {
	o.mu.Lock()
	defer o.release(false)
	o.answers += o.put(frame)
}

// prompt queues a frame that is no notification of a change and that the reader does not wait for.
func (o *outbox) prompt(frame []byte) {
	o.mu.Lock()
	defer o.release(true)
	o.answers += o.put(frame)
}

// cork is called by the reader, and uncork by it soon after.
func (o *outbox) cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = true
}

func (o *outbox) uncork() {
	o.mu.Lock()
	defer o.release(true)
	o.corked = false
}

// Close implements node.Sink.
func (o *outbox) Close(code node.CloseCode, reason string) {
	o.mu.Lock()
	defer o.release(true)
	o.finish(code, reason)
}

// finish queues a close frame. o.mu is held.
func (o *outbox) finish(code node.CloseCode, reason string) {
	if o.closing || o.gone {
		return
	}
	o.put(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason))))
	o.closing, o.corked = true, false
	o.nc.closing()
}

// put queues a frame and returns how many bytes of it wait. o.mu is held.
func (o *outbox) put(frame []byte) int {
	if o.closing || o.gone {
		return 0
	}
	o.frames = append(o.frames, frame)
	return len(frame)
}

// release unlocks the outbox, and sees to it that what waits is sent; unless now is said it may wait for uncork.
func (o *outbox) release(now bool) {
	kick := (now || !o.corked || o.queued+o.answers > maxCorked) && o.hand()
	o.mu.Unlock()
	if kick {
		o.sender.kick()
	}
}

// hand hands what waits to who sends it, and reports whether that is the sender, who then has to be told. o.mu is held.
func (o *outbox) hand() bool {
	switch {
	case o.state != resting || len(o.frames) == 0 || o.gone:
		return false
	case o.fd == noFD:
		o.state = writing
		go o.write() // ends when nothing waits, at the latest when the socket is closed
		return false
	}
	o.state = posted
	o.sender.post(o)
	return true
}

// load is called by the sender of what is posted: it returns what is to be sent, in one piece, which may have to be put together in
// space; nothing if the socket is gone.
func (o *outbox) load(space *[]byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		o.state = resting
		return nil
	}
	n, size := 0, 0
	for n < len(o.frames) && (n == 0 || size+len(o.frames[n]) <= joinSize) {
		size += len(o.frames[n])
		n++
	}
	o.state = flying
	if n == len(o.frames) {
		o.flight, o.frames, o.spare = o.frames, o.spare, nil
	} else {
		o.flight = slices.Clone(o.frames[:n])
		o.frames = slices.Delete(o.frames, 0, n)
	}
	// Which of them are answers matters only to the sums; a close frame is in neither.
	o.flown.queued = min(o.queued, size)
	o.flown.answers = min(o.answers, size-o.flown.queued)
	if len(o.flight) == 1 {
		return o.flight[0]
	}
	begin := len(*space)
	for _, f := range o.flight {
		*space = append(*space, f...)
	}
	return (*space)[begin:]
}

// sent is called by the sender with how much of what load returned was taken.
func (o *outbox) sent(n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.hand() // what has come meanwhile, and may be no reader's; the sender looks again
	flight := o.flight
	o.flight, o.state = nil, resting
	if err != nil && !o.gone {
		o.fail()
	}
	if o.gone {
		o.drained.Broadcast()
		return
	}
	left := flight
	for len(left) > 0 && n >= len(left[0]) {
		n -= len(left[0])
		left = left[1:]
	}
	if len(left) > 0 { // the kernel takes no more
		if n > 0 {
			left[0], o.begun = left[0][n:], 1
		}
		o.frames = slices.Concat(left, o.frames)
		o.state = writing
		o.drained.Broadcast() // shut waits no more: it makes an end of what is written
		go o.write()          // as in hand
		return
	}
	o.wrote(flight, o.flown.queued, o.flown.answers)
	if o.closing && len(o.frames) == 0 {
		o.closeWrite()
	}
}

// wrote takes note that frames have been written. o.mu is held.
func (o *outbox) wrote(frames [][]byte, queued, answers int) {
	o.queued -= queued // what was queued meanwhile stays counted
	o.answers -= answers
	if clear(frames); cap(frames) <= maxKept {
		o.spare = frames[:0]
	}
	o.drained.Broadcast()
}

// fail gives a socket up that can't be written to. o.mu is held, but not while it is closed: TLS may write for seconds then. Nobody
// is sending.
func (o *outbox) fail() {
	o.gone = true
	o.drained.Broadcast()
	o.mu.Unlock()
	_ = o.nc.Close()
	o.mu.Lock()
}

// closeWrite ends writing: the close frame is the last that is sent. o.mu is held.
func (o *outbox) closeWrite() {
	if tcp, ok := o.nc.(interface{ CloseWrite() error }); ok {
		_ = tcp.CloseWrite()
	}
}

// write sends what waits until nothing does.
func (o *outbox) write() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) > 0 && !o.gone {
		frames := o.frames
		o.frames, o.spare, o.begun = o.spare, nil, 0
		queued, answers := o.queued, o.answers
		o.mu.Unlock()
		err := writeAll(o.nc, frames)
		o.mu.Lock()
		if o.wrote(frames, queued, answers); err != nil {
			o.fail()
		}
	}
	o.state = resting
	switch {
	case o.gone:
	case o.closing:
		o.closeWrite()
	default:
		_ = o.nc.SetWriteDeadline(time.Time{}) // TLS may write as it reads, at any time
	}
}

// quiet reports whether nobody sees to what waits: shut then waits for nothing, or for one send of who comes right after that.
func (o *outbox) quiet() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == resting
}

// open reports whether no close frame has been queued.
func (o *outbox) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closing && !o.gone
}

// deadline sets the read deadline, unless the connection is being closed, which has one of its own.
func (o *outbox) deadline(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closing {
		_ = o.nc.SetReadDeadline(t)
	}
}

// wait returns when few enough answers wait that another request may be read; false if the socket is gone. A fiber leaves before
// it has to wait.
func (o *outbox) wait(f *fiber.Fiber) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers > maxQueued && f.Inline() {
		o.mu.Unlock()
		f.Leave()
		o.mu.Lock()
	}
	for o.answers > maxQueued && !o.gone {
		o.drained.Wait()
	}
	return !o.gone
}

// shut makes the outbox drop what the kernel doesn't take at once, and whatever else is queued; when it returns nobody writes to the
// socket by its number, and it may be closed.
func (o *outbox) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.offered() && !o.gone { // the other side may have ended its half, and read on
		if o.state == flying { // and what has come meanwhile is posted then
			o.drained.Wait()
			continue
		}
		o.mu.Unlock()
		o.sender.send()
		runtime.Gosched() // it may be in somebody's hands
		o.mu.Lock()
	}
	o.gone = true // and from here on nothing is posted
	o.drained.Broadcast()
}

// joinSize is how much is written at once at most.
const joinSize = 64 << 10

var joinBuffers = sync.Pool{New: func() any { b := make([]byte, 0, joinSize); return &b }}

// writeAll writes frames, as many as fit in one system call. Copying them into one buffer costs less than writev does for
// frames of this size, and serves TLS as well (bench/wslib).
func writeAll(nc net.Conn, frames [][]byte) error {
	if err := nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if len(frames) == 1 {
		_, err := nc.Write(frames[0])
		return err
	}
	p, ok := joinBuffers.Get().(*[]byte)
	if !ok {
		p = new([]byte)
	}
	defer joinBuffers.Put(p)
	b := (*p)[:0]
	for _, f := range frames {
		if len(b)+len(f) > joinSize {
			if _, err := nc.Write(b); err != nil {
				return err
			}
			if b = b[:0]; len(f) > joinSize {
				if _, err := nc.Write(f); err != nil {
					return err
				}
				continue
			}
		}
		b = append(b, f...)
	}
	if len(b) == 0 {
		return nil
	}
	_, err := nc.Write(b)
	return err
}
