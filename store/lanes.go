package store

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/redispipe"
)

// lanes are the ways of calls to the store. On a cluster each master has its own: one call that it doesn't take doesn't hold up the
// others, and no master holds up what goes to another.
type lanes struct {
	cluster *redis.ClusterClient // nil: there is one server
	poller  *netpoll.Poller
	all     *ways // to that one, or to the cluster while it is not known who has a key

	mu      sync.RWMutex
	masters map[string]*ways // by address
	closed  bool
	wg      sync.WaitGroup // of ways that are closed
}

// ways are the lanes to one server.
type ways struct {
	client redis.UniversalClient
	short  *redispipe.Pipe // of calls that cost little and are answered by little
	joins  *redispipe.Pipe
	used   atomic.Int64 // when the last call went by them, in seconds
}

// unused is for how long a master of a cluster is asked nothing before its ways are closed.
const unused = 5 * time.Minute

func newWays(client redis.UniversalClient, poller *netpoll.Poller) *ways {
	pipes := redispipe.New(client, poller, 2)
	return &ways{client: client, short: pipes[0], joins: pipes[1]}
}

func (w *ways) close() {
	w.short.Close()
	w.joins.Close()
}

// drain is close, but for what is under way.
func (w *ways) drain() {
	w.short.Drain()
	w.joins.Drain()
}

func newLanes(client redis.UniversalClient, poller *netpoll.Poller) *lanes {
	l := &lanes{all: newWays(client, poller), poller: poller, masters: map[string]*ways{}}
	l.cluster, _ = clustered(client)
	return l
}

// close has all that is under way fail, and waits for it.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	masters := slices.Collect(maps.Values(l.masters))
	clear(l.masters)
	l.mu.Unlock()
	l.all.close()
	for _, w := range masters {
		w.close()
	}
	l.wg.Wait()
}

// to returns the ways to the server that has a key, as far as is known. A master may be another one by now, which then says so.
func (l *lanes) to(ctx context.Context, key string) *ways {
	if l.cluster == nil {
		return l.all
	}
	master, err := l.cluster.MasterForKey(ctx, key)
	if err != nil {
		return l.all
	}
	addr := master.Options().Addr
	l.mu.RLock()
	w := l.masters[addr]
	l.mu.RUnlock()
	now := time.Now().Unix()
	if w != nil && w.client == master {
		w.used.Store(now)
		return w
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w = l.masters[addr]; l.closed {
		return l.all
	} else if w != nil && w.client == master {
		return w
	}
	for at, old := range l.masters { // the cluster's client may have made another one; or it is no master any more
		if at == addr || now-old.used.Load() > int64(unused.Seconds()) {
			delete(l.masters, at)
			l.wg.Go(old.drain)
		}
	}
	w = newWays(master, l.poller)
	w.used.Store(now)
	l.masters[addr] = w
	return w
}

// of returns the lane of a verb; nil for those that go by themselves, because their answers are long or because they are rare.
func (l *lanes) of(ctx context.Context, v verb, key string) *redispipe.Pipe {
	switch v {
	case verbSet, verbDelete, verbUpdate, verbBroadcast, verbLeave, verbRenew, verbPeerUpdate, verbGet,
		verbLockAcquire, verbLockCancel, verbLockRenew, verbLockRelease:
		return l.to(ctx, key).short
	case verbJoin:
		return l.to(ctx, key).joins
	}
	return nil
}

// run runs a script and returns what it answered.
func (l *lanes) run(ctx context.Context, v verb, s *redis.Script, keys []string, args []any) ([]any, error) {
	lane := l.of(ctx, v, keys[0])
	if lane == nil {
		fiber.From(ctx).Leave()
		return s.Run(ctx, l.all.client, keys, args...).Slice() //nolint:wrapcheck // failure does
	}
	cmd := evalSha(ctx, s, keys, args)
	err := lane.Do(ctx, cmd)
	if err == nil {
		return cmd.Slice() //nolint:wrapcheck // failure does
	}
	// What was not executed is tried again as a command that is alone: the server is given the script; the cluster's client finds
	// who has the slot now, and waits for one that moves.
	if redis.HasErrorPrefix(err, "NOSCRIPT") || l.cluster != nil && notExecuted(err) && ctx.Err() == nil {
		fiber.From(ctx).Leave()
		return s.Run(ctx, l.all.client, keys, args...).Slice() //nolint:wrapcheck // failure does
	}
	return nil, err
}

func evalSha(ctx context.Context, s *redis.Script, keys []string, args []any) *redis.Cmd {
	all := make([]any, 3, 3+len(keys)+len(args))
	all[0], all[1], all[2] = "evalsha", s.Hash(), len(keys)
	for _, key := range keys {
		all = append(all, key)
	}
	return redis.NewCmd(ctx, append(all, args...)...)
}
