//go:build unix

package httpapi

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/hearthstore/hearth/internal/rawio"
)

// direct writes to a TCP socket without waiting for it. The zero value stands for a connection on which that can't be done,
// such as one of TLS.
type direct struct {
	raw syscall.RawConn
	try func(fd uintptr) bool

	// Of the write that is under way.
	p   []byte
	n   int
	err error
}

func (d *direct) init(nc net.Conn) {
	if s, ok := nc.(*socket); ok {
		nc = s.Conn
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		d.raw, d.try = raw, d.attempt
	}
}

// write writes what the kernel takes at once and returns how much that was, which may be nothing.
func (d *direct) write(p []byte) (int, error) {
	if d.raw == nil {
		return 0, nil
	}
	d.p, d.n, d.err = p, 0, nil
	err := d.raw.Write(d.try)
	d.p = nil
	if err == nil {
		err = d.err
	}
	return d.n, err
}

func (d *direct) attempt(fd uintptr) bool {
	for d.n < len(d.p) {
		n, err := rawio.Write(fd, d.p[d.n:])
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return true
		case err != nil:
			d.err = err
			return true
		case n == 0:
			d.err = io.ErrUnexpectedEOF
			return true
		default:
			if d.n += n; d.n < len(d.p) { // the kernel's buffer is full
				return true
			}
		}
	}
	return true
}
