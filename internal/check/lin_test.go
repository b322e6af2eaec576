package check

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// Clients of a history: those with a socket, and those that call over HTTP with a management token.
const (
	linSockets = 12
	linServers = 6
	linRooms   = 3
	// Two clients share each peer, so that they take each other over.
	linPeers = linSockets / 2
)

var linKeys = []string{"a", "b", "c"}

// TestLinearizable holds histories of clients on three nodes to a model of a room: whatever they were told can be put into
// one order in which every call happened between its beginning and its answer.
func TestLinearizable(t *testing.T) {
	c := newCluster(t, nil)
	rounds, ops, unknown := 0, 0, 0
	began := time.Now()
	for _, seed := range seeds(t, size(1, 5)) {
		for round := range size(2, 12) {
			h, err := runHistory(t.Context(), c, seed+uint64(round)<<32, size(50, 150))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			rounds, ops = rounds+1, ops+len(h.ops)
			unknown += h.unknown()
			if why := h.check(); why != "" {
				t.Fatalf("seed %d, round %d: %s", seed, round, why)
			}
		}
	}
	t.Logf("%d histories of %d clients on 3 nodes: %d operations, %d of them without an answer, in %s", rounds, linSockets+linServers, ops,
		unknown, time.Since(began).Round(time.Millisecond))
}

// TestLinearizableNotices puts faults into the scripts: the histories of some runs must not fit any more.
func TestLinearizableNotices(t *testing.T) {
	caught := 0
	names := []string{
		"the version that a set expects", "the version that an update expects", "the connection of a write",
		"one write of an update",
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(mutants, func(m mutant) bool { return m.name == name })
			change, _ := mutants[i].change()
			c := newCluster(t, change)
			for round := range uint64(20) {
				h, err := runHistory(t.Context(), c, round+1, 30)
				if err != nil {
					t.Fatal(err)
				}
				if h.fits(10*time.Second) != porcupine.Ok {
					caught++
					t.Logf("noticed in history %d", round+1)
					return
				}
			}
			t.Error("not noticed in 20 histories")
		})
	}
	t.Logf("%d of %d faults noticed", caught, len(names))
}

func (h *history) fits(within time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(sessionModel, h.ops, within)
}

func (h *history) unknown() (n int) {
	for _, op := range h.ops {
		if op.Output.(*outcome).unknown { //nolint:errcheck // histories have nothing else
			n++
		}
	}
	return n
}

const undecided = "the checker did not come to an end"

// check returns why the history can't be; undecided if that could not be found out in time.
func (h *history) check() string {
	switch h.fits(time.Minute) {
	case porcupine.Ok:
		return ""
	case porcupine.Unknown:
		return undecided
	}
	for _, room := range sessionModel.Partition(h.ops) {
		if porcupine.CheckOperationsTimeout(sessionModel, room, time.Minute) == porcupine.Ok {
			continue
		}
		return "not linearizable: " + firstFault(room)
	}
	return "not linearizable"
}

func (c *call) String() string {
	text := []string{c.op, c.room}
	for _, part := range []string{c.session, c.peer, c.conn, c.key, c.value, c.expectSession} {
		if part != "" {
			text = append(text, part)
		}
	}
	for _, w := range append([]write{{expect: c.expect}}, c.writes...) {
		text = append(text, w.key+"="+w.value)
		if w.expect != nil {
			text = append(text, "if", num(int64(*w.expect)))
		}
	}
	return strings.Join(text, " ")
}

func (o *outcome) String() string {
	if o.unknown {
		return "?"
	}
	return fmt.Sprintf("%s session %s seq %d shows %s at %d; conn %s resumed %t ended %t count %d", o.reason, o.session, o.seq, o.value,
		o.version, o.conn, o.resumed, o.ended, o.count)
}

// firstFault tells the end of the shortest beginning of a history that can't be.
func firstFault(ops []porcupine.Operation) string {
	fits := func(until int64) bool {
		var part []porcupine.Operation
		for _, op := range ops {
			if op.Call > until {
				continue
			}
			if op.Return > until { // had not been answered yet
				later := *op.Output.(*outcome) //nolint:errcheck // see above
				later.unknown = true
				op.Output, op.Return = &later, 1<<62
			}
			part = append(part, op)
		}
		return porcupine.CheckOperationsTimeout(sessionModel, part, 5*time.Second) == porcupine.Ok
	}
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	var text strings.Builder
	for i, op := range ops {
		if op.Return < 1<<62 && !fits(op.Return) {
			for _, op := range ops[max(0, i-8):min(len(ops), i+18)] {
				fmt.Fprintf(&text, "\nclient %d, %d–%d: %s -> %s", op.ClientId, op.Call, op.Return, op.Input, op.Output)
			}
			break
		}
	}
	return text.String()
}

// linClient is one client of a history.
type linClient struct {
	*cluster
	h      *history
	id     int
	rnd    *rand.Rand
	prefix string // of the rooms
	n      int    // values that it has made, each of them once
	seen   map[string]outcome
	kept   bool // who is cut is a member still: see grace_test.go
}

// runHistory lets all clients do about n operations each, in rooms that nobody has used.
func runHistory(ctx context.Context, c *cluster, seed uint64, n int) (*history, error) {
	return runClients(ctx, c, seed, newRooms(seed), n, (*linClient).socket)
}

// newRooms returns the beginning of the names of a history's rooms.
func newRooms(seed uint64) string {
	return fmt.Sprintf("lin%d-%s-", seed, strconv.FormatInt(prefixes.Add(1), 36))
}

func runClients(ctx context.Context, c *cluster, seed uint64, prefix string, n int,
	socket func(k *linClient, ctx context.Context, n int) error,
) (*history, error) {
	h := newHistory()
	errs := make(chan error, linSockets+linServers)
	for i := range linSockets + linServers {
		k := &linClient{cluster: c, h: h, id: i, rnd: rand.New(rand.NewPCG(seed, uint64(i))), prefix: prefix, seen: map[string]outcome{}}
		go func() {
			if i < linSockets {
				errs <- socket(k, ctx, n)
			} else {
				errs <- k.overHTTP(ctx, n)
			}
		}()
	}
	var all error
	for range linSockets + linServers {
		all = errors.Join(all, <-errs)
	}
	return h, all
}

func (k *linClient) room() string { return k.prefix + strconv.Itoa(k.rnd.IntN(linRooms)) }
func (k *linClient) key() string  { return linKeys[k.rnd.IntN(len(linKeys))] }

// value makes a value that nobody else writes.
func (k *linClient) value() string {
	k.n++
	return fmt.Sprintf(`"%d-%d"`, k.id, k.n)
}

// expectation is the version that the client saw last of a key, or 0 for none, or nil for any.
func (k *linClient) expectation(key string) *uint64 {
	switch k.rnd.IntN(10) {
	case 0, 1, 2, 3:
		return nil
	case 4:
		return new(uint64(0))
	}
	return new(k.seen[key].version)
}

// entryAnswer is an entry as clients are told of it.
type entryAnswer struct {
	Key     string          `json:"key"`
	Data    json.RawMessage `json:"data"`
	Version uint64          `json:"change_version"`
	Deleted bool            `json:"deleted"`
}

// shown puts the entry into the outcome; a null is what an absent one is told as.
func (o *outcome) shown(text []byte) error {
	var e entryAnswer
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if o.version = e.Version; string(e.Data) != "null" {
		o.value = string(e.Data)
	}
	return nil
}

// socket joins rooms, does something there, and goes, in this way or that.
func (k *linClient) socket(ctx context.Context, n int) error {
	for n > 0 {
		room, peer := k.room(), "p"+strconv.Itoa(k.id%linPeers)
		in := &call{op: "join", room: room, peer: peer}
		began := k.h.now()
		w, err := k.join(ctx, k.rnd.IntN(len(k.addrs)), room, peer, map[string]any{}, nil)
		if err != nil {
			return err
		}
		k.h.record(k.id, in, began, &outcome{session: w.Session, seq: w.Seq, conn: w.ConnID, resumed: w.Resumed})
		life := min(n, 3+k.rnd.IntN(15))
		n -= life + 2
		clear(k.seen)
		for open := true; open; life-- {
			switch {
			case life > 0:
				open, err = k.onSocket(ctx, w, room, peer)
			default:
				open, err = false, k.goes(ctx, w, room, peer)
			}
			if err != nil {
				return err
			}
		}
		w.Cut()
	}
	return nil
}

// goes ends a membership by a leave, or by a cut, after which the node ends it whenever it notices.
func (k *linClient) goes(ctx context.Context, w *wire.Conn, room, peer string) error {
	in := &call{op: "leave", room: room, session: w.Session, peer: peer, conn: w.ConnID}
	began := k.h.now()
	if k.rnd.IntN(5) == 0 {
		w.Cut()
		k.h.until(k.id, in, began, &outcome{unknown: true}, k.settled(ctx, w, room, peer))
		return nil
	}
	r, err := w.Call("leave", nil)
	out := &outcome{reason: wire.ReasonOf(err), unknown: errors.Is(err, wire.ErrCut)}
	if err == nil {
		var l struct {
			Ended bool `json:"session_ended"`
		}
		if err := json.Unmarshal(r, &l); err != nil {
			return err
		}
		out.ended = l.Ended
	} else if out.reason == "" && !out.unknown {
		return err
	}
	if out.unknown {
		k.h.until(k.id, in, began, out, k.settled(ctx, w, room, peer))
	} else {
		k.h.record(k.id, in, began, out)
	}
	return nil
}

// settled returns when a call of a socket that has ended can't happen any more: by then its connection has been seen not to
// be the peer's, so that the fence refuses it. Some calls are left open to the end, as is one for which that isn't seen.
func (k *linClient) settled(ctx context.Context, w *wire.Conn, room, peer string) int64 {
	if k.kept || k.rnd.IntN(20) == 0 {
		return math.MaxInt64
	}
	return k.lost(ctx, w, room, peer, false)
}

// stored is one of the store's keys in the room's partition.
func (k *linClient) stored(room, name string) string {
	return strings.TrimSuffix(k.store.Channel(room), "e:"+room) + name
}

// lost returns when a connection has been seen not to be the peer's any more or, if away will do, that its grace runs.
func (k *linClient) lost(ctx context.Context, w *wire.Conn, room, peer string, away bool) int64 {
	secret := secretOf(w.ConnID)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		text, err := k.client.HGet(ctx, k.stored(room, "c:"+room), peer).Result()
		record := strings.Split(text, "\n")
		if (record[0] != secret || away && record[5] == "") && (err == nil || errors.Is(err, redis.Nil)) {
			return k.h.now()
		}
		<-tick.C
	}
	return math.MaxInt64
}

// secretOf is a connection as the store knows it.
func secretOf(conn string) string {
	secret, _, _ := strings.Cut(conn, ".")
	return secret
}

// onSocket does one call; it returns false if the socket has ended.
func (k *linClient) onSocket(ctx context.Context, w *wire.Conn, room, peer string) (bool, error) {
	in := &call{op: "get", room: room, session: w.Session, peer: peer, conn: w.ConnID, key: k.key()}
	method, params := "get-metadata", map[string]any{"key": in.key}
	switch k.rnd.IntN(10) {
	case 0, 1, 2, 3:
		in.op, in.value, in.expect = "set", k.value(), k.expectation(in.key)
		method, params["data"] = "set-metadata", json.RawMessage(in.value)
	case 4:
		in.op, in.expect = "delete", k.expectation(in.key)
		method = "set-metadata"
	case 5, 6:
		in.op = "update"
		method, params = "update-metadata", map[string]any{"ops": k.update(in)}
	}
	if in.expect != nil {
		params["if_change_version"] = *in.expect
	}
	began := k.h.now()
	got, err := w.Send(method, params)
	if err == nil && k.rnd.IntN(60) == 0 {
		w.Cut() // with the call on its way
	}
	var r json.RawMessage
	if err == nil {
		r, err = w.Answer(got)
	}
	out := &outcome{reason: wire.ReasonOf(err), unknown: errors.Is(err, wire.ErrCut)}
	switch e := (*wire.Error)(nil); {
	case out.unknown:
		end := k.settled(ctx, w, room, peer)
		k.h.until(k.id, in, began, out, end)
		// The node ends the membership whose socket broke.
		parts := &call{op: "leave", room: room, session: w.Session, peer: peer, conn: w.ConnID}
		if k.kept {
			parts.op = "cut"
		}
		k.h.until(k.id, parts, began, out, end)
		return false, nil
	case errors.As(err, &e) && out.reason == hearth.ReasonVersionConflict:
		err = out.shown(e.Data.Current)
	case out.reason != "":
		err = nil
	case err == nil:
		err = k.told(in, out, r)
	}
	if err != nil {
		return false, err
	}
	if in.op != "update" {
		k.seen[in.key] = *out
	}
	k.h.record(k.id, in, began, out)
	return true, nil
}

// told reads the answer to a call that was executed.
func (k *linClient) told(in *call, out *outcome, text []byte) error {
	switch in.op {
	case "get":
		return out.shown(text)
	case "update":
		var u struct {
			Seq     uint64          `json:"seq"`
			Session string          `json:"session_id"`
			Entries json.RawMessage `json:"entries"`
		}
		err := json.Unmarshal(text, &u)
		out.seq, out.session = u.Seq, u.Session
		return err
	}
	var e entryAnswer
	err := json.Unmarshal(text, &e)
	out.seq = e.Version
	if in.op == "set" {
		out.version = e.Version
	}
	return err
}

// update draws the ops of an update: two or three keys, all of them or none.
func (k *linClient) update(in *call) []map[string]any {
	var ops []map[string]any
	for i, key := range k.rnd.Perm(len(linKeys))[:2+k.rnd.IntN(2)] {
		w := write{key: linKeys[key], expect: k.expectation(linKeys[key])}
		op := map[string]any{"op": "set", "key": w.key}
		if i == 0 || w.expect == nil || k.rnd.IntN(2) == 0 {
			w.value = k.value()
			op["data"] = json.RawMessage(w.value)
		} else {
			op["op"] = "check"
		}
		if w.expect != nil {
			op["if_change_version"] = *w.expect
		}
		in.writes = append(in.writes, w)
		ops = append(ops, op)
	}
	return ops
}
