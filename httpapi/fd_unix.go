//go:build unix

package httpapi

import "net"

// noFD stands for a connection that can't be written to by a number, such as one of TLS.
const noFD = -1

// fdOf returns the number of a TCP socket, which is its own until it is closed.
func fdOf(nc net.Conn) int {
	if s, ok := nc.(*socket); ok {
		nc = s.Conn
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return noFD
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return noFD
	}
	number := noFD
	_ = raw.Control(func(fd uintptr) { number = int(fd) })
	return number
}
