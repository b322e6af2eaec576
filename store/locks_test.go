package store_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// A script holds up everybody, and each write has to look at all that locks bind.
func TestWhatManyLocksBindCostsAWriteOfManyKeysNoMoreThanOneOfOne(t *testing.T) {
	h := newHouse(t, redistest.Real(t))
	state, err := h.client.Keys(t.Context(), "*}:s:"+room).Result()
	if err != nil || len(state) != 1 {
		t.Fatal(state, err)
	}
	locks, names := map[string]string{}, ""
	for i := range hearth.MaxLocks {
		var held strings.Builder
		held.WriteString("1 bob 99999999999999 1000\n")
		for j := range hearth.MaxLockKeys {
			held.WriteString("pattern-" + strconv.Itoa(i) + "-" + strconv.Itoa(j) + "*\n")
		}
		name := "l" + strconv.Itoa(i)
		locks[name], names = held.String(), names+name+" "
	}
	if err := h.client.HSet(t.Context(), strings.Replace(state[0], ":s:", ":k:", 1), locks).Err(); err != nil {
		t.Fatal(err)
	}
	if err := h.client.HSet(t.Context(), state[0], "bl", names).Err(); err != nil {
		t.Fatal(err)
	}
	least := func(write func() error) time.Duration {
		took := time.Hour
		for range 3 {
			begun := time.Now()
			if err := write(); err != nil {
				t.Fatal(err)
			}
			took = min(took, time.Since(begun))
		}
		return took
	}
	var ops []hearth.Op
	for i := range hearth.MaxUpdateOps {
		ops = append(ops, hearth.Op{Kind: hearth.OpSet, Key: "key" + strconv.Itoa(i), Data: []byte("1")})
	}
	one := least(func() error { _, err := h.s.Update(t.Context(), room, h.ann, ops[:1]); return err })
	many := least(func() error { _, err := h.s.Update(t.Context(), room, h.ann, ops); return err })
	t.Logf("one key %v, %d keys %v", one, len(ops), many)
	if many > 10*one {
		t.Errorf("one key took %v, %d keys %v", one, len(ops), many)
	}
}
