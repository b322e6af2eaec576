package devredis_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"github.com/hearthstore/hearth/internal/devredis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *devredis.Server {
	t.Helper()
	s, err := devredis.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr:            addr,
		MaxRetries:      -1,
		DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return c
}

// Deadlines that nodes share are compared with the server's TIME, asked for
// inside scripts: both ways of asking have to follow the wall clock.
func TestTimeIsTheWallClock(t *testing.T) {
	c := client(t, start(t).Addr())
	ask := map[string]func(context.Context) (time.Time, error){
		"command": func(ctx context.Context) (time.Time, error) { return c.Time(ctx).Result() },
		"script": func(ctx context.Context) (time.Time, error) {
			const script = `local t = redis.call('TIME') return t[1] * 1000000 + t[2]`
			micros, err := c.Eval(ctx, script, nil).Int64()
			return time.UnixMicro(micros), err
		},
	}
	for name, now := range ask {
		t.Run(name, func(t *testing.T) {
			var last time.Time
			for range 3 {
				before := time.Now().Truncate(time.Microsecond)
				got, err := now(t.Context())
				after := time.Now()
				if err != nil {
					t.Fatal(err)
				}
				if got.Before(before) || got.After(after) {
					t.Fatalf("TIME is %v, outside of %v … %v", got, before, after)
				}
				if !got.After(last) {
					t.Fatalf("TIME stands still at %v", got)
				}
				last = got
			}
		})
	}
}

func TestReachableFromLoopbackOnly(t *testing.T) {
	host, port, err := net.SplitHostPort(start(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	if ip := net.ParseIP(host); !ip.IsLoopback() {
		t.Fatalf("listens on %s", host)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok || ipnet.IP.IsLoopback() || ipnet.IP.IsLinkLocalUnicast() {
			continue
		}
		dialer := net.Dialer{Timeout: time.Second}
		conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(ipnet.IP.String(), port))
		if err == nil {
			t.Errorf("answers on %s", conn.RemoteAddr())
			conn.Close()
		}
	}
}

func TestEachServerIsEmptyAndItsOwn(t *testing.T) {
	a, b := start(t), start(t)
	if a.Addr() == b.Addr() {
		t.Fatalf("two servers at %s", a.Addr())
	}
	if err := client(t, a.Addr()).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	n, err := client(t, b.Addr()).DBSize(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Fatalf("a fresh server holds %d keys", n)
	}
}

func TestKeysExpire(t *testing.T) {
	c := client(t, start(t).Addr())
	for key, ttl := range map[string]time.Duration{"short": 10 * time.Millisecond, "long": time.Hour, "for ever": 0} {
		if err := c.Set(t.Context(), key, "v", ttl).Err(); err != nil {
			t.Fatal(err)
		}
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for n, deadline := int64(3), time.Now().Add(15*time.Second); n != 2; <-poll.C {
		var err error
		if n, err = c.Exists(t.Context(), "short", "long", "for ever").Result(); err != nil || n < 2 || time.Now().After(deadline) {
			t.Fatalf("%d keys: %v", n, err)
		}
	}
}

// Close has to end a blocked reader too: a node that shuts down waits for its
// subscriptions.
func TestCloseCutsConnections(t *testing.T) {
	s := start(t)
	sub := client(t, s.Addr()).Subscribe(t.Context(), "ch")
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	cut := make(chan error, 1)
	go func() {
		_, err := sub.Receive(t.Context())
		cut <- err
	}()
	addr := s.Addr()
	s.Close()
	if err := <-cut; err == nil {
		t.Error("a subscription outlived the server")
	}
	if err := sub.Close(); err != nil {
		t.Errorf("close subscription: %v", err)
	}
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(t.Context(), "tcp", addr); err == nil {
		conn.Close()
		t.Error("the port still answers after Close")
	}
	s.Close() // twice is harmless
}
