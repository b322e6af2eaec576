package httpapi

import (
	"bytes"
	"net"
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
	// closeTimeout is how long the other side has to answer a close frame.
	closeTimeout = 2 * time.Second
	// maxKept bounds the slices that an idle outbox keeps for the next burst.
	maxKept = 64
	// maxCorked is how many bytes wait for uncork at most.
	maxCorked = 16 << 10
)

// outbox is a socket's queue of frames. Nobody who queues waits for the socket: a frame is written at once, as much of it
// as the kernel takes without waiting. The rest and what follows it is queued: a goroutine writes what waits, all of it in
// one write, and ends when nothing does, so that a socket that is read has none. Frames are never changed: one that goes to
// many sockets is the same bytes for all.
//
// While its reader handles a message it is corked: the reply, what follows the reply, and echoes (see node.Sink) wait for each
// other and leave in one write, which is what a frame costs. All else is written at once, and takes along what waits.
type outbox struct {
	nc     net.Conn
	slow   *atomic.Int64 // counts those that are closed as too slow
	direct direct        // used only while no goroutine writes

	mu      sync.Mutex
	drained sync.Cond // signaled when answers have been written, or the socket is gone
	frames  [][]byte
	spare   [][]byte
	begun   int // 1 if a part of the first frame has been written
	queued  int // bytes of notifications that wait or are being written; bounded by maxQueued
	answers int // bytes of replies and snapshots that do; the connection's reader waits for them
	corked  bool
	held    *[]byte // frames that wait for uncork, from heldBuffers; nil for none
	writing bool    // a goroutine is
	closing bool    // a close frame was queued: nothing follows it
	gone    bool    // the socket can't be written to any more
}

func (o *outbox) init(nc net.Conn, slow *atomic.Int64) {
	o.nc, o.slow = nc, slow
	o.direct.init(nc)
	o.drained.L = &o.mu
}

// Send implements node.Sink.
func (o *outbox) Send(frame []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.queued+len(frame) > maxQueued && !o.closing && !o.gone {
		o.slow.Add(1)
		o.frames = o.frames[:o.begun]
		o.finish(node.CloseTooSlow, "too slow to read: reconnect and resume")
		return
	}
	o.queued += o.push(frame)
}

// Echo implements node.Sink.
func (o *outbox) Echo(frame []byte) {
	if !o.hold(frame) {
		o.Send(frame)
	}
}

// Snapshot implements node.Sink; replies go the same way.
func (o *outbox) Snapshot(frame []byte) {
	if !o.hold(frame) {
		o.prompt(frame)
	}
}

// prompt queues a frame that is no notification of a change and that the reader does not wait for.
func (o *outbox) prompt(frame []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers += o.push(frame)
}

// cork is called by the reader, and uncork by it soon after.
func (o *outbox) cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = true
}

func (o *outbox) uncork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.corked = false; o.held != nil {
		o.answers += o.push(nil)
	}
}

// hold has a frame wait for uncork, or reports that it can't.
func (o *outbox) hold(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.corked || o.writing || o.closing || o.gone {
		return false
	}
	if o.held == nil {
		if len(frame) > maxCorked {
			return false
		}
		o.held = heldBuffers.Get().(*[]byte) //nolint:forcetypeassert // there is nothing else in it
	} else if len(*o.held)+len(frame) > maxCorked {
		return false
	}
	*o.held = append(*o.held, frame...)
	return true
}

var heldBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// unhold frees the outbox of what it holds. o.mu is held.
func (o *outbox) unhold() {
	if o.held != nil {
		*o.held = (*o.held)[:0]
		heldBuffers.Put(o.held)
		o.held = nil
	}
}

// Close implements node.Sink.
func (o *outbox) Close(code node.CloseCode, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finish(code, reason)
}

func (o *outbox) finish(code node.CloseCode, reason string) {
	if o.closing || o.gone {
		return
	}
	o.push(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason))))
	if o.gone {
		return
	}
	o.closing = true
	if !o.writing {
		o.closeWrite()
	}
	// The reader, too, ends soon, whether or not the other side answers.
	_ = o.nc.SetReadDeadline(time.Now().Add(closeTimeout))
}

// push writes a frame after what is held, or what of it can't be written at once has to wait; it returns how much that is.
// o.mu is held.
func (o *outbox) push(frame []byte) (waits int) {
	defer o.unhold()
	if o.closing || o.gone {
		return 0
	}
	if o.held != nil {
		*o.held = append(*o.held, frame...)
		frame = *o.held
	}
	if !o.writing {
		n, err := o.direct.write(frame)
		switch {
		case err != nil:
			o.fail()
			return 0
		case n == len(frame):
			return 0
		case n > 0:
			frame, o.begun = frame[n:], 1
		}
	}
	if o.held != nil {
		frame = bytes.Clone(frame)
	}
	o.frames = append(o.frames, frame)
	if !o.writing {
		o.writing = true
		go o.write() // ends when nothing waits, at the latest when the socket is closed
	}
	return len(frame)
}

// fail gives a socket up that can't be written to. o.mu is held.
func (o *outbox) fail() {
	o.gone = true
	_ = o.nc.Close()
	o.drained.Broadcast()
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
		batch := o.frames
		o.frames, o.spare, o.begun = o.spare[:0], nil, 0
		queued, answers := o.queued, o.answers
		o.mu.Unlock()
		err := writeAll(o.nc, batch)
		o.mu.Lock()
		// What was queued meanwhile stays counted.
		o.queued -= queued
		o.answers -= answers
		if clear(batch); cap(batch) <= maxKept {
			o.spare = batch[:0]
		}
		if err != nil {
			o.fail()
			break
		}
		o.drained.Broadcast()
	}
	o.writing = false
	switch {
	case o.gone:
	case o.closing:
		o.closeWrite()
	default:
		_ = o.nc.SetWriteDeadline(time.Time{}) // a deadline that has passed would end what is written directly
	}
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

// shut makes the outbox drop whatever else is queued; the socket is the caller's to close.
func (o *outbox) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	o.unhold()
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
