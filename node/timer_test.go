package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Calls that begin together share a context; each has nearly all of its time, and no more of it.
func TestSharedContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := shared{parent: ctx}
		made := map[context.Context]bool{}
		for began := time.Now(); time.Since(began) < 10*shareTime; <-time.After(shareTime / 5) {
			c := s.at(time.Now())
			made[c] = true
			until, ok := c.Deadline()
			if left := time.Until(until); !ok || left > CallTimeout || left < CallTimeout-shareTime {
				t.Errorf("a call has %s, of %s", left, CallTimeout)
			}
		}
		if len(made) != 10 {
			t.Errorf("%d contexts for calls of ten times %s", len(made), shareTime)
		}
		c := s.at(time.Now())
		cancel()
		if c.Err() == nil {
			t.Error("it outlives the node")
		}
	})
}
