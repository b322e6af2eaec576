package redistest

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// Secure has a real server of the test's own take TLS connections as well, with a certificate and its key (PEM files), and
// returns the address for that. A redis-server that is built without TLS leaves the test out, or fails it, as one that is not
// there does.
func Secure(tb testing.TB, s *Server, certFile, keyFile string) (addr string) {
	tb.Helper()
	c := s.Client(tb)
	const attempts = 10 // other test binaries look for ports at the same time
	var err error
	for range attempts {
		port := strconv.Itoa(randomPort())
		err = c.Do(tb.Context(), "CONFIG", "SET", "tls-auth-clients", "no", "tls-cert-file", certFile, "tls-key-file", keyFile, "tls-port", port).Err()
		switch {
		case err == nil:
			return "127.0.0.1:" + port
		case strings.Contains(err.Error(), "Unknown option") && os.Getenv(EnvPolicy) != required:
			tb.Skip("this redis-server is built without TLS; make test needs one that has it")
		case !strings.Contains(err.Error(), "listen"):
			tb.Fatalf("redistest: TLS: %v", err)
		}
	}
	tb.Fatalf("redistest: no port for TLS: %v", err)
	return ""
}
