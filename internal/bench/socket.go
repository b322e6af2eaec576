package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// socket is one WebSocket, made for many on few cores: its reader takes what there is in one call, and nothing is copied
// or decoded that need not be. A quiet one has a buffer of a few hundred bytes.
type socket struct {
	nc   net.Conn
	text func(b []byte, at int64) // for each message; b is good until it returns
	read func(at int64)           // after each call of the system that has brought some
	over func(why string)         // once

	wmu sync.Mutex
	out bytes.Buffer

	mu    sync.Mutex
	ended bool
}

const (
	minBuffer = 512
	maxBuffer = 64 << 10
	// maxFrame is what a server may send at once; a snapshot of many entries comes in frames of 256 KiB.
	maxFrame = 16 << 20
)

// dial opens a socket; read has to be called with what it returns.
func (s *socket) dial(ctx context.Context, server, token, peer string, timeout time.Duration) (*bufio.Reader, error) {
	d := ws.Dialer{Protocols: []string{"hearth.v1", "bearer." + token}, Timeout: timeout, ReadBufferSize: 1024, WriteBufferSize: 1024}
	nc, br, _, err := d.Dial(ctx, "ws"+strings.TrimPrefix(server, "http")+"/v1/ws?peer="+url.QueryEscape(peer))
	if err != nil {
		if nc != nil {
			_ = nc.Close()
		}
		return nil, err
	}
	s.nc = nc
	return br, nil
}

// write sends one frame, all of it or none that counts.
func (s *socket) write(op ws.OpCode, body ...[]byte) error {
	n := 0
	for _, b := range body {
		n += len(b)
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.out.Reset()
	// The mask is zero: a server has to undo it all the same.
	if err := ws.WriteHeader(&s.out, ws.Header{Fin: true, OpCode: op, Masked: true, Length: int64(n)}); err != nil {
		return err
	}
	for _, b := range body {
		s.out.Write(b)
	}
	_, err := s.nc.Write(s.out.Bytes())
	if err != nil {
		s.end("write: " + cause(err))
	}
	return err
}

// end closes the socket; why is for who counts it.
func (s *socket) end(why string) {
	s.mu.Lock()
	first := !s.ended
	s.ended = true
	s.mu.Unlock()
	if first {
		_ = s.nc.Close()
		s.over(why)
	}
}

// run reads until the socket ends. br has what came with the upgrade, if anything did.
func (s *socket) run(br *bufio.Reader, now func() int64) {
	buf, have := make([]byte, minBuffer), 0
	if br != nil {
		early, _ := br.Peek(br.Buffered())
		buf = make([]byte, minBuffer+len(early))
		have = copy(buf, early)
	}
	for {
		n, err := s.nc.Read(buf[have:])
		if n > 0 {
			at := now()
			full := have+n == len(buf)
			have += n
			used, why := s.frames(buf[:have], at)
			s.read(at)
			if why != "" {
				s.end(why)
				return
			}
			have = copy(buf, buf[used:have])
			// A frame that does not fit yet, or more than could be taken at once.
			if have == len(buf) || full && len(buf) < maxBuffer {
				more := make([]byte, 2*len(buf))
				copy(more, buf[:have])
				buf = more
			}
		}
		if err != nil {
			s.end("read: " + cause(err))
			return
		}
	}
}

// frames handles the whole frames at the begin of b and returns how long they are; why, if the socket ends with them.
func (s *socket) frames(b []byte, at int64) (used int, why string) {
	for {
		p := b[used:]
		if len(p) < 2 {
			return used, ""
		}
		size, head := int(p[1]&0x7f), 2
		switch {
		case p[1]&0x80 != 0 || p[0]&0x80 == 0 || p[0]&0x70 != 0:
			return used, "a frame that is masked, fragmented or extended"
		case size == 126:
			if len(p) < 4 {
				return used, ""
			}
			size, head = int(binary.BigEndian.Uint16(p[2:])), 4
		case size == 127:
			if len(p) < 10 {
				return used, ""
			}
			long := binary.BigEndian.Uint64(p[2:])
			if long > maxFrame {
				return used, "a frame that is too long"
			}
			size, head = int(long), 10
		}
		if len(p) < head+size {
			return used, ""
		}
		body := p[head : head+size]
		used += head + size
		switch ws.OpCode(p[0] & 0x0f) {
		case ws.OpText:
			s.text(body, at)
		case ws.OpPing:
			if s.write(ws.OpPong, body) != nil {
				return used, ""
			}
		case ws.OpClose:
			code := 0
			if len(body) >= 2 {
				code = int(binary.BigEndian.Uint16(body))
			}
			return used, "closed " + strconv.Itoa(code)
		case ws.OpPong:
		default:
			return used, "a frame that is no text"
		}
	}
}

// cause is what went wrong with a connection, without the addresses, so that alike are counted together.
func cause(err error) string {
	if status, ok := errors.AsType[ws.StatusError](err); ok {
		return fmt.Sprintf("refused with HTTP %d", int(status))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Timeout() {
			return "no answer in time"
		}
		return op.Err.Error()
	}
	return err.Error()
}
