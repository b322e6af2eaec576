package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// clustered returns the client as a cluster's, if it is one.
func clustered(client redis.UniversalClient) (*redis.ClusterClient, bool) {
	c, ok := client.(*redis.ClusterClient)
	return c, ok
}

// load gives the servers the scripts. One that is away gets each when it is needed, as after a restart; it is an error
// only if all are.
func (s *Store) load(ctx context.Context) error {
	c, ok := clustered(s.client)
	if !ok {
		return s.loadInto(ctx, s.client)
	}
	var loaded atomic.Bool
	var first error
	err := c.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		err := s.loadInto(ctx, master)
		if err == nil {
			loaded.Store(true)
		}
		return err
	})
	if !loaded.Load() {
		first = err
	}
	return first
}

func (s *Store) loadInto(ctx context.Context, client redis.UniversalClient) error {
	for _, script := range s.scripts { // one by one: in a pipeline Load forgets the script's hash, and each call would send the text
		if err := script.Load(ctx, client).Err(); err != nil {
			return err
		}
	}
	return nil
}

// masterPatience is for how long one master of a cluster is waited for by Ping.
const masterPatience = 500 * time.Millisecond

// Ping reports whether the store answers. Of a cluster one master that serves is enough: while another is away only its
// partitions suffer, wherever they are asked for. Were a node unready by that, all nodes were, and nobody would serve the
// rooms of the others.
func (s *Store) Ping(ctx context.Context) error {
	c, ok := clustered(s.client)
	if !ok {
		if err := s.client.Ping(ctx).Err(); err != nil {
			return readError(failure("ping", err))
		}
		return nil
	}
	var last error
	asked := map[*redis.Client]bool{}
	for p := range s.keys.tags {
		master, err := c.MasterForKey(ctx, s.keys.rooms(p))
		if err != nil {
			last = err
			continue
		}
		if asked[master] {
			continue
		}
		asked[master] = true
		if last = serves(ctx, master, s.keys.rooms(p)); last == nil {
			return nil
		}
	}
	return readError(failure("ping", last))
}

// serves asks a master for a key, so that it says as well if the cluster is down (CLUSTERDOWN); a PING is answered then.
func serves(ctx context.Context, master *redis.Client, key string) error {
	ctx, cancel := context.WithTimeout(ctx, masterPatience)
	defer cancel()
	err := master.Exists(ctx, key).Err()
	if redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") {
		return nil
	}
	return err
}

// sent is what errors of packages redisurl and redispipe say: whether the command may have reached the server.
type sent interface{ Sent() bool }

// sentOf returns what err says of that; ok is false if it is another client's.
func sentOf(err error) (was, ok bool) {
	var e sent
	if !errors.As(err, &e) {
		return false, false
	}
	return e.Sent(), true
}
