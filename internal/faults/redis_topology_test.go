package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// longLog is for tests in which nodes hear nothing for seconds: what the log still has, clients are told of.
var longLog = map[string]string{"HEARTH_LOG_EVENTS": "100000", "HEARTH_LOG_BYTES": "100000000"}

// TestSentinelKill kills the master; sentinels put a replica in its place, which may lack what came last.
func TestSentinelKill(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t)
	c := newCluster(t, options{url: s.URL, env: longLog})
	l := c.load(loadOptions{seed: seedOf(t)})
	pulses := c.pulses(l.rooms...)
	kills := size(1, 5)
	for range kills {
		pass(t, time.Second)
		master := s.Master(t)
		at := time.Now()
		master.Kill(t)
		now := s.AwaitFailover(t, master)
		t.Logf("replaced after %s", time.Since(at))
		c.tuned("sentinel: the master killed", now)
		c.back("sentinel: the master killed", at, pulses...)
		if *long {
			master.Start(t)
			s.AwaitAgreement(t)
		}
	}
	o := l.tally(pulses...)
	figures.say(t, "%d acknowledged writes lost of %d over %d failovers, %d divergences", o.lost, o.acked, kills, o.diverged)
	o.record(t, "sentinel, master killed", kills)
}

// TestSentinelPartition cuts the master off from its replicas and the sentinels, while nodes still reach it: what it
// confirms until they hear of the other one is lost, unless it may not confirm without a replica.
func TestSentinelPartition(t *testing.T) {
	t.Parallel()
	for mode, opts := range map[string][]redistest.Option{
		"without min-replicas": nil,
		"with min-replicas": {
			redistest.Directive("min-replicas-to-write", "1"), redistest.Directive("min-replicas-max-lag", "1"),
		},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			// Nodes come as a user of their own, whom the cut spares.
			s := redistest.Sentinel(t, append(opts, redistest.Directive("user", "app", "on", ">pw", "~*", "&*", "+@all"))...)
			c := newCluster(t, options{url: strings.Replace(s.URL, "://", "://app:pw@", 1), env: longLog})
			l := c.load(loadOptions{seed: seedOf(t)})
			pulses := c.pulses(l.rooms...)
			cuts := size(1, 4)
			for range cuts {
				pass(t, time.Second)
				master := s.Master(t)
				admin := redis.NewClient(&redis.Options{Addr: master.Addr, Username: "app", Password: "pw", MaxRetries: -1, DisableIdentity: true})
				do := func(args ...any) {
					if err := admin.Do(t.Context(), args...).Err(); err != nil {
						t.Error(err)
					}
				}
				at := time.Now()
				do("ACL", "SETUSER", "default", "off")
				do("CLIENT", "KILL", "USER", "default")
				before := c.rising("hearth_subscriptions_followed_total")
				now := s.AwaitFailover(t, master)
				c.tuned("sentinel: the master cut off, "+mode, now)
				// Nothing breaks the connections to the old one, which lives: they were given up for what the sentinels said.
				if n := c.rising("hearth_subscriptions_followed_total") - before; n < len(c.live()) {
					t.Errorf("%d subscriptions of %d nodes went to the new master unasked", n, len(c.live()))
				}
				c.back("sentinel: the master cut off, "+mode, at, pulses...)
				do("ACL", "SETUSER", "default", "on")
				if err := admin.Close(); err != nil {
					t.Error(err)
				}
				// It takes ten seconds, in which nodes also find that their subscription is on a server that is not the master.
				s.AwaitAgreement(t)
				c.back("", time.Now(), pulses...)
			}
			o := l.tally(pulses...)
			figures.say(t, "%d acknowledged writes lost of %d over %d cuts, %d divergences", o.lost, o.acked, cuts, o.diverged)
			o.record(t, "sentinel, master cut off, "+mode, cuts)
			if mode == "without min-replicas" && o.lost == 0 {
				t.Error("nothing was lost: the master was not cut off")
			}
		})
	}
}

// tuned waits until the subscription of every node is at a server that is the master now, and notes how long that took: so
// long at most a node was deaf.
func (c *cluster) tuned(kind string, master *redistest.Server) {
	c.Helper()
	began := time.Now()
	look := master.Client(c)
	await(c, "every node to listen to the new master after "+kind, func() bool {
		list, err := look.Do(c.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
		nodes := 0
		for line := range strings.Lines(list) {
			if strings.Contains(line, " name=hearth-") && !strings.Contains(line, " sub=0 ") {
				nodes++
			}
		}
		return err == nil && nodes >= len(c.live())
	})
	took := time.Since(began)
	c.Logf("%s: all nodes listen to the new master %s after it answers", kind, took)
	figures.outage(kind+", until all nodes listen to the new master", took)
}

// tags returns where the cluster has what: the tag of each room's partition, and all tags in use.
func tags(t *testing.T, s *redistest.ClusterServers, prefix string, rooms ...string) (of map[string]string, all []string) {
	t.Helper()
	of = map[string]string{}
	seen := map[string]bool{}
	for _, m := range s.Masters(t) {
		client := m.Client(t)
		keys, err := client.Keys(t.Context(), prefix+":{*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			tag, name, ok := strings.Cut(strings.TrimPrefix(k, prefix+":{"), "}:")
			if !ok {
				continue
			}
			if !seen[tag] {
				seen[tag] = true
				all = append(all, tag)
			}
			for _, room := range rooms {
				if name == "s:"+room {
					of[room] = tag
				}
			}
		}
	}
	for _, room := range rooms {
		if of[room] == "" {
			t.Fatalf("%s has no state anywhere", room)
		}
	}
	return of, all
}

// slotOf is the slot of a partition.
func slotOf(t *testing.T, s *redistest.ClusterServers, tag string) int {
	t.Helper()
	return s.Slot(t, "{"+tag+"}")
}

// TestReshard moves partitions from master to master under load: nothing is lost, and every subscription comes along.
func TestReshard(t *testing.T) {
	t.Parallel()
	s := redistest.Cluster(t, redistest.Calm())
	c := newCluster(t, options{url: s.URL, env: longLog})
	l := c.load(loadOptions{seed: seedOf(t), rooms: size(3, 6)})
	pulses := c.pulses(l.rooms...)
	rnd := random(seedOf(t), 0)
	_, all := tags(t, s, c.prefix, l.rooms...)
	moves := size(4, 60)
	began := time.Now()
	for i := range moves {
		slot := slotOf(t, s, all[i%len(all)])
		owner := s.Owner(t, slot)
		masters := s.Masters(t)
		to := masters[rnd.IntN(len(masters))]
		for to == owner {
			to = masters[rnd.IntN(len(masters))]
		}
		m := s.BeginMove(t, slot, to)
		pass(t, 100*time.Millisecond)
		at := time.Now()
		m.Finish(t)
		c.back("cluster: a slot moved", at, pulses...)
	}
	o := l.tally(pulses...)
	figures.say(t, "%d moves in %s: %d acknowledged writes lost of %d, sockets closed %v", moves, time.Since(began).Round(time.Second),
		o.lost, o.acked, o.closes)
	o.record(t, "cluster, slots moved", moves)
	if o.lost > 0 {
		t.Errorf("%d acknowledged writes are lost", o.lost)
	}
}

// TestClusterFailover kills a master of a cluster, whose replica takes over.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	s := redistest.Cluster(t)
	c := newCluster(t, options{url: s.URL, env: longLog})
	l := c.load(loadOptions{seed: seedOf(t), rooms: size(3, 6)})
	pulses := c.pulses(l.rooms...)
	kills := size(1, 6)
	for i := range kills {
		pass(t, time.Second)
		room := l.rooms[i%len(l.rooms)]
		of, _ := tags(t, s, c.prefix, l.rooms...)
		victim := s.Owner(t, slotOf(t, s, of[room]))
		// Someone who only listens tells when changes are heard again.
		ear := c.newPeer(room, fmt.Sprintf("ear%d", i), nil, nil).connected()
		at := time.Now()
		victim.Kill(t)
		s.AwaitFailover(t, victim)
		var hit []*pulse
		for _, p := range pulses {
			if slotOf(t, s, of[p.room])/5462 == slotOf(t, s, of[room])/5462 {
				hit = append(hit, p)
			}
		}
		c.back("cluster: a master killed", at, hit...)
		ear.mu.Lock()
		heard := ear.seq
		ear.mu.Unlock()
		if !ear.until(func() bool { return ear.w != nil && ear.seq > heard }) {
			t.Fatalf("%s: nothing is heard any more", room)
		}
		figures.outage("cluster: a master killed, until changes are heard again", time.Since(at))
		if err := ear.leave(); err != nil {
			t.Error(err)
		}
		victim.Start(t)
		s.AwaitAgreement(t)
	}
	o := l.tally(pulses...)
	figures.say(t, "%d acknowledged writes lost of %d over %d failovers, %d divergences", o.lost, o.acked, kills, o.diverged)
	o.record(t, "cluster, a master killed", kills)
}

// TestPartitionOut has one of three masters away, with its replica: only its rooms suffer, and they go on afterwards.
func TestPartitionOut(t *testing.T) {
	t.Parallel()
	s := redistest.Cluster(t, redistest.AOF(), redistest.Calm())
	c := newCluster(t, options{url: s.URL, partitions: 6, env: longLog})
	l := c.load(loadOptions{seed: seedOf(t), rooms: 6, workers: 2})
	pulses := c.pulses(l.rooms...)
	of, _ := tags(t, s, c.prefix, l.rooms...)
	pass(t, 500*time.Millisecond)
	victim := s.Owner(t, slotOf(t, s, of[l.rooms[0]]))
	var hit, spared []*pulse
	for _, p := range pulses {
		if s.Owner(t, slotOf(t, s, of[p.room])) == victim {
			hit = append(hit, p)
		} else {
			spared = append(spared, p)
		}
	}
	if len(spared) == 0 {
		t.Fatal("all rooms are on one master")
	}
	away := size(c.o.lease+2*time.Second, 4*c.o.lease)
	at := time.Now()
	replica := s.Partner(victim)
	replica.Kill(t)
	victim.Kill(t)
	pass(t, away)
	ended := time.Now()
	for _, p := range spared {
		if p.since(ended.Add(-away/2)) == 0 {
			t.Errorf("%s is on another master, and has had no write for %s", p.room, away/2)
		}
		longest := p.silence(at)
		figures.outage("cluster: another master away", longest)
		if longest > away/2 {
			t.Errorf("%s is on another master, and had no write for %s", p.room, longest)
		}
		p.peer.mu.Lock()
		if len(p.closes) > 0 {
			t.Errorf("%s is on another master; its socket was closed with %v", p.room, p.closes)
		}
		p.peer.mu.Unlock()
	}
	for _, p := range hit {
		if n := p.since(at.Add(time.Second)); n > 0 {
			t.Errorf("%s has no server, and %d writes", p.room, n)
		}
	}
	for _, n := range c.live() {
		if status, _ := n.get("/healthz"); status != 200 {
			t.Errorf("%s is not well: %d", n.name, status)
		}
	}
	victim.Start(t)
	replica.Start(t)
	s.AwaitAgreement(t)
	c.back("cluster: a master and its replica away for "+away.String(), at, hit...)
	o := l.tally(pulses...)
	figures.say(t, "%d of %d rooms were on the master that was away for %s; %d acknowledged writes lost of %d", len(hit), len(pulses), away,
		o.lost, o.acked)
	o.record(t, "cluster, appendfsync always", 1)
	if o.lost > 0 {
		t.Errorf("%d acknowledged writes are lost", o.lost)
	}
	for _, p := range pulses {
		if n := len(c.books.leaves(p.room, p.id)); n > 0 {
			t.Errorf("the pulse of %s was expelled", p.room)
		}
	}
}
