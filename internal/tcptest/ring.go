package tcptest

import (
	"os"
	"runtime"
	"testing"
)

// NeedRing ends a test of io_uring where there is none. That is a failure if HEARTH_TEST_IO_URING=required says so, as make test does on
// Linux: what is not tested there is to be seen.
func NeedRing(tb testing.TB, has bool) {
	tb.Helper()
	const need = "io_uring is needed: Linux 5.12 or later that permits it, on amd64 or arm64"
	switch {
	case has:
	case os.Getenv("HEARTH_TEST_IO_URING") == "required":
		tb.Fatalf("%s; this is %s/%s. HEARTH_TEST_IO_URING=optional leaves these tests out", need, runtime.GOOS, runtime.GOARCH)
	default:
		tb.Skip(need)
	}
}
