package faults

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// gauge reads a figure of a node; 0 if it doesn't answer.
func (p *process) gauge(name string) float64 {
	v, err := p.metric(name)
	if err != nil {
		return 0
	}
	return v
}

// TestGoroutines (20) connects and goes, many times: nothing of it is left in the node.
func TestGoroutines(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{nodes: 1})
	n := c.node(0)
	total, batch := size(2000, 100_000), size(500, 2000)
	seen := func() float64 { return n.gauge("go_goroutines") }
	c.ghosts(n, "warm", []string{"warm"}, 20)[0].Cut()
	base, peak, most := seen(), 0.0, 0.0
	began := time.Now()
	for done := 0; done < total; done += batch {
		gs := make([]ghost, batch)
		if err := together(batch, 32, func(i int) error {
			w, err := c.dial(t.Context(), n, fmt.Sprintf("crowd%d", i%50), fmt.Sprintf("p%d-%d", done, i), nil)
			if err != nil {
				return err
			}
			gs[i].Conn = w
			return w.Join(nil)
		}); err != nil {
			t.Fatal(err)
		}
		peak, most = max(peak, seen()), max(most, n.gauge("hearth_connections"))
		if err := together(batch, 32, func(i int) error {
			defer gs[i].Cut()
			if i%4 != 0 {
				return nil
			}
			_, err := gs[i].Call("leave", map[string]any{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	last := 0.0
	await(t, "the goroutines to end", func() bool {
		last = seen()
		return last <= base+10
	})
	figures.did(total, 0)
	figures.say(t, "%d connections that joined and went, in %s, %.0f at a time: goroutines %.0f before, %.0f at the most, %.0f after", total,
		took.Round(time.Second), most, base, peak, last)
	if most < float64(batch) || peak == 0 {
		t.Errorf("%.0f goroutines and %.0f of %d connections: what was counted?", peak, most, batch)
	}
	if runtime.GOOS == "linux" && peak > base+float64(batch)/2 {
		t.Errorf("%.0f goroutines with %d connections, most of which are idle", peak, batch)
	}
}

// TestSlowClient (38) lets clients stop reading: they are closed with 4429, others don't notice, and after they have come
// back they have missed nothing.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{nodes: 2, grace: 40 * time.Second, lease: time.Minute, env: map[string]string{"HEARTH_LOG_EVENTS": "100000", "HEARTH_LOG_BYTES": "8388608"}})
	const room = "slow"
	n := c.node(0)
	writer := c.newPeer(room, "writer", nil, on(c.node(1))).connected()
	var slow []*peer
	for i := range 16 {
		slow = append(slow, c.newPeer(room, fmt.Sprintf("slow%d", i), nil, on(n)).connected())
	}
	var mu sync.Mutex
	sent := map[int]time.Time{}
	var late []time.Duration
	number := regexp.MustCompile(`"message":"(\d+) `)
	for i := range 5 {
		c.join(n, room, fmt.Sprintf("quick%d", i), nil, func(method string, params []byte) {
			if m := number.FindSubmatch(params); method == "on-broadcast" && m != nil {
				i, _ := strconv.Atoi(string(m[1]))
				mu.Lock()
				late = append(late, time.Since(sent[i]))
				mu.Unlock()
			}
		})
	}
	text, count := strings.Repeat("x", 60<<10), 0
	heap := 0.0
	send := func(until func(i int) bool) []time.Duration {
		mu.Lock()
		late = nil
		mu.Unlock()
		first := count
		for ; !until(count - first); count++ {
			mu.Lock()
			sent[count] = time.Now()
			mu.Unlock()
			if _, err := writer.write("broadcast", map[string]any{"info": map[string]any{"message": fmt.Sprintf("%d %s", count, text)}}); err != nil {
				t.Fatal(err)
			}
			if count%20 == 0 {
				heap = max(heap, n.gauge("go_memstats_heap_inuse_bytes"))
			}
		}
		await(t, "all to have heard all", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(late) == 5*(count-first)
		})
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(late)
	}
	before := send(func(i int) bool { return i == size(200, 1000) })
	base := heap
	sockets := n.gauge("hearth_connections")
	for _, p := range slow {
		p.reading.Lock()
	}
	// Some read again before the node's queue, of 1 MiB, can be full, so that nothing happens to them; some as soon as the node
	// has found one more of them too slow than go on sleeping, in time to be told; the others have been given up, as a close frame
	// has to wait behind what they don't read.
	const sleepers = 3
	asleep := slow
	again := func(n int) {
		for _, p := range asleep[:n] {
			p.reading.Unlock()
		}
		asleep = asleep[n:]
	}
	after := send(func(i int) bool {
		switch {
		case i > 0 && i <= 12 && i%3 == 0:
			again(1)
		case i > 12 && len(asleep) > sleepers && n.gauge("hearth_slow_readers_total") > sleepers:
			again(len(asleep) - sleepers)
		}
		return i >= 240 && len(asleep) == sleepers || i == 4000
	})
	await(t, "those who don't read to be given up", func() bool { return n.gauge("hearth_connections") <= sockets-float64(len(asleep)) })
	again(len(asleep))
	kept, told, cut := 0, 0, 0
	await(t, "the slow ones to have been found out", func() bool { return n.gauge("hearth_connections") >= sockets })
	for i, p := range slow {
		p.connected()
		p.mu.Lock()
		joins, closes := p.joins, p.closes
		p.mu.Unlock()
		if len(closes) == 0 {
			kept++
			continue
		}
		switch closes[0] {
		case 4429:
			told++
		case 0:
			cut++
		default:
			t.Errorf("slow client %d was closed by %v", i, closes)
		}
		for _, j := range joins[1:] {
			if !j.resumed {
				t.Errorf("slow client %d came back %+v", i, j)
			}
		}
	}
	if kept == 0 || told == 0 || cut == 0 {
		t.Errorf("%d were kept, %d closed with 4429, %d cut: there has to be one of each at least", kept, told, cut)
	}
	c.atRest(room, append(slow, writer)...)
	figures.did(count, len(slow))
	figures.say(t, "%d clients stopped reading messages of 60 KiB, and read again sooner or later: %d soon enough to be kept, %d were closed with 4429, %d cut "+
		"because they did not even read that; others heard a message after %s before, and %s meanwhile; the node's heap was %.0f MiB before and %.0f MiB at "+
		"the most; after their return they had missed nothing", len(slow), kept, told, cut, quantiles(before), quantiles(after), base/(1<<20), heap/(1<<20))
	if heap > base+float64(len(slow)*(4<<20)+(128<<20)) {
		t.Errorf("the heap grew from %.0f to %.0f", base, heap)
	}
	if a, b := quantile(before, .99), quantile(after, .99); b > 10*a+time.Second {
		t.Errorf("others heard after p99 %s, before %s", b, a)
	}
}

// ops says how many commands a second Redis executes at the most until it is stopped.
func (c *cluster) ops() (stop func() int) {
	end, ended, most := make(chan struct{}), make(chan struct{}), 0
	go func() { // ends by stop
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			text, err := c.redis.Info(c.Context(), "stats").Result()
			if err != nil {
				continue
			}
			_, rest, _ := strings.Cut(text, "instantaneous_ops_per_sec:")
			line, _, _ := strings.Cut(rest, "\r\n")
			if n, err := strconv.Atoi(line); err == nil {
				most = max(most, n)
			}
		}
	}()
	return func() int {
		close(end)
		<-ended
		return most
	}
}

// TestStorm (40) kills a node whose clients come back all at once.
func TestStorm(t *testing.T) {
	t.Parallel()
	// Grace and lease are long: what is looked at is not how fast a machine lets so many clients notice and come back.
	c := newCluster(t, options{grace: time.Minute, lease: 90 * time.Second})
	n, rooms := size(200, 3000), size(10, 60)
	victim := c.node(0)
	var watch []*peer
	for i := range rooms {
		watch = append(watch, c.newPeer("storm"+strconv.Itoa(i), "writer", nil, on(c.node(1))))
	}
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = c.newPeer("storm"+strconv.Itoa(i%rooms), fmt.Sprintf("p%d", i), nil, func() *process {
			if !victim.gone() { // also if the first try fails: all of them are to come back from there
				return victim
			}
			return c.node(1)
		})
	}
	for _, p := range slices.Concat(watch, peers) {
		p.connected()
	}
	acked := 0
	say := func() {
		for _, p := range watch {
			if _, err := p.write("set-metadata", map[string]any{"key": "k", "data": acked}); err != nil {
				t.Fatal(err)
			}
			acked++
		}
	}
	say()
	stop := c.ops()
	at := time.Now()
	victim.kill()
	say() // is missed by all of them
	var away []time.Duration
	resumed, recovered := 0, 0
	for _, p := range peers {
		j := p.back(1)
		away = append(away, j.away)
		if j.resumed {
			resumed++
		}
		if j.recovered {
			recovered++
		}
	}
	settled := time.Since(at)
	most := stop()
	lost := 0
	for i := range rooms {
		room := "storm" + strconv.Itoa(i)
		var here []*peer
		for j := i; j < n; j += rooms {
			here = append(here, peers[j])
		}
		c.atRest(room, append(here, watch[i])...)
	}
	closes, tries := map[int]int{}, map[int]int{}
	for _, p := range peers {
		lost += len(c.books.leaves(p.room, p.id))
		p.mu.Lock()
		for _, code := range p.closes {
			closes[code]++
		}
		tries[len(p.joins)]++
		p.mu.Unlock()
	}
	if lost != 0 || resumed != n {
		t.Errorf("%d of %d were resumed, %d left; sockets closed %v, joins of a peer %v", resumed, n, lost, closes, tries)
	}
	figures.did(acked+2*n, 1)
	figures.recovery(away)
	figures.say(t, "%d clients of a killed node in %d rooms came back at once: all there after %s, each away %s; %d resumed, %d with what they missed, %d lost; "+
		"Redis executed at most %d commands a second", n, rooms, settled.Round(time.Millisecond), quantiles(away), resumed, recovered, lost, most)
}

// TestSoak (53) goes on for long, with a random mix of everything.
func TestSoak(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{race: *long})
	s := seedOf(t)
	l := c.load(loadOptions{seed: s, rooms: size(3, 8), workers: 6, pace: size(10*time.Millisecond, 100*time.Millisecond)})
	d := size(10*time.Second, *soak)
	rnd := random(s, 0)
	faults := 0
	// Of the node that is left in peace, without the race detector's own, which grows as long as a process runs.
	var memory []float64
	var frozen *process
	next := time.Now()
	for began := time.Now(); time.Since(began) < d && t.Context().Err() == nil; {
		memory = append(memory, c.node(2).gauge("go_memstats_heap_inuse_bytes")+c.node(2).gauge("go_memstats_stack_inuse_bytes"))
		if frozen != nil {
			frozen.thaw()
			frozen = nil
		}
		if time.Now().After(next) {
			next = time.Now().Add(time.Duration(2000+rnd.IntN(4000)) * time.Millisecond)
			i := rnd.IntN(2)
			switch rnd.IntN(5) {
			case 0:
				c.node(i).kill()
				c.restart(i)
			case 1:
				c.node(i).term()
				c.node(i).stopped()
				c.restart(i)
			case 2:
				frozen = c.node(i)
				frozen.freeze()
			case 3:
				for _, w := range l.workers {
					if !w.churn && rnd.IntN(2) == 0 {
						w.drop()
					}
				}
			case 4:
				// Ends all connections of the nodes to Redis, subscriptions among them.
				for _, kind := range []string{"normal", "pubsub"} {
					_ = c.redis.ClientKillByFilter(t.Context(), "TYPE", kind, "SKIPME", "yes").Err()
				}
			}
			faults++
		}
		pass(t, time.Second)
	}
	if frozen != nil {
		frozen.thaw()
	}
	o := l.clean(t, faults)
	half := memory[len(memory)/2:] // the first one has what a node takes once
	slope := slopeOf(half) * 60
	figures.say(t, "%s of a random mix, %d operations, %d faults%s: heap and stacks of a node %.1f MiB at the half, %.1f MiB at the end, slope %.3f MiB a minute over "+
		"the second half", d, o.ops, faults, size("", ", race-built, 0 races"), half[0]/(1<<20), half[len(half)-1]/(1<<20), slope/(1<<20))
	if *long && d >= 30*time.Minute && slope > 64<<10 {
		t.Errorf("memory grows by %.0f bytes a minute", slope)
	}
}

// slopeOf is by how much a figure grows from one value to the next, by least squares.
func slopeOf(v []float64) float64 {
	if len(v) < 2 {
		return 0
	}
	var sx, sy, sxx, sxy float64
	for i, y := range v {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	n := float64(len(v))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
