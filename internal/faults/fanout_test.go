package faults

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

// probeEvery is how often a node proves that its subscription hears.
const probeEvery = 3 * time.Second

// caughtUp waits until all clients of a room have been given all there is. It ends the test at the first who is not:
// c.settle would wait for each.
func (c *cluster) caughtUp(room string, peers ...*peer) {
	c.Helper()
	at := c.stateOf(room)
	if at == nil {
		c.Fatalf("%s has no session", room)
	}
	for _, p := range peers {
		if why := p.catchUp(at); why != "" {
			c.Fatal(why)
		}
	}
}

// snapshots returns how often clients came back, and how often by a snapshot.
func snapshots(peers ...*peer) (returned, snapshot int) {
	t := &tally{outcome: &outcome{closes: map[int]int{}}}
	for _, p := range peers {
		t.moves(p)
	}
	return t.returned, t.snapshot
}

// scribe writes all the time, until it is told to stop.
type scribe struct {
	*peer
	stop context.CancelFunc
	done sync.WaitGroup
	n    int // of writes, once it has stopped
	err  error
}

func (c *cluster) scribe(p *peer, every time.Duration) *scribe {
	ctx, cancel := context.WithCancel(c.Context())
	s := &scribe{peer: p, stop: cancel}
	s.done.Go(func() {
		for ctx.Err() == nil && s.err == nil {
			_, s.err = p.write("set-metadata", map[string]any{"key": fmt.Sprintf("k%d", s.n%7), "data": s.n})
			s.n++
			t := time.NewTimer(every)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
		}
	})
	c.Cleanup(func() { _ = s.end() })
	return s
}

func (s *scribe) end() error {
	s.stop()
	s.done.Wait()
	return s.err
}

// spoiledStore is a real server, or a cluster, with a spoiler before it.
type spoiledStore struct {
	*spoiler
	server  *redistest.Server         // nil if it is a cluster
	cluster *redistest.ClusterServers // nil if it is one server
}

func newSpoiledStore(t *testing.T, cluster bool, opts ...redistest.Option) *spoiledStore {
	t.Helper()
	s := &spoiledStore{}
	if cluster {
		s.cluster = redistest.Cluster(t, append(opts, redistest.Calm())...)
	} else {
		s.server = redistest.Real(t, opts...)
	}
	servers := []*redistest.Server{s.server}
	if cluster {
		servers = s.cluster.Nodes // replicas too: nodes ask any of them who serves what
	}
	var addrs []string
	for _, server := range servers {
		addrs = append(addrs, server.Addr)
	}
	s.spoiler = newSpoiler(t, addrs...)
	return s
}

// newCluster starts nodes that come in by the spoiler. Nodes that are started afterwards do not.
func (s *spoiledStore) newCluster(t *testing.T, o options) *cluster {
	t.Helper()
	o.redis, o.url = s.server, s.url()
	c := newCluster(t, o)
	if s.cluster != nil {
		c.o.url = s.cluster.URL
	} else {
		c.o.url = s.server.URL
	}
	return c
}

// home is the server that has a room's session.
func (s *spoiledStore) home(t *testing.T, c *cluster, room string) *redistest.Server {
	t.Helper()
	if s.cluster == nil {
		return s.server
	}
	of, _ := tags(t, s.cluster, c.prefix, room)
	return s.cluster.Owner(t, slotOf(t, s.cluster, of[room]))
}

// eachStore runs a test on one server and on a cluster.
func eachStore(t *testing.T, f func(t *testing.T, cluster bool)) {
	t.Helper()
	for kind, cluster := range map[string]bool{"server": false, "cluster": true} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, cluster)
		})
	}
}

// TestDeaf (35) leaves a node's subscription connected and has it hear nothing: nothing reaches the node on it any more, or
// it hangs on a server that is the store no more. The node notices within two probe intervals, and its clients miss nothing.
func TestDeaf(t *testing.T) {
	t.Parallel()
	for kind, f := range map[string]func(t *testing.T){
		"swallowed":             func(t *testing.T) { deaf(t, newSpoiledStore(t, false), false, size(1, 5)) },
		"detached":              func(t *testing.T) { deaf(t, newSpoiledStore(t, false), true, size(1, 5)) },
		"a master of a cluster": func(t *testing.T) { deaf(t, newSpoiledStore(t, true), false, size(1, 5)) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t)
		})
	}
}

func deaf(t *testing.T, near *spoiledStore, detached bool, rounds int) {
	c := near.newCluster(t, options{nodes: 1, lease: time.Minute, env: longLog})
	server := near.server
	var far *spoiler
	if detached { // nobody knows of the other server: all are led there
		far = newSpoiler(t, server.Addr)
		c.o.url = far.url()
	}
	n, other := c.node(0), c.start()
	const room = "room"
	c.anchor(room)
	writer := c.newPeer(room, "writer", nil, on(other)).connected()
	peers := []*peer{writer, c.newPeer(room, "there", nil, on(other)).connected()}
	for i := range 4 {
		peers = append(peers, c.newPeer(room, fmt.Sprintf("here%d", i), nil, on(n)).connected())
	}
	var noticed []time.Duration
	most, wrote := 0, 0
	for round := range rounds {
		var next *redistest.Server
		if detached {
			next = redistest.Real(t, redistest.ReplicaOf(server))
		}
		if _, err := peers[2].write("set-metadata", map[string]any{"key": "before", "data": round}); err != nil {
			t.Fatal(err)
		}
		c.caughtUp(room, peers...)
		before, probes, began := near.subscriptions(), near.unheard(), time.Now()
		if detached {
			client := server.Client(t)
			own := client.Conn() // WAIT is about what the same connection wrote
			if err := own.Set(t.Context(), server.Prefix+":last", round, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := own.Wait(t.Context(), 1, patience).Result(); got != 1 {
				t.Fatalf("the replica is not in sync: %v", err)
			}
			if err := next.Client(t).ReplicaOf(t.Context(), "no", "one").Err(); err != nil {
				t.Fatal(err)
			}
			began = time.Now()
			near.redirect(next.Addr, true)
			far.redirect(next.Addr, false)
			server = next
		} else {
			near.deafen(near.home(t, c, room).Addr)
		}
		s := c.scribe(writer, 20*time.Millisecond)
		newcomer := c.newPeer(fmt.Sprintf("new%d", round), "late", nil, on(n)) // its room is subscribed to in vain at first
		await(t, "the node to notice", func() bool { return !n.ready() || near.subscriptions() > before })
		noticed = append(noticed, time.Since(began))
		most = max(most, near.unheard()-probes)
		await(t, "a subscription that hears", func() bool { return near.subscriptions() > before && n.ready() })
		newcomer.connected()
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		wrote += s.n
		c.caughtUp(room, peers...)
		c.atRest(newcomer.room, newcomer)
	}
	c.atRest(room, peers...)
	returned, snapshot := snapshots(peers...)
	figures.did(wrote, rounds)
	figures.say(t, "a subscription was up and heard nothing, %d times: noticed after %s (two intervals are %s) with %d probes unheard at the most; of %d changes "+
		"meanwhile no client missed any, %d sockets were closed", rounds, quantiles(noticed), 2*probeEvery, most, wrote, returned)
	// Two in two intervals, and one that may be on its way as it is noticed.
	if most > 3 {
		t.Errorf("noticed only after %d probes", most)
	}
	if snapshot > 0 {
		t.Errorf("%d clients came back to a snapshot, although the log has all", snapshot)
	}
}

// TestGapInject (36) drops, doubles and holds back what Redis publishes on its way to the nodes, at last all of it: at rest
// every client's state is Redis's, and what clients were told is one order.
func TestGapInject(t *testing.T) {
	t.Parallel()
	eachStore(t, gapInject)
}

func gapInject(t *testing.T, cluster bool) {
	sd := seedOf(t)
	spoiled := newSpoiledStore(t, cluster)
	c := spoiled.newCluster(t, options{nodes: size(2, 3), lease: time.Minute, env: longLog})
	l := c.load(loadOptions{seed: sd, rooms: size(2, 8)})
	pulses := c.pulses(l.rooms...)
	for i, oneOf := range []int{20, 5, 60} { // a few, most of them, and hardly any: gaps that are repaired before the next
		spoiled.decide(anyFate(random(sd, i), oneOf))
		pass(t, size(time.Second, 20*time.Second))
	}
	var end atomic.Int64
	spoiled.decide(func(string) fate {
		end.Add(1)
		return dropped
	})
	await(t, "the last changes to be lost", func() bool { return end.Load() > 20 })
	for _, p := range pulses {
		p.end()
	}
	l.end()
	for _, room := range l.rooms {
		c.caughtUp(room, l.peers[room]...)
	}
	o := l.tally(pulses...)
	what := [4]int{}
	for i := range what {
		what[i] = spoiled.fates(fate(i))
	}
	figures.say(t, "of %d messages on their way to the nodes %d were dropped, %d doubled, %d overtaken: %d logs read, %d rooms found behind by comparing; "+
		"0 gaps or duplicates at clients, %d sockets closed", what[0]+what[1]+what[2]+what[3], what[dropped], what[doubled], what[held],
		c.rising("hearth_log_repairs_total"), c.rising("hearth_rooms_behind_total"), o.returned)
	o.record(t, "Redis stays", what[dropped]+what[doubled]+what[held])
	if slices.Min(what[:]) == 0 || c.rising("hearth_rooms_behind_total") == 0 {
		t.Errorf("not all happened that was to happen: %v", what)
	}
	if n := c.rising("hearth_rewinds_total"); o.lost > 0 || o.returned > 0 || n > 0 {
		t.Errorf("%d lost, %d came back, %d times a store was taken for one that had lost changes", o.lost, o.returned, n)
	}
}

// absence is a client that is away while changes are made in its room.
type absence struct {
	gone         *peer
	out          atomic.Bool
	writer       *peer
	seq          uint64 // that it had when it went
	missed       int
	all, nothing bool // what it has to be given: all changes, or none but a snapshot
}

func (c *cluster) absence(room string) *absence {
	a := &absence{writer: c.newPeer(room, "writer", nil, nil).connected()}
	a.gone = c.newPeer(room, "gone", nil, func() *process {
		if a.out.Load() {
			return nil
		}
		return c.node(1)
	}).connected()
	return a
}

// leave cuts the client off, when it has been given all.
func (a *absence) leave() {
	a.gone.c.caughtUp(a.gone.room, a.gone)
	a.out.Store(true)
	a.gone.drop()
	a.gone.until(func() bool { return a.gone.w == nil })
	a.gone.mu.Lock()
	a.seq = a.gone.seq
	a.gone.mu.Unlock()
}

func (a *absence) write(n int, text string) error {
	for i := range n {
		if _, err := a.writer.write("broadcast", map[string]any{"info": map[string]any{"message": fmt.Sprintf("%d %s", i, text)}}); err != nil {
			return err
		}
	}
	return nil
}

// back lets the client return and says what is wrong with what it was given.
func (a *absence) back() (wrong []string, recovered bool) {
	a.missed = int(a.gone.c.stateOf(a.gone.room).seq - a.seq)
	a.gone.mu.Lock()
	joins := len(a.gone.joins)
	a.gone.mu.Unlock()
	a.out.Store(false)
	j := a.gone.back(joins)
	switch {
	case !j.resumed:
		wrong = append(wrong, fmt.Sprintf("%s: not resumed", a.gone.room))
	case a.all && !j.recovered:
		wrong = append(wrong, fmt.Sprintf("%s: %d changes are within the log, and it got a snapshot", a.gone.room, a.missed))
	case a.nothing && j.recovered:
		wrong = append(wrong, fmt.Sprintf("%s: %d changes are beyond the log, and it was told that it got them", a.gone.room, a.missed))
	}
	w, _ := a.gone.c.settle(a.gone.room, a.gone, a.writer)
	return append(wrong, w...), j.recovered
}

// TestLogTrim (37) has clients be away for less and for more than the log keeps, by number, bytes and age: each gets all that
// it missed or a snapshot, never a part.
func TestLogTrim(t *testing.T) {
	t.Parallel()
	const events, bytes = 32, 64 << 10
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		env := map[string]string{"HEARTH_LOG_EVENTS": strconv.Itoa(events), "HEARTH_LOG_BYTES": strconv.Itoa(bytes)}
		c := newCluster(t, options{nodes: 2, grace: 4 * time.Minute, lease: 5 * time.Minute, env: env})
		var as []*absence
		away := func(n int, text string, all, nothing bool) {
			a := c.absence(fmt.Sprintf("room%d", len(as)))
			a.all, a.nothing = all, nothing
			as = append(as, a)
			a.leave()
			if err := a.write(n, text); err != nil {
				t.Fatal(err)
			}
		}
		counts := []int{1, 15, 29, 30, 31, 32, 33, 34, 35, 36, 40, 100}
		if *long {
			for n := range 3 * events {
				counts = append(counts, n+1)
			}
		}
		for _, n := range counts { // the log has a sixteenth more at times; joins are changes, too
			away(n, "", n <= events-2, n > events+events/16+2)
		}
		text := strings.Repeat("x", 4<<10)
		for n := 8; n <= 24; n += size(2, 1) {
			away(n, text, n*5<<10 <= bytes, n*4<<10 > bytes)
		}
		given(t, as)
	})
	t.Run("age", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, options{nodes: 2, grace: 4 * time.Minute, lease: 5 * time.Minute, env: map[string]string{"HEARTH_LOG_AGE": "1s"}})
		var as []*absence
		for _, then := range []int{0, 1, 5} { // changes that the log still has when the client is back
			a := c.absence(fmt.Sprintf("room%d", len(as)))
			a.nothing = true
			as = append(as, a)
			a.leave()
			if err := a.write(5, ""); err != nil {
				t.Fatal(err)
			}
			await(t, "the log to have been trimmed", func() bool { return c.logged(a.gone.room) == 0 })
			if err := a.write(then, ""); err != nil {
				t.Fatal(err)
			}
		}
		given(t, as)
	})
}

// logged returns how many changes a room's log has.
func (c *cluster) logged(room string) int64 {
	c.Helper()
	keys, err := c.redis.Keys(c.Context(), c.prefix+":*:l:"+room).Result()
	if err != nil {
		c.Fatal(err)
	}
	if len(keys) == 0 {
		return 0
	}
	return c.redis.LLen(c.Context(), keys[0]).Val()
}

// given lets all who are away return.
func given(t *testing.T, as []*absence) {
	t.Helper()
	var wrong []string
	all, longest := 0, 0
	for _, a := range as {
		w, recovered := a.back()
		wrong = append(wrong, w...)
		if recovered {
			all++
			longest = max(longest, a.missed)
		}
	}
	figures.did(len(as), len(as))
	figures.diverged(len(wrong))
	figures.say(t, "%d clients were away: %d missed up to %d changes and were given all of them, %d were away past the log and got a snapshot, 0 got a part",
		len(as), all, longest, len(as)-all)
	fail(t, wrong)
}

// TestOutputBuffer (39) has Redis drop a node's subscription as it does not read: the node comes back, and clients have
// missed nothing, or got a snapshot where that was more than the log has.
func TestOutputBuffer(t *testing.T) {
	t.Parallel()
	for kind, env := range map[string]map[string]string{"within the log": longLog, "beyond the log": nil} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			eachStore(t, func(t *testing.T, cluster bool) { outputBuffer(t, cluster, env) })
		})
	}
}

func outputBuffer(t *testing.T, cluster bool, env map[string]string) {
	near := newSpoiledStore(t, cluster, redistest.Directive("client-output-buffer-limit", "pubsub", "256kb", "128kb", "1"))
	c := near.newCluster(t, options{nodes: 1, grace: 40 * time.Second, lease: time.Minute, env: env})
	n, other := c.node(0), c.start()
	const room = "room"
	peers := []*peer{c.newPeer(room, "writer", nil, on(other)).connected()}
	for i := range 4 {
		peers = append(peers, c.newPeer(room, fmt.Sprintf("p%d", i), nil, on(n)).connected())
	}
	drops, wrote := 0, 0
	for rounds := size(1, 5); drops < rounds; {
		if wrote > 5000 {
			t.Fatalf("Redis dropped the subscription %d times in %d messages", drops, wrote)
		}
		before := near.subscriptions()
		count, dropped := c.overrun(near.spoiler, near.home(t, c, room), peers[0])
		wrote += count
		if dropped {
			drops++
		}
		near.release()
		await(t, "another subscription, that hears", func() bool { return near.subscriptions() > before && n.ready() })
		c.caughtUp(room, peers...)
	}
	c.atRest(room, peers...)
	returned, snapshot := snapshots(peers...)
	figures.did(wrote, drops)
	figures.say(t, "Redis dropped a subscription %d times, by its output buffer limit, in %d messages of 60 KiB: %d sockets of %d clients were closed, %d came back to "+
		"a snapshot, nobody missed anything else", drops, wrote, returned, len(peers), snapshot)
	if env != nil && snapshot > 0 {
		t.Errorf("%d clients came back to a snapshot, although the log has all", snapshot)
	}
}

// overrun holds a node's subscription up and writes until Redis has dropped it, and reports whether it has, and not the node
// first.
func (c *cluster) overrun(near *spoiler, home *redistest.Server, writer *peer) (wrote int, dropped bool) {
	c.Helper()
	text := strings.Repeat("x", 60<<10)
	p, look := near.hold(home.Addr), home.Client(c)
	for there := true; there; {
		for range 10 {
			wrote++
			if _, err := writer.write("broadcast", map[string]any{"info": map[string]any{"message": fmt.Sprintf("%d %s", wrote, text)}}); err != nil {
				c.Fatal(err)
			}
		}
		list, err := look.Do(c.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
		if err != nil {
			c.Fatal(err)
		}
		there = strings.Contains(list, " addr="+p.server.LocalAddr().String()+" ")
	}
	return wrote, !near.gaveUp(p)
}
