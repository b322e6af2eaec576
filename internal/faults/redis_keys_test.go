package faults

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hearthstore/hearth/internal/wire"
)

// TestKeyLeak has sessions begin and end by the thousand, in every way, and expects no key of theirs afterwards.
func TestKeyLeak(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{env: map[string]string{"HEARTH_RETENTION": "1s"}})
	memory := func() (used string) {
		text, err := c.redis.Info(t.Context(), "memory").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(text, "used_memory_human:")
		used, _, _ = strings.Cut(rest, "\r")
		return used
	}
	before := memory()
	const hands = 8
	each := size(30, 400)
	var wg sync.WaitGroup
	for hand := range hands {
		wg.Go(func() {
			for i := range each {
				room := fmt.Sprintf("room-%d-%d", hand, i)
				var socks []*wire.Conn
				for j := range 2 {
					w, err := c.dial(t.Context(), c.node(i+j), room, fmt.Sprintf("p%d", j), nil)
					if err == nil {
						err = w.Join(nil)
					}
					if err != nil {
						t.Error(err)
						return
					}
					socks = append(socks, w)
				}
				for method, params := range verbs {
					if _, err := socks[0].Call(method, params); err != nil {
						t.Errorf("%s: %v", method, err)
					}
				}
				if _, err := socks[1].Call("set-metadata", map[string]any{"key": "ttl", "data": 1, "ttl_ms": 1000, "op_id": "1"}); err != nil {
					t.Error(err)
				}
				switch i % 4 {
				case 0, 1: // by leaves
					for _, w := range socks {
						if _, err := w.Call("leave", map[string]any{}); err != nil {
							t.Error(err)
						}
					}
				case 2: // by the end for all
					a, err := c.do(t.Context(), c.node(i), "POST", "/rooms/"+room+"/end", `{}`)
					if err != nil || a.Reason != "" {
						t.Errorf("end: %v, %+v", err, a)
					}
				}
				for _, w := range socks { // or by the end of grace
					w.Cut()
				}
			}
		})
	}
	wg.Wait()
	left := func() (out []string) {
		keys, err := c.redis.Keys(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			_, name, ok := strings.Cut(k, "}:")
			if ok && strings.Contains(name, ":") && !strings.HasPrefix(name, "node:") {
				out = append(out, k)
			}
		}
		slices.Sort(out)
		return out
	}
	gone := eventually(patience, func() bool { return len(left()) == 0 })
	keys := left()
	figures.leaked(len(keys))
	if !gone {
		t.Errorf("%d keys are left: %v", len(keys), keys[:min(10, len(keys))])
	}
	// What partitions keep of members is bounded by what there is: nothing.
	for _, kind := range []string{"rooms", "users", "due"} {
		ok := eventually(patience, func() bool {
			names, err := c.redis.Keys(t.Context(), "*}:"+kind).Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range names {
				items, err := c.redis.ZRange(t.Context(), k, 0, -1).Result()
				if err != nil {
					t.Fatal(err)
				}
				if slices.ContainsFunc(items, func(s string) bool { return strings.Contains(s, "room-") }) {
					return false
				}
			}
			return true
		})
		if !ok {
			t.Errorf("%s still names rooms", kind)
		}
	}
	figures.did(hands*each*(len(verbs)+4), 0)
	figures.say(t, "%d sessions: %d keys left, memory %s before and %s after", hands*each, len(keys), before, memory())
}
