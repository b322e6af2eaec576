package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// oldestRedis is the first major version that Hearth is tested on.
const oldestRedis = 7

// redisServer is what one server tells of itself.
type redisServer struct {
	addr string // "" if it is the only one
	info map[string]string
}

// redis looks at the store itself, which only its operator can reach.
func (r *run) redis(ctx context.Context) {
	var servers []redisServer
	r.check(ctx, "redis", "", func(ctx context.Context) (c Check) {
		var err error
		if servers, err = redisServers(ctx, r.o.Redis); err != nil {
			return Check{Status: Fail, Detail: "Redis does not answer: " + err.Error(), Advice: "is --redis right, and the password in it?"}
		}
		return worst(servers, redisVersion)
	})
	r.check(ctx, "redis-memory", "redis", func(context.Context) Check { return worst(servers, redisMemory) })
	r.check(ctx, "redis-persistence", "redis", func(context.Context) Check { return worst(servers, redisPersistence) })
	if _, ok := r.o.Redis.(*redis.ClusterClient); ok {
		r.check(ctx, "redis-cluster", "redis", func(ctx context.Context) Check {
			text, err := r.o.Redis.ClusterInfo(ctx).Result()
			if err != nil {
				return Check{Status: Fail, Detail: "it is no cluster: " + err.Error(), Advice: "redis:// is for a server alone"}
			}
			return redisCluster(parseInfo(text), servers)
		})
	}
}

// redisServers asks the server, or each master of a cluster.
func redisServers(ctx context.Context, client redis.UniversalClient) ([]redisServer, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		text, err := client.Info(ctx, "everything").Result()
		return []redisServer{{info: parseInfo(text)}}, err
	}
	var mu sync.Mutex
	var all []redisServer
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		addr := master.Options().Addr
		text, err := master.Info(ctx, "everything").Result()
		if err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, redisServer{addr, parseInfo(text)})
		return nil
	})
	slices.SortFunc(all, func(a, b redisServer) int { return strings.Compare(a.addr, b.addr) })
	return all, err
}

// worst looks at each server and returns the first of what came out worst, with the server's address.
func worst(servers []redisServer, look func(info map[string]string) Check) Check {
	var out Check
	rank := map[Status]int{OK: 1, Warn: 2, Fail: 3}
	for _, s := range servers {
		c := look(s.info)
		if s.addr != "" {
			c.Detail = s.addr + ": " + c.Detail
		}
		if rank[c.Status] > rank[out.Status] {
			out = c
		}
	}
	if len(servers) > 1 && out.Status == OK {
		out.Detail += fmt.Sprintf("; %d masters", len(servers))
	}
	return out
}

// redisCluster looks at what a cluster says of itself, and at whether each master has somebody to take its place.
func redisCluster(info map[string]string, masters []redisServer) Check {
	if info["cluster_state"] != "ok" || info["cluster_slots_ok"] != "16384" {
		return Check{
			Status: Fail, Detail: fmt.Sprintf("the cluster's state is %s, %s of 16384 slots are served", info["cluster_state"], info["cluster_slots_ok"]),
			Advice: "redis-cli --cluster check host:port",
		}
	}
	for _, m := range masters {
		if m.info["connected_slaves"] == "0" {
			return Check{
				Status: Warn, Detail: m.addr + " has no replica: if it fails, its rooms are away until it is back",
				Advice: "give each master a replica",
			}
		}
	}
	return ok("all slots are served, %s nodes, each master has a replica", info["cluster_known_nodes"])
}

// parseInfo reads the lines name:value of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, "#") {
			info[name] = value
		}
	}
	return info
}

func redisVersion(info map[string]string) Check {
	version, name := info["redis_version"], "Redis"
	if v := info["valkey_version"]; v != "" { // its redis_version is that of what it is compatible with
		version, name = v, "Valkey"
	}
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	switch {
	case info["role"] == "slave":
		return Check{Status: Fail, Detail: name + " is a replica: it takes no writes", Advice: "give the nodes the master's address"}
	case err != nil:
		return Check{Status: Warn, Detail: "the server does not say which version it is", Advice: "Redis 7 or Valkey 8 at least"}
	case n < oldestRedis:
		return Check{Status: Fail, Detail: name + " " + version + " is too old", Advice: "Redis 7 or Valkey 8 at least"}
	}
	return ok("%s %s, %s clients", name, version, info["connected_clients"])
}

func redisMemory(info map[string]string) Check {
	policy, limit := info["maxmemory_policy"], info["maxmemory"]
	used := info["used_memory_human"]
	most := info["maxmemory_human"]
	switch {
	case policy == "":
		return Check{Status: Warn, Detail: "the server does not tell its maxmemory-policy", Advice: "make sure that it is noeviction"}
	case policy != "noeviction" && limit != "0":
		return Check{
			Status: Fail, Detail: fmt.Sprintf("maxmemory-policy is %s, maxmemory %s: full, Redis drops parts of live sessions", policy, most),
			Advice: "CONFIG SET maxmemory-policy noeviction, and in redis.conf",
		}
	case policy != "noeviction":
		return Check{
			Status: Warn, Detail: fmt.Sprintf("maxmemory-policy is %s: it does no harm as long as maxmemory is not set", policy),
			Advice: "CONFIG SET maxmemory-policy noeviction, and in redis.conf",
		}
	case limit == "0":
		return Check{
			Status: Warn, Detail: fmt.Sprintf("noeviction, but maxmemory is not set: %s used, the machine's memory is the limit", used),
			Advice: "set maxmemory, so that a full Redis refuses writes instead of being killed",
		}
	}
	return ok("noeviction, %s used of %s", used, most)
}

func redisPersistence(info map[string]string) Check {
	const advice = "appendonly yes, appendfsync everysec keeps all but the last second; without, a restart ends all sessions"
	aof, known := info["aof_enabled"]
	switch {
	case !known:
		return Check{Status: Warn, Detail: "the server does not tell whether it keeps its data", Advice: advice}
	case info["aof_last_write_status"] == "err":
		return Check{Status: Fail, Detail: "Redis can't write its append-only file", Advice: "is its disk full? Redis refuses writes until it can"}
	case info["rdb_last_bgsave_status"] == "err":
		return Check{Status: Warn, Detail: "Redis could not save its last snapshot; by default it then refuses writes", Advice: "is its disk full, or memory too short to fork?"}
	case aof == "1":
		return ok("append-only file is on")
	}
	return Check{Status: Warn, Detail: "no append-only file: what is live is lost when Redis restarts, or back to its last snapshot", Advice: advice}
}
