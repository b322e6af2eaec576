package store_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// BenchmarkVerbs runs the hot verbs on a real server, one after another, and tells what of it is the server's own time.
func BenchmarkVerbs(b *testing.B) {
	server := redistest.Real(b)
	client := server.Client(b)
	s, err := store.New(b.Context(), client, store.Options{Limits: hearth.Limits{MaxOps: 1 << 30}})
	if err != nil {
		b.Fatal(err)
	}
	for p := range s.Partitions() {
		if _, err := s.Begin(b.Context(), p, "n"); err != nil {
			b.Fatal(err)
		}
	}
	join := func(b *testing.B, room, peer string) store.Writer {
		q := store.JoinRequest{
			Room: room, Peer: hearth.Peer{ID: peer, User: "u-" + peer, Role: "guest"}, Conn: hearth.NewConnSecret(), Incarnation: "n", Peers: 200,
		}
		j, err := s.Join(b.Context(), q)
		if err != nil {
			b.Fatal(err)
		}
		return store.Writer{Session: j.ID, Peer: peer, Conn: q.Conn, User: q.Peer.User}
	}
	value := []byte(`{"x":1,"y":2,"text":"some words that somebody wrote"}`)
	for _, bench := range []struct {
		name string
		run  func(b *testing.B, room string, w store.Writer, i int) error
	}{
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
			_, err := s.Leave(b.Context(), room, join(b, room, "p"+strconv.Itoa(i)), hearth.Left)
			return err
		}},
		{"get", func(b *testing.B, room string, _ store.Writer, _ int) error {
			_, _, err := s.Get(b.Context(), room, "", "k")
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := join(b, "room", "ann")
			if err := client.ConfigResetStat(b.Context()).Err(); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				if err := bench.run(b, "room", w, i); err != nil {
					b.Fatal(err)
				}
				i++
			}
			stats, err := client.Info(b.Context(), "commandstats").Result()
			if err != nil {
				b.Fatal(err)
			}
			if m := regexp.MustCompile(`cmdstat_evalsha:.*usec_per_call=([0-9.]+)`).FindStringSubmatch(stats); m != nil {
				usec, _ := strconv.ParseFloat(m[1], 64)
				b.ReportMetric(usec, "redis-µs/call")
			}
		})
	}
}
