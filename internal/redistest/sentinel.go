package redistest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// MasterName is the name of the master that sentinels look after.
const MasterName = "main"

const (
	sentinels = 3
	quorum    = 2
)

// SentinelServers is a master with replicas and the sentinels that replace it, owned by a test.
type SentinelServers struct {
	// Nodes are the three servers with the data: the first was the master at first.
	Nodes []*Server
	// Sentinels are the three that look after them.
	Sentinels []*Server
	// URL names the sentinels and the master, as redis-sentinel://.
	URL string
	// Prefix is like that of a [Server].
	Prefix string
}

// Sentinel starts an empty master with two replicas in sync, and three sentinels who know each other. A master that is
// silent for a second is replaced, unless the options say [Calm]. Options are those of the servers with the data.
func Sentinel(tb testing.TB, opts ...Option) *SentinelServers {
	tb.Helper()
	o := gather(opts)
	bin := binary(tb)
	members := make([]*member, 2*sentinels)
	for i := range members {
		m := newMember(tb)
		switch {
		case i == 0:
			m.args = func() []string { return m.directives(o.directives...) }
		case i < sentinels:
			m.args = func() []string {
				return m.directives(append(slices.Clone(o.directives), "--replicaof", "127.0.0.1", strconv.Itoa(members[0].port))...)
			}
		default:
			m.args = func() []string { return []string{m.dir + "/" + sentinelFile, "--sentinel"} }
		}
		members[i] = m
	}
	startMembers(tb, bin, members, func() error { return brief(members, o.failAfter.Milliseconds()) })
	s := &SentinelServers{}
	for i, m := range members {
		if i < sentinels {
			s.Nodes = append(s.Nodes, m.own(tb, NameReal))
		} else {
			s.Sentinels = append(s.Sentinels, m.own(tb, NameSentinel))
		}
	}
	s.URL, s.Prefix = "redis-sentinel://"+addrs(s.Sentinels)+"/"+MasterName, s.Nodes[0].Prefix
	s.AwaitAgreement(tb)
	return s
}

const sentinelFile = "sentinel.conf"

// brief writes each sentinel's configuration as one that had long known the others would leave it: it takes them
// seconds to find each other, and without a majority they replace nobody.
func brief(members []*member, failAfter int64) error {
	for _, me := range members[sentinels:] {
		lines := []string{
			"bind 127.0.0.1", "port " + strconv.Itoa(me.port), "dir " + me.dir, "daemonize no",
			"sentinel myid " + me.id,
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", MasterName, members[0].port, quorum),
			fmt.Sprintf("sentinel down-after-milliseconds %s %d", MasterName, failAfter),
			// The time after which a failover that did not come off is tried again, twice over.
			fmt.Sprintf("sentinel failover-timeout %s %d", MasterName, 3*failAfter),
			fmt.Sprintf("sentinel parallel-syncs %s %d", MasterName, sentinels),
		}
		for _, m := range members[1:sentinels] {
			lines = append(lines, fmt.Sprintf("sentinel known-replica %s 127.0.0.1 %d", MasterName, m.port))
		}
		for _, m := range members[sentinels:] {
			if m != me {
				lines = append(lines, fmt.Sprintf("sentinel known-sentinel %s 127.0.0.1 %d %s", MasterName, m.port, m.id))
			}
		}
		if err := me.write(sentinelFile, lines...); err != nil {
			return err
		}
	}
	return nil
}

// Master is the server that the sentinels who are up take for the master.
func (s *SentinelServers) Master(tb testing.TB) *Server {
	tb.Helper()
	m := s.master()
	if m == nil {
		tb.Fatal("redistest: the sentinels do not agree: AwaitAgreement first")
	}
	return m
}

// AwaitFailover returns the server that the sentinels put in the place of old.
func (s *SentinelServers) AwaitFailover(tb testing.TB, old *Server) *Server {
	tb.Helper()
	var m *Server
	wait(tb, "the sentinels to replace "+old.Addr, func() bool {
		m = s.master()
		return m != nil && m != old && m.proc.info("replication")["role"] == "master"
	})
	return m
}

// AwaitAgreement returns when the sentinels who are up name the same living master, and the other servers that are up
// have its data.
func (s *SentinelServers) AwaitAgreement(tb testing.TB) {
	tb.Helper()
	wait(tb, "the sentinels to agree", func() bool {
		m := s.master()
		if m == nil || !slices.Contains(awake(s.Nodes), m) || m.proc.info("replication")["role"] != "master" {
			return false
		}
		for _, n := range awake(s.Nodes) {
			info := n.proc.info("replication")
			if n != m && (info["master_port"] != m.port() || info["master_link_status"] != "up") {
				return false
			}
		}
		for _, sentinel := range awake(s.Sentinels) {
			if !strings.Contains(sentinel.proc.info("sentinel")["master0"], "status=ok") {
				return false
			}
		}
		return true
	})
}

// master is whom all sentinels who are up name.
func (s *SentinelServers) master() *Server {
	named := ""
	for _, sentinel := range awake(s.Sentinels) {
		// name=main,status=ok,address=127.0.0.1:12345,slaves=2,sentinels=3
		_, rest, _ := strings.Cut(sentinel.proc.info("sentinel")["master0"], "address=")
		addr, _, _ := strings.Cut(rest, ",")
		if addr == "" || named != "" && addr != named {
			return nil
		}
		named = addr
	}
	for _, n := range s.Nodes {
		if n.Addr == named {
			return n
		}
	}
	return nil
}
