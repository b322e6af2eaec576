// Package tcptest gives tests the two ends of a TCP connection. It is for tests only, and knows nothing of what goes over it.
package tcptest

import (
	"net"
	"testing"
)

// Pair returns both ends of a connection on loopback, which are closed when the test ends.
func Pair(tb testing.TB) (accepted, dialed *net.TCPConn) {
	tb.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dialed, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)) //nolint:errcheck // it listens by TCP
	if err != nil {
		tb.Fatal(err)
	}
	accepted, err = l.AcceptTCP()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _, _ = accepted.Close(), dialed.Close() })
	return accepted, dialed
}
