package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Node is what a node's own metrics say of the time of a measurement.
type Node struct {
	Server string  `json:"server"`
	Node   string  `json:"node"`
	CPU    float64 `json:"cpu_s"`
	RSS    int64   `json:"rss_bytes"`
	// Grown is how much more memory it has than before the first peer came.
	Grown int64 `json:"rss_growth_bytes"`
}

// sample is one reading of a node's metrics.
type sample struct {
	node string
	cpu  float64
	rss  int64
}

// nodes reads the nodes' metrics: before anybody connects, and at the begin and the end of what is measured. A node that
// does not show them, or is another one the next time it is asked (behind a balancer), is left out.
type nodes struct {
	client                *http.Client
	servers               []string
	empty, started, ended map[string]sample
}

// watchNodes takes the first reading.
func watchNodes(ctx context.Context, servers []string) *nodes {
	n := &nodes{client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}, servers: servers}
	n.empty = n.read(ctx)
	return n
}

func (n *nodes) begin(ctx context.Context) { n.started = n.read(ctx) }

func (n *nodes) end(ctx context.Context) {
	n.ended = n.read(ctx)
	n.client.CloseIdleConnections()
}

func (n *nodes) read(ctx context.Context) map[string]sample {
	out := map[string]sample{}
	for _, s := range n.servers {
		if one, err := n.sample(ctx, s); err == nil {
			out[s] = one
		}
	}
	return out
}

var errNoMetrics = errors.New("no metrics of a node")

func (n *nodes) sample(ctx context.Context, server string) (s sample, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/metrics", http.NoBody)
	if err != nil {
		return s, err
	}
	res, err := n.client.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, errNoMetrics
	}
	found := false
	lines := bufio.NewScanner(io.LimitReader(res.Body, 16<<20))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch {
		case name == "process_cpu_seconds_total":
			s.cpu, err = strconv.ParseFloat(value, 64)
			found = err == nil
		case name == "process_resident_memory_bytes":
			f, _ := strconv.ParseFloat(value, 64)
			s.rss = int64(f)
		case strings.HasPrefix(name, "hearth_info{"):
			_, node, _ := strings.Cut(name, `node="`)
			s.node, _, _ = strings.Cut(node, `"`)
		}
	}
	if err := lines.Err(); err != nil {
		return s, err
	}
	if !found || s.node == "" {
		return s, errNoMetrics
	}
	return s, nil
}

// used is what the nodes used, each once; known is false if one of the servers did not tell.
func (n *nodes) used() (list []Node, known bool) {
	seen := map[string]bool{}
	for _, server := range n.servers {
		was, ok1 := n.started[server]
		is, ok2 := n.ended[server]
		if !ok1 || !ok2 || was.node != is.node {
			return nil, false
		}
		if seen[is.node] {
			continue
		}
		seen[is.node] = true
		node := Node{Server: server, Node: is.node, CPU: is.cpu - was.cpu, RSS: is.rss}
		if e, ok := n.empty[server]; ok && e.node == is.node {
			node.Grown = is.rss - e.rss
		}
		list = append(list, node)
	}
	return list, true
}
