package redisurl

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sentinelQuiet is for how long a sentinel may say nothing before it is asked whether it is there.
	sentinelQuiet = 10 * time.Second
	// sentinelPause is from a sentinel that was lost to the next attempt.
	sentinelPause = time.Second
	switched      = "+switch-master"
)

// heed has all sentinels that the URL names listened to. The library hears one, which may be the last to learn who is the
// master now, and acts on it only when a command needs a connection.
func (f *follower) heed(o *redis.FailoverOptions) {
	ctx, cancel := context.WithCancel(context.Background()) // the client's own life; no caller's call is it
	f.cancel = cancel
	for _, addr := range o.SentinelAddrs {
		f.wg.Go(func() {
			c := redis.NewSentinelClient(&redis.Options{
				Addr: addr, Username: o.SentinelUsername, Password: o.SentinelPassword, Dialer: o.Dialer, TLSConfig: o.TLSConfig,
				MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DialTimeout: dialTimeout,
				ReadTimeout: callTimeout, WriteTimeout: callTimeout, ReadBufferSize: 4096, WriteBufferSize: 4096,
			})
			defer func() { _ = c.Close() }()
			for ctx.Err() == nil {
				f.listen(ctx, c, o.MasterName)
				pause(ctx, sentinelPause)
			}
		})
	}
}

// listen hears one sentinel for as long as it is there.
func (f *follower) listen(ctx context.Context, c *redis.SentinelClient, master string) {
	sub := c.Subscribe(ctx)
	defer func() { _ = sub.Close() }()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })()
	if sub.Subscribe(ctx, switched) != nil {
		return
	}
	for asked := false; ; {
		got, err := sub.ReceiveTimeout(ctx, sentinelQuiet)
		if err != nil {
			if asked || ctx.Err() != nil || sub.Ping(ctx) != nil { // an error of the connection is one of the ping as well
				return
			}
			asked = true
			continue
		}
		asked = false
		m, ok := got.(*redis.Message)
		if !ok {
			continue
		}
		// <name> <old host> <old port> <host> <port>
		if p := strings.Fields(m.Payload); len(p) == 5 && p[0] == master {
			f.announced(net.JoinHostPort(p[3], p[4]))
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
