// Package devredis is the Redis inside the process: what HEARTH_REDIS=embedded
// means. It lets one node be tried out and developed against with nothing
// installed, and it is fast enough to start that tests use it too.
//
// It is not a store for production. Nothing is kept when the process ends, no
// second node can share it, every script call builds a new Lua interpreter (some
// thousand calls a second are all there is), and one subscriber that stops
// reading stops the whole server. A key that has a TTL goes up to a second after
// its time, and may be read until then: code that runs on it may not depend on
// more.
package devredis

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// anyLoopbackPort leaves the port to the operating system. The host is a fixed
// loopback address: the server knows no passwords, so nobody beyond this
// machine may reach it.
const anyLoopbackPort = "127.0.0.1:0"

// Server is one embedded Redis. It starts empty and serves until Close. Its
// TIME is the machine's wall clock.
type Server struct {
	mini *miniredis.Miniredis

	stop    sync.Once
	stopped chan struct{}
	done    chan struct{} // closed when nothing expires any more
}

// tick is how often keys expire: the fake leaves that to whoever runs it.
const tick = time.Second

// Start begins to serve an empty Redis on a loopback port that the operating
// system chooses; Addr tells which. The caller has to Close it.
func Start() (*Server, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(anyLoopbackPort); err != nil {
		return nil, fmt.Errorf("devredis: listen on %s: %w", anyLoopbackPort, err)
	}
	s := &Server{mini: mini, stopped: make(chan struct{}), done: make(chan struct{})}
	go s.expire() // until Close, which waits for it
	return s, nil
}

func (s *Server) expire() {
	defer close(s.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	for last := time.Now(); ; {
		select {
		case <-s.stopped:
			return
		case <-t.C:
			now := time.Now()
			s.mini.FastForward(now.Sub(last))
			last = now
		}
	}
}

// Addr is the server's host:port. It is valid until Close.
func (s *Server) Addr() string { return s.mini.Addr() }

// Close stops listening, cuts every connection, drops the data and returns when
// all goroutines of the server have ended. Closing twice is harmless.
func (s *Server) Close() {
	s.stop.Do(func() { close(s.stopped) })
	<-s.done
	s.mini.Close()
}
