package redistest

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestEachRunsBothKinds(t *testing.T) {
	binary(t) // without one it has nothing to count
	var seen []string
	Each(t, func(t *testing.T, s *Server) {
		seen = append(seen, s.Name)
		if (s.Mini != nil) != (s.Name == NameMini) {
			t.Errorf("%s: Mini is %v", s.Name, s.Mini)
		}
		c := s.Client(t)
		if n, err := c.DBSize(t.Context()).Result(); err != nil || n != 0 {
			t.Errorf("%s: not empty at first: %d keys, %v", s.Name, n, err)
		}
		if err := c.Set(t.Context(), s.Prefix+":k", "v", 0).Err(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	})
	if len(seen) != 2 || seen[0] != NameMini || seen[1] != NameReal {
		t.Errorf("ran on %v", seen)
	}
}

// miniredis knows no CONFIG and has no such INFO.
func TestRealIsReal(t *testing.T) {
	s := Real(t)
	info, err := s.Client(t).Info(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.60s", info)
	if err := s.Client(t).ConfigGet(t.Context(), "save").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestRealServersAreApart(t *testing.T) {
	a, b := Real(t), Real(t)
	if a.Addr == b.Addr || a.Prefix == b.Prefix {
		t.Fatalf("not apart: %+v, %+v", a, b)
	}
	if err := a.Client(t).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Client(t).DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Fatalf("the other server holds %d keys, %v", n, err)
	}
}

func TestRealEndsWithItsTest(t *testing.T) {
	var addr, dir string
	t.Run("user", func(t *testing.T) {
		s := Real(t)
		addr, dir = s.Addr, s.proc.dir
	})
	if addr == "" {
		t.Skip(skipReason)
	}
	refused(t, addr)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left its directory behind: %v", err)
	}
}

func TestSharedIsOneServerFlushedWhenAlone(t *testing.T) {
	var first string
	t.Run("alone", func(t *testing.T) {
		s := Shared(t)
		first = s.Addr
		if err := s.Client(t).Set(t.Context(), "left", "over", 0).Err(); err != nil {
			t.Fatal(err)
		}
		t.Run("together", func(t *testing.T) {
			other := Shared(t)
			if other.Addr != s.Addr || other.Prefix == s.Prefix {
				t.Errorf("%+v beside %+v", other, s)
			}
			if n, err := other.Client(t).Exists(t.Context(), "left").Result(); err != nil || n != 1 {
				t.Errorf("a second user flushed what the first still needs: %d, %v", n, err)
			}
		})
	})
	t.Run("alone again", func(t *testing.T) {
		s := Shared(t)
		if s.Addr != first {
			t.Errorf("another server: %s, then %s", first, s.Addr)
		}
		if n, err := s.Client(t).DBSize(t.Context()).Result(); err != nil || n != 0 {
			t.Errorf("found %d keys of an earlier test, %v", n, err)
		}
	})
}

func TestSharedNeedsMain(t *testing.T) {
	var s sharedServer
	if _, err := s.enter(binary(t)); err == nil {
		t.Error("a server that nobody would stop was started")
	}
}

func TestSharedStops(t *testing.T) {
	var s sharedServer
	s.open()
	addr, err := s.enter(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := s.dir
	s.leave()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	refused(t, addr)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left its directory behind: %v", err)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	s := Real(t)
	c := s.Client(t)
	ping := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return c.Ping(ctx).Err()
	}
	if err := ping(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	s.Freeze(t)
	s.Freeze(t) // twice is harmless
	var timeout net.Error
	if err := ping(50 * time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a frozen server: %v", err)
	}
	s.Thaw(t)
	if err := ping(5 * time.Second); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
	s.Freeze(t) // a test may leave it so
}

func TestKillAndRestart(t *testing.T) {
	s := Real(t)
	addr := s.Addr
	if err := s.Client(t).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	refused(t, addr)
	for range 3 { // after a kill, and in place of a living one
		s.Restart(t)
		if n, err := s.Client(t).DBSize(t.Context()).Result(); err != nil || n != 0 || s.Addr != addr {
			t.Fatalf("after a restart at %s: %s, %d keys, %v", addr, s.Addr, n, err)
		}
	}
}

func TestTakenPortIsNoticed(t *testing.T) {
	other := Real(t)
	_, err := startProcessAt(other.proc.bin, t.TempDir(), other.proc.port)
	if !errors.Is(err, errPortTaken) {
		t.Errorf("started on a taken port: %v", err)
	}
}

func refused(t *testing.T, addr string) {
	t.Helper()
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(t.Context(), "tcp", addr); err == nil {
		conn.Close()
		t.Errorf("%s still answers", addr)
	}
}
