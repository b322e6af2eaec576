package store

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// Calls to one master share its lanes, whatever their partitions; a slot that has moved goes by those of where it is now.
func TestEachMasterHasItsLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const a, b = "192.0.2.1:1", "192.0.2.2:1"
		var border atomic.Int64 // the first slot of b
		border.Store(slots / 2)
		var away atomic.Bool
		client := redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: []string{a},
			ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
				if away.Load() {
					return nil, errors.New("nobody says")
				}
				all := []redis.ClusterSlot{{Start: 0, End: int(border.Load()) - 1, Nodes: []redis.ClusterNode{{Addr: a}}}}
				if border.Load() < slots {
					all = append(all, redis.ClusterSlot{Start: int(border.Load()), End: slots - 1, Nodes: []redis.ClusterNode{{Addr: b}}})
				}
				return all, nil
			},
		})
		defer func() { _ = client.Close() }()
		k := newKeyspace("hearth", 64)
		l := newLanes(client, nil)
		// by returns how many of the partitions' rooms go by a's and by b's lanes, and by those for which no master is known.
		by := func() (lanes map[string]int) {
			lanes = map[string]int{}
			for i := range 1000 {
				room := "room-" + strconv.Itoa(i)
				key := k.state(room)
				ways := l.to(t.Context(), key)
				master, ok := ways.client.(*redis.Client)
				if !ok {
					lanes["none"]++
					continue
				}
				if now, err := client.MasterForKey(t.Context(), key); err != nil || now != master {
					t.Fatalf("%s goes by a client that is not its master's any more (%v)", key, err)
				}
				addr := master.Options().Addr
				if wanted := map[bool]string{true: a, false: b}[int64(crc16(k.tags[k.partitionOf(room)]))%slots < border.Load()]; addr != wanted {
					t.Fatalf("%s goes to %s, not %s", key, addr, wanted)
				}
				if short := l.of(t.Context(), verbSet, key); short != l.masters[addr].short || l.of(t.Context(), verbLeave, key) != short {
					t.Fatalf("a set of %s does not go by the one lane of %s", key, addr)
				}
				lanes[addr]++
			}
			return lanes
		}
		away.Store(true)
		if got := by(); got["none"] != 1000 {
			t.Errorf("nobody says who has what: %v", got)
		}
		away.Store(false)
		first := by()
		if len(first) != 2 || first[a] < 300 || first[b] < 300 {
			t.Errorf("two masters of one half each: %v", first)
		}
		move := func(to int64) {
			border.Store(to)
			client.ReloadState(t.Context())
			<-time.After(5 * time.Minute) // in which the library looks, rests, and closes clients of servers that it has no use for
			client.ReloadState(t.Context())
			<-time.After(time.Second)
		}
		move(slots / 4)
		if got := by(); len(got) != 2 || got[a] > 400 || got[a] >= first[a] {
			t.Errorf("%v once a quarter has moved, %v before", got, first)
		}
		move(slots)
		if got := by(); got[a] != 1000 {
			t.Errorf("%v once all has moved to one master", got)
		}
		move(slots / 2)
		if got := by(); !maps.Equal(got, first) {
			t.Errorf("%v once the other is back, %v at first", got, first)
		}
	})
}
