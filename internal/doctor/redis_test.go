package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

func TestRedisInfo(t *testing.T) {
	const good = "# Server\r\nredis_version:7.2.4\r\nrole:master\r\nconnected_clients:3\r\n# Memory\r\nmaxmemory:1000\r\nmaxmemory_human:1K\r\n" +
		"used_memory_human:1M\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\nrdb_last_bgsave_status:ok\r\n"
	for name, tt := range map[string]struct {
		without, with string
		want          string // version, memory, persistence
		says          string
	}{
		"well":                        {"", "", "ooo", "noeviction"},
		"old":                         {"redis_version:7.2.4", "redis_version:6.2.1", "foo", "too old"},
		"no version":                  {"redis_version:7.2.4", "redis_version:", "woo", "which version"},
		"two digits":                  {"redis_version:7.2.4", "redis_version:10.0.0", "ooo", "10.0.0"},
		"Valkey":                      {"redis_version:7.2.4", "redis_version:7.2.4\r\nvalkey_version:8.0.1", "ooo", "Valkey 8.0.1"},
		"a replica":                   {"role:master", "role:slave", "foo", "master's address"},
		"it drops keys":               {"noeviction", "allkeys-lru", "ofo", "CONFIG SET"},
		"it would drop keys":          {"maxmemory:1000\r\nmaxmemory_human:1K\r\nused_memory_human:1M\r\nmaxmemory_policy:noeviction", "maxmemory:0\r\nmaxmemory_policy:volatile-lru", "owo", "CONFIG SET"},
		"no limit":                    {"maxmemory:1000", "maxmemory:0", "owo", "set maxmemory"},
		"no policy":                   {"maxmemory_policy", "x", "owo", "noeviction"},
		"nothing kept":                {"aof_enabled:1", "aof_enabled:0", "oow", "appendonly"},
		"not told":                    {"aof_enabled", "x", "oow", "does not tell"},
		"the file can't be written":   {"aof_last_write_status:ok", "aof_last_write_status:err", "oof", "disk"},
		"a snapshot can't be written": {"rdb_last_bgsave_status:ok", "rdb_last_bgsave_status:err", "oow", "disk"},
	} {
		t.Run(name, func(t *testing.T) {
			info := parseInfo(strings.Replace(good, tt.without, tt.with, 1))
			var got, text strings.Builder
			for _, c := range []Check{redisVersion(info), redisMemory(info), redisPersistence(info)} {
				got.WriteString(string(c.Status[:1]))
				text.WriteString(c.Detail + " " + c.Advice + "\n")
				if (c.Status == OK) != (c.Advice == "") {
					t.Errorf("advice: %+v", c)
				}
			}
			if got.String() != tt.want || !strings.Contains(text.String(), tt.says) {
				t.Errorf("%s: %s", got.String(), text.String())
			}
		})
	}
}

func TestRealRedis(t *testing.T) {
	got := look(t, newServer(), Options{Redis: redistest.Shared(t).Client(t)})
	if c := got["redis"]; c.Status != OK {
		t.Errorf("%+v", c)
	}
	// A test's server has no limit and keeps nothing.
	if c := got["redis-memory"]; c.Status != Warn || !strings.Contains(c.Detail, "noeviction") {
		t.Errorf("%+v", c)
	}
	if c := got["redis-persistence"]; c.Status != Warn {
		t.Errorf("%+v", c)
	}
	nobody := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialTimeout: time.Second})
	defer func() { _ = nobody.Close() }()
	got = look(t, newServer(), Options{Redis: nobody})
	if got["redis"].Status != Fail || got["redis-memory"].Status != Skip || got["redis-persistence"].Status != Skip {
		t.Errorf("%+v", got)
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.Cluster(t, redistest.Calm())
	client := cluster.Client(t)
	got := look(t, newServer(), Options{Redis: client})
	if c := got["redis"]; c.Status != OK || !strings.Contains(c.Detail, "3 masters") {
		t.Errorf("%+v", c)
	}
	if c := got["redis-memory"]; c.Status != Warn || !strings.Contains(c.Detail, "127.0.0.1:") {
		t.Errorf("%+v", c)
	}
	if c := got["redis-cluster"]; c.Status != OK {
		t.Errorf("%+v", c)
	}
	masters := []redisServer{{"a:1", map[string]string{"connected_slaves": "1"}}, {"b:2", map[string]string{"connected_slaves": "0"}}}
	good := map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16384", "cluster_known_nodes": "6"}
	if c := redisCluster(good, masters); c.Status != Warn || !strings.Contains(c.Detail, "b:2") {
		t.Errorf("%+v", c)
	}
	good["cluster_slots_ok"] = "16383"
	if c := redisCluster(good, masters[:1]); c.Status != Fail {
		t.Errorf("%+v", c)
	}
}
