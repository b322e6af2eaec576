package store_test

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// BenchmarkVerbs runs the hot verbs on a real server, one after another and many at a time, each caller in a room of its own, and tells
// what of it is the server's own time: in the script, and in all. What a server takes differs by machine and by the hour, so a yardstick
// is measured along with them: six commands on six keys, and nothing else.
func BenchmarkVerbs(b *testing.B) {
	server := redistest.Real(b)
	client := server.Client(b)
	s, err := store.New(b.Context(), client, store.Options{Limits: hearth.Limits{MaxOps: 1 << 30}, Poller: redistest.Poller(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	for p := range s.Partitions() {
		if _, err := s.Begin(b.Context(), p, "n"); err != nil {
			b.Fatal(err)
		}
	}
	join := func(b *testing.B, room, peer string) (store.Writer, error) {
		q := store.JoinRequest{
			Room: room, Peer: hearth.Peer{ID: peer, User: "u-" + peer, Role: "guest"}, Conn: hearth.NewConnSecret(), Incarnation: "n", Peers: 200,
		}
		j, err := s.Join(b.Context(), q)
		if err != nil {
			return store.Writer{}, err
		}
		return store.Writer{Session: j.ID, Peer: peer, Conn: q.Conn, User: q.Peer.User}, nil
	}
	yardstick := redis.NewScript(`
		if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
		redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
		local n = redis.call('HINCRBY', KEYS[3], 'n', 1)
		redis.call('PUBLISH', KEYS[4], ARGV[2])
		redis.call('ZADD', KEYS[5], n, ARGV[1])
		redis.call('XADD', KEYS[6], 'MAXLEN', '~', 1000, '*', 'd', ARGV[2])
		return n`)
	value := []byte(`{"x":1,"y":2,"text":"some words that somebody wrote"}`)
	for _, bench := range []struct {
		name string
		run  func(b *testing.B, room string, w store.Writer, i int) error
	}{
		{"yardstick", func(b *testing.B, room string, _ store.Writer, i int) error {
			keys := make([]string, 6)
			for k := range keys {
				keys[k] = "{" + room + "}" + strconv.Itoa(k)
			}
			return yardstick.Run(b.Context(), client, keys, strconv.Itoa(i%1000), value).Err()
		}},
		{"set", func(b *testing.B, room string, w store.Writer, _ int) error {
			_, err := s.Set(b.Context(), room, w, "k", value, nil, hearth.Life{})
			return err
		}},
		{"set with an op_id", func(b *testing.B, room string, w store.Writer, i int) error {
			w.Op = strconv.Itoa(i)
			_, err := s.Set(b.Context(), room, w, "k", value, nil, hearth.Life{})
			return err
		}},
		{"update of one entry", func(b *testing.B, room string, w store.Writer, _ int) error {
			_, err := s.Update(b.Context(), room, w, []hearth.Op{{Kind: hearth.OpSet, Key: "k", Data: value}})
			return err
		}},
		{"broadcast", func(b *testing.B, room string, w store.Writer, _ int) error {
			_, err := s.Broadcast(b.Context(), room, w, &hearth.Message{ID: hearth.NewMessageID(), Type: "chat", Message: value})
			return err
		}},
		{"join and leave", func(b *testing.B, room string, _ store.Writer, i int) error {
			w, err := join(b, room, "p"+strconv.Itoa(i))
			if err == nil {
				_, err = s.Leave(b.Context(), room, w, hearth.Left)
			}
			return err
		}},
		{"get", func(b *testing.B, room string, _ store.Writer, _ int) error {
			_, _, err := s.Get(b.Context(), room, "", "k")
			return err
		}},
	} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d callers", bench.name, callers), func(b *testing.B) {
				writers := make([]store.Writer, callers)
				for i := range writers {
					var err error
					if writers[i], err = join(b, "room-"+strconv.Itoa(i), "ann"); err != nil {
						b.Fatal(err)
					}
				}
				if err := client.ConfigResetStat(b.Context()).Err(); err != nil {
					b.Fatal(err)
				}
				before := serverTime(b, client)
				b.ResetTimer()
				var wg sync.WaitGroup
				for c, w := range writers {
					wg.Go(func() {
						for i := c; i < b.N; i += callers {
							if err := bench.run(b, "room-"+strconv.Itoa(c), w, i); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				stats, err := client.Info(b.Context(), "commandstats").Result()
				if err != nil {
					b.Fatal(err)
				}
				if m := regexp.MustCompile(`cmdstat_evalsha:.*usec_per_call=([0-9.]+)`).FindStringSubmatch(stats); m != nil {
					usec, _ := strconv.ParseFloat(m[1], 64)
					b.ReportMetric(usec, "redis-µs/script")
				}
				b.ReportMetric((serverTime(b, client)-before)*1e6/float64(b.N), "redis-cpu-µs/call")
			})
		}
	}
}

// serverTime returns the processor time that a server has taken, in seconds.
func serverTime(b *testing.B, client *redis.Client) (sum float64) {
	b.Helper()
	text, err := client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`used_cpu_(?:user|sys):([0-9.]+)`).FindAllStringSubmatch(text, -1) {
		t, _ := strconv.ParseFloat(m[1], 64)
		sum += t
	}
	return sum
}
