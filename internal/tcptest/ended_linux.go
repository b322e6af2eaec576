package tcptest

import (
	"net"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// closeWait is the state of a socket whose other side has closed its half, as Linux numbers them.
const closeWait = 8

// Ended returns when what the other side has sent and its end have come. Nothing is read.
func Ended(tb testing.TB, c *net.TCPConn) {
	tb.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	for here := false; !here; runtime.Gosched() {
		if err := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			here = err != nil || info.State == closeWait
		}); err != nil {
			tb.Fatal(err)
		}
	}
}
