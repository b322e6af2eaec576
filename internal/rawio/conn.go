//go:build unix

package rawio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Wrap returns a connection that reads and writes by this package: nc itself if it is not of TCP.
func Wrap(nc net.Conn) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nc
	}
	return &conn{TCPConn: tcp, raw: raw}
}

// conn is a connection that Go's poller waits for, as ever.
type conn struct {
	*net.TCPConn

	raw syscall.RawConn
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (n int, err error) {
	failed := c.raw.Read(func(fd uintptr) bool {
		n, err = Read(fd, p)
		return !errors.Is(err, syscall.EAGAIN)
	})
	switch {
	case failed != nil:
		return 0, failed //nolint:wrapcheck // as of net.Conn
	case err != nil:
		return 0, c.failure("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (n int, err error) {
	failed := c.raw.Write(func(fd uintptr) bool {
		for n < len(p) {
			var some int
			if some, err = Write(fd, p[n:]); err != nil {
				return !errors.Is(err, syscall.EAGAIN)
			}
			n += some
		}
		return true
	})
	switch {
	case failed != nil:
		return n, failed //nolint:wrapcheck // as of net.Conn
	case err != nil:
		return n, c.failure("write", err)
	}
	return n, nil
}

func (c *conn) failure(op string, err error) error {
	return &net.OpError{
		Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err),
	}
}
