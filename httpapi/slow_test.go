package httpapi

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth/node"
)

// Who stops reading is closed with 4429. The others hear no later for it, and when it comes back it has lost nothing.
func TestSlowReaderComesBack(t *testing.T) {
	limits := patient
	limits.LogBytes = 64 << 20
	c := newCluster(t, setup{limits: limits})
	ann := c.join(0, "r", "ann", "host", nil)
	bob := c.join(0, "r", "bob", "guest", nil)
	text := strings.Repeat("x", 60<<10)
	sent := 0
	say := func() time.Duration {
		began := time.Now()
		ann.ok("broadcast", object{"info": object{"message": text, "type": "t" + strconv.Itoa(sent)}})
		bob.hears("on-broadcast", "info.type", "t"+strconv.Itoa(sent))
		sent++
		return time.Since(began)
	}
	p99 := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)*99/100]
	}
	var alone, beside []time.Duration
	for range 100 {
		alone = append(alone, say())
	}
	first := sent
	nc := c.rawReader("r", "slow", 0) // through a small buffer, what is on its way would take minutes
	bob.hears("on-peer-join", "peer_id", "slow")
	socket := c.nodes[0].socket(t, "slow")
	for socket.open() || len(beside) < 100 {
		if len(beside) > 1000 {
			t.Fatal("the slow one is still there after 60 MB")
		}
		beside = append(beside, say())
		if waits := c.nodes[0].queued(); waits > maxQueued+maxQueued/2 {
			t.Fatalf("%d bytes wait for one socket", waits)
		}
	}
	without, with := p99(alone), p99(beside)
	t.Logf("p99 of a message of 60 KiB: %s, beside one who doesn't read %s (%.1f times)",
		without.Round(time.Microsecond), with.Round(time.Microsecond), float64(with)/float64(without))
	if with > 10*without+100*time.Millisecond {
		t.Errorf("the others wait %s, not %s", with, without)
	}

	if metrics := c.do("GET", "/metrics", "", "").is(http.StatusOK).body; !strings.Contains(metrics, "\nhearth_slow_readers_total 1\n") {
		t.Error("the metrics don't have one slow reader")
	}
	slow := c.attach(nc, bufio.NewReader(nc))
	slow.name, slow.room = "slow", "r"
	joined := slow.first()
	slow.sess = at(t, joined, "result.session_id")
	epoch, _, _ := strings.Cut(at(t, joined, "result.cursor"), ".")
	from := at(t, joined, "result.cursor")
	slow.closed(node.CloseTooSlow)
	next := first
	slow.mu.Lock()
	inbox := slow.inbox
	slow.mu.Unlock()
	for _, m := range inbox {
		if method(m) == "on-broadcast" {
			has(t, "before", m, "params.info.type", "t"+strconv.Itoa(next))
			from = epoch + "." + at(t, m, "params.seq") + "." + at(t, m, "params.n")
			next++
		}
	}
	t.Logf("of %d messages it had got %d", sent-first, next-first)
	again, result := c.back(1, slow, "guest", from, nil)
	has(t, "result", result, "resumed", "true", "recovered", "true")
	for ; next < sent; next++ {
		again.hears("on-broadcast", "info.type", "t"+strconv.Itoa(next))
	}
	if got := again.changes(c.mark("r")); len(got) > 0 {
		t.Errorf("and then %v", got)
	}
}

// socket returns the connection of a peer.
func (n *testNode) socket(t *testing.T, peer string) *conn {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.wanted == peer {
			return c
		}
	}
	t.Fatalf("%s has no socket", peer)
	return nil
}

// piped is an end of a pipe, as an outbox's.
type piped struct{ net.Conn }

func (piped) closing() {}

// A write to who reads a byte now and then does not go on for ever, and what waits for it meanwhile is bounded.
func TestReaderThatDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		o := &outbox{}
		o.init(piped{ours}, testSender, new(atomic.Int64))
		began := time.Now()
		ended := make(chan time.Duration, 1)
		go func() { // ends with the pipe
			b := make([]byte, 1)
			for {
				if _, err := theirs.Read(b); err != nil {
					ended <- time.Since(began)
					return
				}
				<-time.After(time.Second)
			}
		}()
		frame := bytes.Repeat([]byte("x"), 64<<10)
		o.Snapshot(frame)
		most := 0
		for range 100 {
			o.Send(frame)
			o.mu.Lock()
			most = max(most, o.queued)
			o.mu.Unlock()
		}
		if most > maxQueued {
			t.Errorf("%d bytes wait", most)
		}
		if o.open() {
			t.Error("it is not closed")
		}
		if took := <-ended; took > writeTimeout+2*time.Second {
			t.Errorf("given up after %s", took)
		}
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		if !o.gone || o.state != resting {
			t.Errorf("gone %v, state %v", o.gone, o.state)
		}
	})
}
