package redisurl

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A connection that this package dials finds out as soon as one of the library's own that its server is gone.
func TestConnectionsAreKeptAlive(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	target, err := Parse("redis://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// probes returns whether there are any, and after and by how much time, and how many.
	probes := func(dial func(ctx context.Context, network, addr string) (net.Conn, error)) (out [4]int) {
		t.Helper()
		nc, err := dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		socket, ok := nc.(syscall.Conn)
		if !ok {
			t.Fatalf("a %T is no socket", nc)
		}
		raw, err := socket.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for i, option := range [4][2]int{
				{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
			} {
				if out[i], err = syscall.GetsockoptInt(int(fd), option[0], option[1]); err != nil {
					t.Fatal(err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	theirs := probes(redis.NewDialer(&redis.Options{}))
	if got := probes(target.single.Dialer); got != theirs || got[0] != 1 {
		t.Errorf("probes are %v, the library's %v", got, theirs)
	}
}
