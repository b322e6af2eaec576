package node

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// told is a sink that keeps what it is sent, and when.
type told struct {
	began  time.Time
	frames []string
}

func (s *told) Send(frame []byte) {
	s.frames = append(s.frames, fmt.Sprintf("%v %s", time.Since(s.began), frame))
}
func (s *told) Echo(frame []byte)       { s.Send(frame) }
func (s *told) Snapshot([]byte)         {}
func (s *told) Close(CloseCode, string) {}

func crowdOf(t *testing.T, session string, n int) []*Member {
	t.Helper()
	out := make([]*Member, n)
	for i := range out {
		out[i] = &Member{room: "r", session: session, sink: &told{began: time.Now()}}
	}
	return out
}

func (m *Member) wasTold(t *testing.T, want ...string) {
	t.Helper()
	s, ok := m.sink.(*told)
	if !ok || !slices.Equal(s.frames, want) {
		t.Errorf("told %q, not %q", s.frames, want)
	}
}

// runCrowds runs the test in a bubble of time of its own, with crowds that are told as "<session> <count>".
func runCrowds(t *testing.T, test func(t *testing.T, c *crowds, encoded *int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var c crowds
		encoded := 0
		c.init(func(method string, params func([]byte) []byte) []byte {
			encoded++
			return params([]byte(method + " "))
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // ends with ctx
			inTime(ctx, c.wake, 0, c.tell)
			close(done)
		}()
		test(t, &c, &encoded)
		cancel()
		<-done
	})
}

func info(at, session string, count int) string {
	return fmt.Sprintf(`%s session-info {"session_id":"%s","room_id":"r","peer_count":%d,"track_count":0}`, at, session, count)
}

func TestCountsAreToldOnceASecond(t *testing.T) {
	runCrowds(t, func(t *testing.T, c *crowds, encoded *int) {
		members := crowdOf(t, "s1", 3)
		all := func(seq uint64, count int) {
			for _, m := range members {
				c.changed(m, seq, count)
			}
			synctest.Wait()
		}
		all(1, 501)
		for i := range 300 { // a storm of 2.1 s
			<-time.After(7 * time.Millisecond)
			all(uint64(2+i), 502+i)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		want := []string{info("0s", "s1", 501), info("1s", "s1", 643), info("2s", "s1", 786), info("3s", "s1", 801)}
		for _, m := range members {
			m.wasTold(t, want...)
		}
		if *encoded != len(want) {
			t.Errorf("encoded %d times", *encoded)
		}
		if len(c.large) > 0 {
			t.Errorf("kept: %v", c.large)
		}
		all(1000, 502) // after a silence at once
		for _, m := range members {
			m.wasTold(t, append(want, info("1m2.1s", "s1", 502))...)
		}
	})
}

func TestCountsOfSessionsAndOfWhoIsThere(t *testing.T) {
	runCrowds(t, func(t *testing.T, c *crowds, encoded *int) {
		a, b := crowdOf(t, "s1", 2), crowdOf(t, "s2", 1)
		c.changed(a[0], 7, 10)
		c.changed(a[1], 6, 9) // a slower one: its news is older
		c.changed(b[0], 1, 20)
		synctest.Wait()
		a[0].wasTold(t, info("0s", "s1", 10))
		b[0].wasTold(t, info("0s", "s2", 20))
		if *encoded > 3 {
			t.Errorf("encoded %d times", *encoded)
		}
		<-time.After(countEvery / 2)
		c.changed(a[0], 8, 11)
		c.changed(a[1], 8, 11)
		c.changed(b[0], 2, 21)
		a[0].mu.Lock()
		a[0].over = true // it has left meanwhile
		a[0].mu.Unlock()
		<-time.After(countEvery)
		synctest.Wait()
		a[0].wasTold(t, info("0s", "s1", 10))
		b[0].wasTold(t, info("0s", "s2", 20), info("1s", "s2", 21))
	})
}
