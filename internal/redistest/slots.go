package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// SlotMove is a slot on its way from one master to another. Until it is done, keys that are still at the old one are
// served there, others at the new one on demand, and commands on keys of both kinds are refused (TRYAGAIN).
type SlotMove struct {
	c        *ClusterServers
	slot     int
	from, to *Server
	at       map[*Server]*redis.Client
}

// MoveSlot moves a slot with all its keys to another master. Clients go on meanwhile.
func (c *ClusterServers) MoveSlot(tb testing.TB, slot int, to *Server) {
	tb.Helper()
	m := c.BeginMove(tb, slot, to)
	m.Finish(tb)
}

// BeginMove has both masters know that the slot is to move. Nothing has moved yet.
func (c *ClusterServers) BeginMove(tb testing.TB, slot int, to *Server) *SlotMove {
	tb.Helper()
	m := &SlotMove{c: c, slot: slot, from: c.Owner(tb, slot), to: to, at: map[*Server]*redis.Client{}}
	for _, s := range c.Masters(tb) {
		m.at[s] = s.Client(tb)
	}
	if m.at[to] == nil {
		m.at[to] = to.Client(tb)
	}
	m.do(tb, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", m.from.id)
	m.do(tb, m.from, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
	return m
}

// Finish moves all keys and has all nodes know the new master.
func (m *SlotMove) Finish(tb testing.TB) {
	tb.Helper()
	for {
		keys, err := m.at[m.from].ClusterGetKeysInSlot(tb.Context(), m.slot, 100).Result()
		if err != nil {
			tb.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", "127.0.0.1", m.to.port(), "", 0, 5000, "KEYS"}
		for _, k := range keys {
			args = append(args, k)
		}
		m.do(tb, m.from, args...)
	}
	// The new master first: were it the last, there would be a time in which neither serves the slot.
	m.do(tb, m.to, "CLUSTER", "SETSLOT", m.slot, "NODE", m.to.id)
	m.do(tb, m.from, "CLUSTER", "SETSLOT", m.slot, "NODE", m.to.id)
	for s := range m.at {
		if s != m.to && s != m.from {
			m.do(tb, s, "CLUSTER", "SETSLOT", m.slot, "NODE", m.to.id)
		}
	}
	wait(tb, "all to know where the slot is", func() bool {
		view, ok := m.c.agreed()
		return ok && view[m.slot] == m.to
	})
}

func (m *SlotMove) do(tb testing.TB, at *Server, args ...any) {
	tb.Helper()
	if err := m.at[at].Do(tb.Context(), args...).Err(); err != nil {
		tb.Fatalf("redistest: %v at %s: %v", args, at.Addr, err)
	}
}
