package store_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store/storetest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

func TestContract(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		storetest.Run(t, func(t *testing.T) *storetest.Env { return env(t, s) })
	})
}

// TestContractOfTheLeastUser runs it as the user that operators are told to make.
func TestContractOfTheLeastUser(t *testing.T) {
	s := redistest.Real(t)
	name, password := redistest.LeastUser(t, s, "../docs/operations.md")
	admin, least := s.Client(t), s.ClientOf(t, name, password)
	storetest.Run(t, func(t *testing.T) *storetest.Env {
		if err := admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return &storetest.Env{Client: admin, Stores: least, Prefix: "hearth", Poller: s.Poller(t)}
	})
	// It can do no more than that.
	for _, c := range [][]any{{"CONFIG", "GET", "*"}, {"KEYS", "*"}, {"FLUSHALL"}, {"GET", "other:key"}, {"SET", "hearthx", "1"}, {"SUBSCRIBE", "other"}, {"ACL", "LIST"}, {"SHUTDOWN"}} {
		if err := least.Do(t.Context(), c...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", c, err)
		}
	}
}

var envs atomic.Int64

// env gives a part of the contract its own prefix on the server, and the clock where it can be moved.
func env(t *testing.T, s *redistest.Server) *storetest.Env {
	e := &storetest.Env{Client: s.Client(t), Prefix: fmt.Sprintf("%s-%d", s.Prefix, envs.Add(1)), Poller: s.Poller(t)}
	if s.Mini != nil {
		var now time.Time
		e.Advance = func(d time.Duration) {
			if now.IsZero() {
				now = time.Now() // from here on it stands still
			}
			now = now.Add(d)
			s.Mini.SetTime(now)
		}
		t.Cleanup(func() { s.Mini.SetTime(time.Time{}) })
	}
	return e
}

func TestRaces(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		load := storetest.Full
		if s.Mini != nil {
			load = storetest.Small
		}
		storetest.RunRaces(t, func(t *testing.T) *storetest.Env { return env(t, s) }, load)
	})
}
