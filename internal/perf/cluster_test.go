package perf

import (
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// TestCluster: one server, and three masters with the same load each: a server with less to do at a time spends more on each
// thing. Where all of them share a few cores, what they can do together doesn't show; what one of them can do is told by the
// processor time that a message costs it. The single server has a replica as well, since each master has one.
func TestCluster(t *testing.T) {
	one := redistest.Real(t)
	redistest.Real(t, redistest.ReplicaOf(one))
	three := redistest.Cluster(t, redistest.Calm())
	masters := three.Masters(t)
	var clients []*redis.Client
	for _, m := range masters {
		clients = append(clients, m.Client(t))
	}
	single, stopSingle := startNodes(t, 2, one.URL, one.Prefix)
	cluster, stopCluster := startNodes(t, 2, three.URL, three.Prefix)
	defer stopCluster()
	defer stopSingle()
	rows := [][]string{
		{"", "one server, µs CPU", "cluster, µs CPU", "throughput a master", "one server, µs in scripts", "cluster, µs in scripts"},
		{"---", "---", "---", "---", "---", "---"},
	}
	n := float64(len(clients))
	begin := make([]work, len(clients))
	for i, c := range clients {
		begin[i] = workOf(t, c)
	}
	for _, s := range []struct {
		name      string
		low, high float64 // a server
		args      []string
	}{
		{"message, 4 hear it", 20, size(200.0, 500), []string{"--scenario", "rooms", "--rooms", "60"}},
		{"write", 20, size(200.0, 500), []string{"--scenario", "sets", "--rooms", "60"}},
		{"join and leave", 10, size(50.0, 150), []string{"--scenario", "joins", "--rooms", "60"}},
	} {
		args := slices.Concat(s.args, []string{"--duration", size("1s", "8s")})
		var a, b work
		rounds := size(1, 3) // in turns, so that what troubles the machine troubles both
		for range rounds {
			a = a.minus(marginal(t, single, []*redis.Client{one.Client(t)}, s.low, s.high, args...).per(-float64(rounds)))
			b = b.minus(marginal(t, cluster, clients, s.low*n, s.high*n, args...).per(-float64(rounds)))
		}
		rows = append(rows, []string{s.name, num(a.cpu * 1e6), num(b.cpu * 1e6), num(a.cpu/b.cpu) + "×", num(a.usec), num(b.usec)})
	}
	var all float64
	shares := make([]float64, len(clients))
	for i, c := range clients {
		shares[i] = workOf(t, c).minus(begin[i]).scripts
		all += shares[i]
	}
	for i, n := range shares {
		if n < all/10 {
			t.Errorf("master %d had %.0f of %.0f scripts", i, n, all)
		}
	}
	table(t, fmt.Sprintf("three masters, which had %.0f, %.0f and %.0f scripts", shares[0], shares[1], shares[2]), rows...)
}
