package faults

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// monitor says whether Redis has been sent something with a word in it, from now on.
func (c *cluster) monitor(word string) func() bool {
	c.Helper()
	nc, err := new(net.Dialer).DialContext(c.Context(), "tcp", c.o.redis.Addr)
	if err != nil {
		c.Fatal(err)
	}
	lines := bufio.NewScanner(nc)
	lines.Buffer(nil, 1<<20)
	if _, err := nc.Write([]byte("MONITOR\r\n")); err != nil || !lines.Scan() || lines.Text() != "+OK" {
		c.Fatal(err, lines.Text())
	}
	var seen atomic.Bool
	ended := make(chan struct{})
	go func() { // ends with its socket
		defer close(ended)
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) {
				seen.Store(true)
			}
		}
	}()
	c.Cleanup(func() {
		_ = nc.Close()
		<-ended
	})
	return seen.Load
}

// TestZombieJoin (55) lets a join arrive at the store after its node's incarnation was ended there.
func TestZombieJoin(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{links: true, partitions: 1})
	rooms, seers := c.watched("zombie", 1, c.node(1))
	rounds := size(1, 4)
	for round := range rounds {
		late := c.node(0)
		id := fmt.Sprintf("undead%d", round)
		gs := c.ghosts(late, fmt.Sprintf("ghost%d-", round), rooms, 1) // by which the node has an incarnation
		arrived := c.monitor(id)
		late.link.Cut()
		w, err := c.dial(t.Context(), late, rooms[0], id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Send("join", map[string]any{}); err != nil {
			t.Fatal(err)
		}
		c.leftOf(gs) // the incarnation is over
		if arrived() {
			t.Fatal("the join was not held up")
		}
		late.link.Heal()
		await(t, "the join to arrive", arrived)
		w.Cut()
		await(t, "the node to be ready", late.ready)
		p := c.newPeer(rooms[0], fmt.Sprintf("after%d", round), nil, on(late)).connected() // in a new incarnation
		c.atRest(rooms[0], seers[0], p)
		if at := c.stateOf(rooms[0]); slices.Contains(at.members, id) || c.books.joins(rooms[0], id) != 0 {
			t.Errorf("%s has joined: %v", id, at.members)
		}
		p.stop()
	}
	figures.did(rounds, rounds)
	figures.say(t, "%d joins arrived at the store after their node was given up, held up by %s: refused", rounds, c.node(0).link.means())
}

// TestLateJoin holds a join up until its client has come back by another node, well within the lease: when it arrives, it takes
// nobody over.
func TestLateJoin(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{links: true, partitions: 1, lease: time.Minute})
	rooms, seers := c.watched("late", 1, c.node(1))
	c.ghosts(c.node(0), "kept", rooms, 1) // by which the node has an incarnation
	rounds := size(1, 4)
	for round := range rounds {
		n, id := c.node(0), fmt.Sprintf("twice%d", round)
		arrived := c.monitor(id)
		n.link.Cut()
		w, err := c.dial(t.Context(), n, rooms[0], id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Join(map[string]any{}); err == nil {
			t.Fatal("joined over a link that is cut")
		}
		w.Cut()
		if arrived() {
			t.Fatal("the join was not held up")
		}
		p := c.newPeer(rooms[0], id, nil, on(c.node(1))).connected()
		again := c.monitor(id)
		n.link.Heal()
		await(t, "the join to arrive", again)
		await(t, "the node to be ready", n.ready)
		if _, err := p.write("set-metadata", map[string]any{"key": "k", "data": round}); err != nil {
			t.Errorf("who came back in time: %v", err)
		}
		c.atRest(rooms[0], seers[0], p)
		p.mu.Lock()
		if len(p.closes) > 0 || len(p.joins) != 1 {
			t.Errorf("its sockets were closed with %v, it joined %d times", p.closes, len(p.joins))
		}
		p.mu.Unlock()
		p.stop()
	}
	figures.did(2*rounds, rounds)
	figures.say(t, "%d joins arrived at the store after their clients had come back by another node, held up by %s: refused", rounds, c.node(0).link.means())
}
