package store_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
	"github.com/hearthstore/hearth/store/storetest"
)

// open returns the product's client of a URL.
func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	target, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	client := target.Client()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestContractOnSentinel(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t, redistest.Calm())
	contractAt(t, s.URL, s.Prefix)
}

func TestContractOnCluster(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t, redistest.Calm())
	contractAt(t, c.URL, c.Prefix)
}

func contractAt(t *testing.T, url, prefix string) {
	t.Helper()
	storetest.Run(t, func(t *testing.T) *storetest.Env {
		return &storetest.Env{Client: open(t, url), Prefix: fmt.Sprintf("%s-%d", prefix, envs.Add(1))}
	})
}
