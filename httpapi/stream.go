package httpapi

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

const (
	// heartbeat is how long a stream may be silent: proxies cut off what says nothing.
	heartbeat = 15 * time.Second
	// cursorBeats is after how many heartbeats at least a reader who was shown nothing is told how far it is.
	cursorBeats = 2
	// resumePause is how long a stream that lost continuity waits after the store could not be asked.
	resumePause = time.Second
	// reconnectAfter is when a reader whose stream ended should come back, at least; up to as much again is added, so that
	// those of a node that stops don't all come at once.
	reconnectAfter = time.Second
)

// feed is one SSE response. Whoever queues never waits for it: its handler's goroutine writes what waits.
type feed struct {
	wake      chan struct{} // holds one
	cancel    context.CancelFunc
	principal *auth.Principal

	mu      sync.Mutex
	notices []*node.Notice
	queued  int  // bytes of what waits or is being written and counts; bounded by maxQueued
	counted int  // of those, what waits
	lost    bool // continuity is lost
	ended   bool // nothing follows what waits
}

// Send implements node.Stream. Who reads too slowly loses the stream and what waits in it, and nothing that a resume
// doesn't bring back.
func (st *feed) Send(n *node.Notice) {
	st.mu.Lock()
	defer st.mu.Unlock()
	size := noticeSize(n)
	if st.queued+size > maxQueued {
		st.notices, st.ended = nil, true
		st.cancel() // it may be writing
	}
	if !st.ended {
		st.notices = append(st.notices, n)
		st.queued += size
		st.counted += size
	}
	st.rouse()
}

// Snapshot implements node.Stream.
func (st *feed) Snapshot(n *node.Notice) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.ended {
		st.notices = append(st.notices, n)
	}
	st.rouse()
}

// Lost implements node.Stream.
func (st *feed) Lost() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.lost = true
	st.rouse()
}

// End implements node.Stream.
func (st *feed) End(error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	st.rouse()
}

// rouse wakes the writer. st.mu is held.
func (st *feed) rouse() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, and how much of it counts; lost and ended are of what comes after it.
func (st *feed) take() (notices []*node.Notice, counted int, lost, ended bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	notices, counted = st.notices, st.counted
	st.notices, st.counted = nil, 0
	return notices, counted, st.lost, st.ended
}

func (st *feed) wrote(counted int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.queued -= counted
}

// found takes note that the loss is being repaired.
func (st *feed) found() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.lost = false
}

// idle reports whether nothing waits.
func (st *feed) idle() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.notices) == 0 && !st.lost && !st.ended
}

// noticeSize is about what a notice takes.
func noticeSize(n *node.Notice) int { return len(n.Params) + 128 }

// appendNotice appends a notice as an event of the stream.
func appendNotice(dst []byte, n *node.Notice) []byte {
	dst = append(append(append(dst, "event: "...), n.Method...), '\n')
	if n.Cursor.Epoch != "" {
		dst = append(append(append(dst, "id: "...), n.Cursor.String()...), '\n')
	}
	return append(append(append(dst, "data: "...), n.Params...), "\n\n"...)
}

// writer writes a stream's response: each write has a deadline of its own, whatever the server's is.
type writer struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  []byte
	last hearth.Cursor // that was written
}

func (w *writer) flush() error {
	if err := w.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := w.w.Write(w.buf); err != nil {
		return err
	}
	if w.buf = w.buf[:0]; cap(w.buf) > joinSize+keepText {
		w.buf = nil
	}
	return w.rc.Flush()
}

func (w *writer) write(notices []*node.Notice) error {
	for _, n := range notices {
		w.buf = appendNotice(w.buf, n)
		if n.Cursor.Epoch != "" {
			w.last = n.Cursor
		}
		if len(w.buf) >= joinSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// run writes a stream until it ends, its reader goes, or ctx ends.
func (st *feed) run(ctx context.Context, w *writer, watcher *node.Watcher, beat time.Duration) error {
	w.buf = strconv.AppendInt(append(w.buf, "retry: "...), (reconnectAfter + rand.N(reconnectAfter)).Milliseconds(), 10) //nolint:gosec // only spread
	w.buf = append(w.buf, "\n\n"...)
	if err := w.flush(); err != nil {
		return err
	}
	timer := time.NewTimer(beat)
	defer timer.Stop()
	silent := 0            // beats since something bore a cursor
	for ctx.Err() == nil { // looked at each time: in a busy room something always waits
		notices, counted, lost, ended := st.take()
		switch {
		case len(notices) > 0:
			err := w.write(notices)
			st.wrote(counted)
			if err != nil {
				return err
			}
			silent = 0
			timer.Reset(beat)
			continue
		case ended:
			return nil
		case lost:
			st.found()
			if err := watcher.Resume(ctx); err != nil {
				if hearth.ReasonOf(err) != hearth.ReasonUnavailable || ctx.Err() != nil {
					return err
				}
				st.Lost()
				if !sleep(ctx, min(resumePause, beat)) {
					return nil
				}
				w.buf = append(w.buf, ":\n\n"...)
				if err := w.flush(); err != nil {
					return err
				}
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-st.wake:
		case <-timer.C:
			timer.Reset(beat)
			silent++
			// What was shown up to there has been queued before it is asked, and all that was queued has been written.
			at := watcher.Cursor()
			if !st.idle() {
				continue
			}
			if silent >= cursorBeats && at.Seq > 0 && at != w.last {
				silent = 0
				if err := w.write([]*node.Notice{cursorNotice(at)}); err != nil {
					return err
				}
				continue
			}
			w.buf = append(w.buf, ":\n\n"...)
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func cursorNotice(at hearth.Cursor) *node.Notice {
	return &node.Notice{Method: "on-cursor", Cursor: at, Params: append(append([]byte(`{"cursor":"`), at.String()...), `"}`...)}
}

// sleep waits for d and reports whether ctx still runs.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
