package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hub is one room: everybody who is connected.
type hub struct{ members sync.Map }

// member queues frames made by its library's frame function, and never waits for the socket.
type member interface{ send(frames ...any) }

// cast encodes n notifications once each and hands all of them to every member.
func (h *hub) cast(lib library, n int) {
	frames := make([]any, n)
	for i := range frames {
		frames[i] = lib.frame(notification)
	}
	for m := range h.members.Range {
		m.(member).send(frames...)
	}
	for _, f := range frames {
		if c, ok := f.(io.Closer); ok { // gws counts who still needs the frame
			_ = c.Close()
		}
	}
}

// stats is what a server process says about itself: microseconds, bytes and counts.
type stats struct{ CPU, Writes, Mallocs, RSS, HeapStack, Goroutines float64 }

func readStats() stats {
	var ru syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &ru))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	cpu := float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e3
	return stats{cpu, procField("io", "syscw:"), float64(m.Mallocs), procField("status", "VmRSS:") * 1024,
		float64(m.HeapInuse + m.StackInuse), float64(runtime.NumGoroutine())}
}

// procField reads the number that follows name in a file about this process.
func procField(file, name string) (n float64) {
	_, rest, _ := strings.Cut(string(must(os.ReadFile("/proc/self/"+file))), name)
	must(fmt.Sscan(rest, &n))
	return n
}

// serve is the whole life of a server process. It prints its address and obeys its input: "cast N" sends N
// notifications to everybody; "stats", and "gc" after collecting garbage, answer a line of JSON.
func serve(lib library) {
	h := new(hub)
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	srv := &http.Server{Handler: lib.handler(h), ReadHeaderTimeout: 10 * time.Second}
	go func() { check(srv.Serve(ln)) }()
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var n int
		if _, err := fmt.Sscanf(in.Text(), "cast %d", &n); err == nil {
			h.cast(lib, n)
			continue
		}
		if in.Text() == "gc" {
			for range 4 { // a stack that has grown too large is halved by each collection
				runtime.GC()
			}
			debug.FreeOSMemory()
		}
		check(json.NewEncoder(os.Stdout).Encode(readStats()))
	}
}

// accepted stands for the work of a product on the reader's goroutine, whose stack grows with it for good.
func accepted(msg []byte) {
	var call struct{ Method string }
	_ = json.Unmarshal(msg, &call) // not all the bad cases are JSON, and it does not matter
}

// socket is a connection without a queue. Both methods have one caller at a time.
type socket interface {
	// read returns the frame to answer with, if any, and an error when the connection is to end after that.
	read() (reply any, err error)
	write(frames []any) error
	io.Closer
}

// queued is a socket with a queue. Its writer exists only while something waits, so that an idle connection has
// no second goroutine. A product bounds the queue; here the client asks for frames when it has the last ones.
type queued struct {
	socket
	writing sync.Mutex // held while writing
	mu      sync.Mutex
	waiting []any
	busy    bool // the writer exists
}

// run serves a connection in a goroutine of its own, so that the request's stack and buffers are freed.
func (h *hub) run(s socket) {
	q := &queued{socket: s}
	h.members.Store(q, nil)
	go func() {
		defer q.Close()
		defer h.members.Delete(q)
		for {
			reply, err := q.read()
			if reply != nil {
				q.writing.Lock()
				_ = q.write([]any{reply})
				q.writing.Unlock()
			}
			if err != nil {
				return
			}
		}
	}()
}

func (q *queued) send(frames ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, frames...)
	if !q.busy {
		q.busy = true
		go q.drain()
	}
}

func (q *queued) drain() {
	for {
		q.mu.Lock()
		batch := q.waiting
		q.waiting, q.busy = nil, len(batch) > 0
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		q.writing.Lock()
		_ = q.write(batch) // the reader finds a broken connection too, and ends it
		q.writing.Unlock()
	}
}
