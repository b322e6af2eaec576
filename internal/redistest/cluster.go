package redistest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	masters = 3
	slots   = 16384
)

// ClusterServers is a Redis Cluster that a test owns: three masters and a replica of each.
type ClusterServers struct {
	// Nodes are all six servers: three that were masters at first, then the replica of each in the same order.
	Nodes []*Server
	// URL names all of them, as redis-cluster://.
	URL string
	// Prefix is like that of a [Server].
	Prefix string
}

// Cluster starts an empty cluster, in which all agree on who serves what, and every replica is in sync. It costs two
// seconds, which a Redis master lets pass before it takes writes for a cluster that it finds itself in, and little work:
// each node is given its configuration, so none has to be introduced to another. A master that is silent for a second is
// replaced by its replica, unless the options say [Calm]; slots that nobody serves concern nobody else.
func Cluster(tb testing.TB, opts ...Option) *ClusterServers {
	tb.Helper()
	o := gather(opts)
	members := make([]*member, 2*masters)
	for i := range members {
		m := newMember(tb)
		m.args = func() []string {
			return m.directives(append([]string{
				"--cluster-enabled", "yes", "--cluster-config-file", nodesFile,
				"--cluster-node-timeout", strconv.FormatInt(o.failAfter.Milliseconds(), 10),
				"--cluster-require-full-coverage", "no",
				// A replica is promoted however long it was cut off, and stays the replica of whom it is.
				"--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no",
			}, o.directives...)...)
		}
		members[i] = m
	}
	startMembers(tb, binary(tb), members, func() error { return introduce(members) })
	c := &ClusterServers{}
	for i, m := range members {
		s := m.own(tb, NameCluster)
		s.replica = i >= masters
		c.Nodes = append(c.Nodes, s)
	}
	c.URL, c.Prefix = "redis-cluster://"+addrs(c.Nodes), c.Nodes[0].Prefix
	c.AwaitAgreement(tb)
	return c
}

const nodesFile = "nodes.conf"

// introduce writes each node's file of the cluster's nodes as a node that had long been part of it would leave it.
func introduce(members []*member) error {
	for _, me := range members {
		var lines []string
		for i, m := range members {
			flags, master, epoch, serves := "master", "-", i+1, ""
			if i < masters {
				serves = fmt.Sprintf(" %d-%d", i*slots/masters, (i+1)*slots/masters-1)
			} else {
				flags, master, epoch = "slave", members[i-masters].id, i-masters+1
			}
			if m == me {
				flags = "myself," + flags
			}
			lines = append(lines, fmt.Sprintf("%s 127.0.0.1:%d@%d %s %s 0 0 %d connected%s",
				m.id, m.port, m.port+busOffset, flags, master, epoch, serves))
		}
		lines = append(lines, fmt.Sprintf("vars currentEpoch %d lastVoteEpoch 0", masters))
		if err := me.write(nodesFile, lines...); err != nil {
			return err
		}
	}
	return nil
}

// Client is a client of the whole cluster for looking into it, closed with the test. It repeats commands by itself where
// the cluster sends it elsewhere, and also where a connection breaks: it is not what the product uses.
func (c *ClusterServers) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	o := &redis.ClusterOptions{
		ContextTimeoutEnabled: true, DisableIdentity: true,
		MaxRedirects: 8, MinRetryBackoff: 20 * time.Millisecond, MaxRetryBackoff: 200 * time.Millisecond,
		DialTimeout: 500 * time.Millisecond, DialerRetries: 1, ClusterStateReloadInterval: time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, s := range c.Nodes {
		o.Addrs = append(o.Addrs, s.Addr)
	}
	client := redis.NewClusterClient(o)
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Errorf("redistest: close client of the cluster: %v", err)
		}
	})
	return client
}

// Masters are the servers that serve slots now, in the order of Nodes.
func (c *ClusterServers) Masters(tb testing.TB) []*Server {
	tb.Helper()
	view, ok := c.agreed()
	if !ok {
		tb.Fatal("redistest: the cluster's nodes do not agree: AwaitAgreement first")
	}
	var out []*Server
	for _, s := range c.Nodes {
		if slices.Contains(view, s) {
			out = append(out, s)
		}
	}
	return out
}

// Slot is the slot of a key.
func (c *ClusterServers) Slot(tb testing.TB, key string) int {
	tb.Helper()
	up := awake(c.Nodes)
	if len(up) == 0 {
		tb.Fatal("redistest: no node of the cluster is up")
	}
	answer, err := up[0].proc.ask(`CLUSTER KEYSLOT "` + key + `"`)
	if err != nil {
		tb.Fatal(err)
	}
	slot, _ := strconv.Atoi(answer)
	return slot
}

// Owner is the server that serves a slot, as all agree.
func (c *ClusterServers) Owner(tb testing.TB, slot int) *Server {
	tb.Helper()
	view, ok := c.agreed()
	if !ok || view[slot] == nil {
		tb.Fatalf("redistest: the cluster's nodes do not agree on who serves slot %d: AwaitAgreement first", slot)
	}
	return view[slot]
}

// Partner is the other server of the two that a master and its replica are.
func (c *ClusterServers) Partner(s *Server) *Server {
	return c.Nodes[(slices.Index(c.Nodes, s)+masters)%len(c.Nodes)]
}

// AwaitFailover returns the server that all agree on to serve what old served, which has to be its partner.
func (c *ClusterServers) AwaitFailover(tb testing.TB, old *Server) *Server {
	tb.Helper()
	heir := c.Partner(old)
	wait(tb, heir.Addr+" to take over from "+old.Addr, func() bool {
		view, ok := c.agreed()
		return ok && slices.Contains(view, heir) && !slices.Contains(view, old)
	})
	return heir
}

// AwaitAgreement returns when all nodes that are up name the same masters, take the cluster for usable, and have the
// data of their masters.
func (c *ClusterServers) AwaitAgreement(tb testing.TB) {
	tb.Helper()
	wait(tb, "the cluster's nodes to agree", func() bool {
		for _, s := range awake(c.Nodes) {
			info, err := s.proc.ask("CLUSTER INFO")
			if err != nil || fields(info)["cluster_state"] != "ok" {
				return false
			}
			if link, ok := s.proc.info("replication")["master_link_status"]; ok && link != "up" {
				return false
			}
		}
		_, ok := c.agreed()
		return ok
	})
}

// agreed is who serves each slot, if all nodes that are up say the same.
func (c *ClusterServers) agreed() (view []*Server, ok bool) {
	for _, s := range awake(c.Nodes) {
		text, err := s.proc.ask("CLUSTER NODES")
		if err != nil {
			return nil, false
		}
		theirs := c.parseNodes(text)
		if view != nil && !slices.Equal(view, theirs) {
			return nil, false
		}
		view = theirs
	}
	return view, view != nil
}

// parseNodes reads who serves which slot in a node's view.
func (c *ClusterServers) parseNodes(text string) []*Server {
	view := make([]*Server, slots)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		i := slices.IndexFunc(c.Nodes, func(s *Server) bool { return s.id == f[0] })
		if i < 0 {
			continue
		}
		for _, r := range f[8:] {
			if strings.HasPrefix(r, "[") { // a slot on its way
				continue
			}
			from, to, _ := strings.Cut(r, "-")
			first, _ := strconv.Atoi(from)
			last := first
			if to != "" {
				last, _ = strconv.Atoi(to)
			}
			for slot := first; slot <= last; slot++ {
				view[slot] = c.Nodes[i]
			}
		}
	}
	return view
}
