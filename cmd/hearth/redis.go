package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/hearthstore/hearth/internal/devredis"
	"github.com/hearthstore/hearth/internal/redisurl"
)

// redisPlace is where a Redis is, and what its URL does not say.
type redisPlace struct {
	url, ca, passwordFile string
}

// flags declares what goes with --redis.
func (p *redisPlace) flags(f *pflag.FlagSet) {
	f.StringVar(&p.ca, "redis-ca", "", "authorities (PEM) that sign the certificate of Redis, where it is reached by TLS (default: the system's)")
	f.StringVar(&p.passwordFile, "redis-password-file", "", "file of the password of Redis, instead of one in its URL; read at the start")
}

// target is the Redis with all that there is to know about it.
func (p *redisPlace) target() (*redisurl.Target, error) {
	target, err := redisurl.Parse(p.url)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_REDIS: %w", err)
	}
	for _, file := range []struct {
		variable, path string
		take           func([]byte) error
	}{{"HEARTH_REDIS_CA", p.ca, target.Trust}, {"HEARTH_REDIS_PASSWORD_FILE", p.passwordFile, target.Authenticate}} {
		if file.path == "" {
			continue
		}
		text, err := os.ReadFile(file.path)
		if err == nil {
			err = file.take(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.variable, err)
		}
	}
	return target, nil
}

// open returns a client of it, what it is called, and what closes it.
func (p *redisPlace) open(ctx context.Context) (client redis.UniversalClient, name string, stop func(), err error) {
	at, end := *p, func() {}
	if p.url == embedded {
		if p.ca != "" || p.passwordFile != "" {
			return nil, "", nil, errors.New("HEARTH_REDIS_CA and HEARTH_REDIS_PASSWORD_FILE are for a Redis that is not embedded: set HEARTH_REDIS")
		}
		server, err := devredis.Start()
		if err != nil {
			return nil, "", nil, err
		}
		at.url, end = "redis://"+server.Addr(), server.Close
	}
	target, err := at.target()
	if err != nil {
		end()
		return nil, "", nil, err
	}
	if name = target.String(); p.url == embedded {
		name = embedded
	}
	client = target.Client() //nolint:contextcheck // it lives until stop
	stop = func() {
		_ = client.Close()
		end()
	}
	pctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.Ping(pctx).Err(); err != nil {
		stop()
		return nil, "", nil, fmt.Errorf("HEARTH_REDIS: %s does not answer: %w", name, err)
	}
	return client, name, stop, nil
}
