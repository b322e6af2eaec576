package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// TestOneOrder has listeners to "*" on three nodes hear a random mix of all that happens in a room: what all may see comes
// to each of them in the same order and with the same bytes.
func TestOneOrder(t *testing.T) {
	for _, seed := range seeds(t, size(1, 4)) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { oneOrder(t, seed, 12, size(40, 250)) })
	}
}

func oneOrder(t *testing.T, seed uint64, clients, n int) {
	c := newCluster(t, nil)
	const room = "order"
	hs, ls := c.listeners(room)
	c.together(clients, func(i int) error {
		k := &mixer{cluster: c, rnd: rand.New(rand.NewPCG(seed, uint64(i))), room: room, name: "m" + strconv.Itoa(i)}
		return k.run(t.Context(), n)
	})
	a, err := c.do(t.Context(), 0, http.MethodPost, "/rooms/"+room+"/messages", `{"message":"the last","type":"end"}`)
	if err != nil || a.Reason != "" {
		t.Fatal(err, a)
	}
	var end struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(a.Body, &end); err != nil {
		t.Fatal(err)
	}
	var first []string
	kinds := map[string]int{}
	for i, h := range hs {
		h.until(t, "the last message", hasSeq(end.Seq))
		methods, texts := h.all()
		var told []string
		last := uint64(0)
		for j, text := range texts {
			var p struct {
				Seq  uint64 `json:"seq"`
				N    string `json:"n"`
				Peer string `json:"peer_id"`
			}
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatal(err)
			}
			// No change; a message to this one; what expired after the end.
			if p.Seq == 0 || strings.Contains(text, `"private":true`) || p.Seq > end.Seq {
				continue
			}
			if p.Seq <= last || p.N == "" {
				t.Fatalf("node %d: seq %d follows %d: %s", i, p.Seq, last, text)
			}
			last = p.Seq
			told = append(told, methods[j]+" "+text)
			if i == 0 {
				kinds[methods[j]]++
			}
		}
		if i == 0 {
			first = told
		}
		if !slices.Equal(told, first) {
			t.Errorf("node %d tells another sequence: %s", i, diff(first, told))
		}
	}
	compareLog(t, c, room, end.Seq, first)
	t.Logf("%d changes in the same order and bytes on 3 nodes: %v", len(first), kinds)
	for _, w := range ls {
		w.Cut()
	}
}

// compareLog expects that the listeners were told all of the log, up to a seq, but what they may not see.
func compareLog(t *testing.T, c *cluster, room string, end uint64, told []string) {
	t.Helper()
	log, err := c.store.Log(t.Context(), room, "", 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, text := range log.Events {
		cur, prev, rest, err := hearth.ParseCursorLine(text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := hearth.ParseEvent(cur, prev, rest)
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq <= end && e.Audience.Includes("a listener", `"u"`, "host", true) {
			want = append(want, e.Kind.Method()+" "+string(e.AppendParams(nil, nil)))
		}
	}
	if !slices.Equal(want, told) {
		t.Errorf("told and logged (-logged +told): %s", diff(want, told))
	}
	if uint64(len(log.Events)) != log.Seq {
		t.Errorf("the log has %d changes up to seq %d", len(log.Events), log.Seq)
	}
}

// mixer is a client that does whatever there is.
type mixer struct {
	*cluster
	rnd  *rand.Rand
	room string
	name string
}

func (k *mixer) run(ctx context.Context, n int) error {
	for n > 0 {
		w, err := k.join(ctx, k.rnd.IntN(len(k.addrs)), k.room, k.name, map[string]any{"name": k.name}, nil)
		if err != nil {
			return err
		}
		for life := min(n, 3+k.rnd.IntN(20)); life > 0; life, n = life-1, n-1 {
			method, params := k.draw()
			if _, err := w.Call(method, params); err != nil && wire.ReasonOf(err) == "" {
				return fmt.Errorf("%s: %w", method, err)
			}
		}
		if k.rnd.IntN(2) == 0 {
			if _, err := w.Call("leave", nil); err != nil {
				return err
			}
		}
		w.Cut()
		if err := k.gone(ctx); err != nil { // else the next join takes over, and nobody is told
			return err
		}
	}
	return nil
}

// gone waits until the peer has left.
func (k *mixer) gone(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		_, _, err := k.store.Peer(ctx, k.room, "", k.name)
		if hearth.ReasonOf(err) == hearth.ReasonNotFound {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New(k.name + " is still there")
}

// draw returns a call.
func (k *mixer) draw() (method string, params map[string]any) {
	key := "k" + strconv.Itoa(k.rnd.IntN(4))
	switch k.rnd.IntN(12) {
	case 0, 1:
		return "set-metadata", map[string]any{"key": key, "data": k.rnd.IntN(100), "owned": k.rnd.IntN(3) == 0}
	case 2:
		return "set-metadata", map[string]any{"key": key, "data": "short", "ttl_ms": 1 + k.rnd.IntN(300)}
	case 3:
		return "set-metadata", map[string]any{"key": key}
	case 4:
		return "update-metadata", map[string]any{"ops": []map[string]any{
			{"op": "set", "key": key, "data": map[string]int{"n": k.rnd.IntN(9)}}, {"op": "increment", "key": "count"},
		}}
	case 5:
		return "broadcast", map[string]any{"info": map[string]any{"message": map[string]any{"text": "to all"}, "type": "chat"}}
	case 6:
		return "broadcast", map[string]any{
			"info": map[string]any{"message": "to one", "type": "chat"}, "peer_id": "listener" + strconv.Itoa(k.rnd.IntN(3)),
		}
	case 7:
		return "broadcast", map[string]any{"info": map[string]any{"message": "to hosts", "type": "chat"}, "roles": []string{"host"}}
	case 8:
		return "peer-update", map[string]any{"name": k.name + strconv.Itoa(k.rnd.IntN(100))}
	case 9:
		return "group-" + []string{"join", "leave"}[k.rnd.IntN(2)], map[string]any{"name": "hands"}
	}
	return "lock-acquire", map[string]any{"name": "l" + strconv.Itoa(k.rnd.IntN(3)), "ttl_ms": 1000, "wait_ms": k.rnd.IntN(2) * 50}
}

// TestDeadlines writes entries with a ttl and takes locks on three nodes: each ends by one change with its reason, not
// before its deadline, and in the order of the deadlines up to how often is swept. Entries of a peer that leaves go in one
// change right before its leave.
func TestDeadlines(t *testing.T) {
	n := size(60, 400)
	c := newCluster(t, nil)
	const room = "deadlines"
	hs, ls := c.listeners(room, "on-metadata-change", "on-lock-change", "on-peer-leave")
	rnd := rand.New(rand.NewPCG(seeds(t, 1)[0], 0))
	owner, err := c.join(t.Context(), 1, room, "owner", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ttl := func() int { return 1000 + rnd.IntN(2000) }
	deadlines := map[string]int64{}
	for i := range n {
		key := fmt.Sprintf("k%d", i)
		method, params := "set-metadata", map[string]any{"key": key, "data": i, "ttl_ms": ttl()}
		if i%5 == 0 {
			key = fmt.Sprintf("l%d", i)
			method, params = "lock-acquire", map[string]any{"name": key, "ttl_ms": ttl()}
		}
		r, err := ls[i%3].Call(method, params)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			At int64 `json:"expires_at"`
		}
		if err := json.Unmarshal(r, &e); err != nil {
			t.Fatal(err)
		}
		deadlines[key] = e.At
	}
	for i := range 5 {
		if _, err := owner.Call("set-metadata", map[string]any{"key": fmt.Sprintf("own%d", i), "data": i, "owned": true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := owner.Call("leave", nil); err != nil {
		t.Fatal(err)
	}
	late := map[string]int64{}
	hs[2].until(t, "all expiries", func([]string) bool { return ended(t, c, room, deadlines, late) == n })
	all := make([]int64, 0, n)
	for key, ms := range late {
		if ms < 0 {
			t.Errorf("%s ended %d ms before its deadline", key, -ms)
		}
		all = append(all, ms)
	}
	slices.Sort(all)
	t.Logf("%d entries and locks ended after their deadlines by p50 %d ms, p99 %d ms, at most %d ms, by the store's clock", n, all[n/2],
		all[n*99/100], all[n-1])
	if most := all[n-1]; most > patience.Milliseconds() {
		t.Errorf("the last ended %d ms late", most)
	}
	ownedGo(t, hs[0])
	for _, w := range slices.Concat(ls, []*wire.Conn{owner}) {
		w.Cut()
	}
}

// ended counts what has expired by the log and fills in by how much after its deadline.
func ended(t *testing.T, c *cluster, room string, deadlines, late map[string]int64) int {
	t.Helper()
	log, err := c.store.Log(t.Context(), room, "", 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range log.Events {
		cur, prev, rest, err := hearth.ParseCursorLine(text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := hearth.ParseEvent(cur, prev, rest)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == hearth.KindLock && e.Lock.State == hearth.LockExpired {
			late[e.Lock.Name] = e.At - deadlines[e.Lock.Name]
		}
		for _, s := range e.Entries {
			if strings.Contains(s.JSON, `"reason":"expired"`) {
				late[s.Key] = e.At - deadlines[s.Key]
			}
		}
	}
	return len(late)
}

// ownedGo expects that the entries of who left went in one change right before its leave.
func ownedGo(t *testing.T, h *heard) {
	t.Helper()
	methods, texts := h.all()
	i := slices.Index(methods, "on-peer-leave")
	if i < 1 {
		t.Fatal("the owner's leave was not told")
	}
	var leave, before struct {
		Seq    uint64 `json:"seq"`
		Values []struct {
			Key, Reason string
			Deleted     bool
		} `json:"values"`
	}
	if err := errors.Join(json.Unmarshal([]byte(texts[i]), &leave), json.Unmarshal([]byte(texts[i-1]), &before)); err != nil {
		t.Fatal(err)
	}
	if methods[i-1] != "on-metadata-change" || before.Seq+1 != leave.Seq || len(before.Values) != 5 {
		t.Fatalf("before the leave: %s %s", methods[i-1], texts[i-1])
	}
	for _, v := range before.Values {
		if !v.Deleted || v.Reason != "owner_left" {
			t.Errorf("%s went as %+v", v.Key, v)
		}
	}
}
