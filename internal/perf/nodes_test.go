package perf

import (
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// TestNodes: what a message to a room costs Redis, while peers of the room are on 1, 2 and 4 nodes: one script, whatever
// their number, and one more delivery a node.
func TestNodes(t *testing.T) {
	counts := size([]int{1, 2}, []int{1, 2, 4})
	rows := [][]string{{"nodes", "scripts a message", "µs in scripts", "µs of CPU", "bytes out", "bytes out a node"}, {"---", "---", "---", "---", "---", "---"}}
	for _, n := range counts {
		s := redistest.Real(t)
		urls, stop := startNodes(t, n, s.URL, s.Prefix)
		w := marginal(t, urls, []*redis.Client{s.Client(t)}, 20, size(200.0, 400), "--scenario", "fanout", "--peers", "16", "--duration", size("1s", "10s"))
		stop()
		rows = append(rows, []string{strconv.Itoa(n), num(w.scripts), num(w.usec), num(w.cpu * 1e6), num(w.out), num(w.out / float64(n))})
		if w.scripts > 1.5 {
			t.Errorf("with %d nodes a message takes %.2f scripts", n, w.scripts)
		}
	}
	table(t, "one room, peers on all nodes", rows...)
}
