package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// internal/check holds histories to a model of a whole room, sessions and all, with clients that know what becomes of
// their calls. Here many calls have no outcome: so the model is one of an entry and one of a membership, each by itself,
// which a checker can decide however many calls stay open.

// linCall is an operation as a client began it.
type linCall struct {
	part   string // the entry or the membership
	op     string // set, delete, get · join, leave, there
	value  string
	conn   string // the connection that calls
	peer   string // its membership
	expect *uint64
}

// linOut is what the client was told.
type linOut struct {
	unknown bool
	reason  hearth.Reason
	value   string // of the entry: "" if absent
	version uint64
	yes     bool // join: it was a takeover; there: the peer is a member
}

// linState is an entry, or a membership.
type linState struct {
	value   string
	version uint64 // 0 with a value: that of a write that was never answered
	seq     uint64 // known to be taken
	conn    string // "": no member
}

var linModel = (&porcupine.NondeterministicModel{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, op := range ops {
			in := op.Input.(linCall) //nolint:errcheck // histories have nothing else
			parts[in.part] = append(parts[in.part], op)
		}
		out := make([][]porcupine.Operation, 0, len(parts))
		for _, p := range parts {
			out = append(out, p)
		}
		return out
	},
	Init: func() []any { return []any{linState{}} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(linState), input.(linCall), output.(linOut) //nolint:errcheck // see above
		ok, next := s.step(in, out)
		switch {
		case !ok:
			return nil
		case out.unknown && next != s: // it happened, or never did
			return []any{s, next}
		}
		return []any{next}
	},
	Equal: func(a, b any) bool { return a == b },
}).ToModel()

// shows reports whether an entry is what a client was shown, and the state in which its version is known.
func (s linState) shows(out linOut) (bool, linState) {
	switch {
	case s.value == "" || out.value == "":
		return s.value == out.value, s
	case s.value != out.value || out.version == 0 || s.version != 0 && s.version != out.version:
		return false, s
	}
	s.version, s.seq = out.version, max(s.seq, out.version)
	return true, s
}

func (s linState) step(in linCall, out linOut) (bool, linState) {
	switch in.op {
	case "join":
		was := s.conn != ""
		s.conn = in.conn
		return out.unknown || out.yes == was, s
	case "leave":
		here := s.conn == in.conn
		if here {
			s.conn = ""
		}
		return out.unknown || (out.reason == "") == here, s
	case "there":
		return out.yes == (s.conn != ""), s
	case "get":
		return s.shows(out)
	}
	if in.expect != nil && (*in.expect != s.version || (s.value != "") != (*in.expect != 0)) {
		if out.unknown {
			return true, s
		}
		ok, next := s.shows(out)
		return ok && out.reason == hearth.ReasonVersionConflict, next
	}
	switch {
	case out.unknown:
		s.value, s.version = in.value, 0
		return true, s
	case out.reason != "":
		return false, s
	case in.op == "delete" && s.value == "":
		return out.version == 0, s
	case out.version <= s.seq:
		return false, s
	}
	if s.value, s.version, s.seq = in.value, out.version, out.version; in.op == "delete" {
		s.version = 0
	}
	return true, s
}

// linHistory records what clients did.
type linHistory struct {
	mu    sync.Mutex
	began time.Time
	ops   []porcupine.Operation
}

func (h *linHistory) now() int64 { return time.Since(h.began).Nanoseconds() }

// add notes an operation. One without an outcome stays open to the end.
func (h *linHistory) add(client int, began int64, in linCall, out linOut) {
	end := h.now()
	if out.unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: began, Output: out, Return: end})
}

// clip ends what a connection left open when it has been seen not to be its peer's any more: the fence refuses it from then
// on, and if it should not, the history has no order. What may have joined by a call without an outcome stays open.
func (h *linHistory) clip() {
	joins := map[string][]porcupine.Operation{} // by membership
	joined := map[string]int64{}
	for _, op := range h.ops {
		if in := op.Input.(linCall); in.op == "join" && op.Return != math.MaxInt64 { //nolint:errcheck // see above
			joins[in.part] = append(joins[in.part], op)
			joined[in.conn] = op.Return
		}
	}
	for i, op := range h.ops {
		in := op.Input.(linCall) //nolint:errcheck // see above
		from, ok := joined[in.conn]
		if op.Return != math.MaxInt64 || !ok {
			continue
		}
		for _, j := range joins[in.peer] {
			if j.Call > from {
				h.ops[i].Return = min(h.ops[i].Return, max(j.Return, op.Call+1))
			}
		}
	}
}

// check returns why the history can't be; a checker that doesn't get to an end in time has failed.
func (h *linHistory) check() string {
	h.clip()
	for _, part := range linModel.Partition(h.ops) {
		switch porcupine.CheckOperationsTimeout(linModel, part, patience) {
		case porcupine.Ok:
			continue
		case porcupine.Unknown:
			return fmt.Sprintf("the checker did not come to an end with %d operations", len(part))
		}
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
		end := slices.IndexFunc(part, func(op porcupine.Operation) bool { return !fits(part, op.Return) }) + 1
		var text strings.Builder
		for _, op := range part[max(0, end-20):end] {
			in := op.Input.(linCall) //nolint:errcheck // see above
			expect := "any"
			if in.expect != nil {
				expect = strconv.FormatUint(*in.expect, 10)
			}
			fmt.Fprintf(&text, "\nclient %d, %d–%d: %s %s %s %s if %s -> %+v", op.ClientId, op.Call, op.Return, in.part, in.op, in.value, in.conn,
				expect, op.Output)
		}
		return "not linearizable: " + text.String()
	}
	return ""
}

// fits reports whether what had been answered by a time fits.
func fits(part []porcupine.Operation, until int64) bool {
	var known []porcupine.Operation
	for _, op := range part {
		if op.Call > until {
			continue
		}
		if op.Return > until {
			out := op.Output.(linOut) //nolint:errcheck // see above
			out.unknown = true
			op.Output, op.Return = out, math.MaxInt64
		}
		known = append(known, op)
	}
	return porcupine.CheckOperationsTimeout(linModel, known, time.Second) != porcupine.Illegal
}

// linClient is one client of a history.
type linClient struct {
	*cluster
	*linHistory
	id   int
	rnd  *rand.Rand
	room string
	n    int
}

func (k *linClient) unique() string {
	k.n++
	return fmt.Sprintf("%d-%d", k.id, k.n)
}

// run does n operations or so, over all faults. Two clients share each peer, so that they take each other over.
func (k *linClient) run(ctx context.Context, n int) {
	peer := fmt.Sprintf("p%d", k.id/2)
	part := k.room + "/peer/" + peer
	for n > 0 && ctx.Err() == nil {
		live := k.live()
		if len(live) == 0 {
			continue
		}
		at := live[k.rnd.IntN(len(live))]
		w, err := k.dial(ctx, at, k.room, peer, nil)
		if err != nil {
			pass(k, 5*time.Millisecond)
			continue
		}
		began := k.now()
		if err := w.Join(nil); err != nil {
			if wire.Unknown(err) { // and if it joined, its membership may end at any time
				conn := "?" + k.unique()
				k.add(k.id, began, linCall{part: part, op: "join", conn: conn}, linOut{unknown: true})
				k.add(k.id, began, linCall{part: part, op: "leave", conn: conn}, linOut{unknown: true})
			}
			w.Cut()
			continue
		}
		k.add(k.id, began, linCall{part: part, op: "join", conn: w.ConnID}, linOut{yes: w.Resumed})
		alive := k.now()
		life := 5 + k.rnd.IntN(30)
		n -= life
		open := true
		for ; open && life > 0; life-- {
			if open = k.call(w, part); open { //nolint:contextcheck // its calls end with the test
				alive = k.now()
			}
			pass(k, time.Duration(k.rnd.IntN(8))*time.Millisecond)
		}
		out := linOut{unknown: true}
		if open && k.rnd.IntN(2) == 0 {
			alive = k.now()
			_, err := w.Call("leave", nil)
			out = linOut{reason: wire.ReasonOf(err), unknown: err != nil && wire.ReasonOf(err) != hearth.ReasonNotMember}
		}
		k.add(k.id, alive, linCall{part: part, peer: part, op: "leave", conn: w.ConnID}, out)
		w.Cut()
	}
}

// call does one call; it returns false if the socket is no good any more.
func (k *linClient) call(w *wire.Conn, peer string) bool {
	key := []string{"a", "b", "c"}[k.rnd.IntN(3)]
	in := linCall{part: k.room + "/key/" + key, op: "get", conn: w.ConnID, peer: peer}
	method, params := "get-metadata", map[string]any{"key": key}
	switch k.rnd.IntN(8) {
	case 0, 1, 2:
		in.op, in.value, method = "set", `"`+k.unique()+`"`, "set-metadata"
		params["data"] = json.RawMessage(in.value)
	case 3:
		in.op, method = "delete", "set-metadata"
	case 4, 5: // compare and set
		began := k.now()
		r, err := w.Call("get-metadata", params)
		var e entry
		if err != nil || json.Unmarshal(r, &e) != nil {
			return false
		}
		k.add(k.id, began, in, shownBy(e)) // it may be what tells the version of a write without an outcome
		in.op, in.value, in.expect, method = "set", `"`+k.unique()+`"`, &e.Version, "set-metadata"
		params["data"], params["if_change_version"] = json.RawMessage(in.value), e.Version
	case 6:
		return k.looks()
	}
	began := k.now()
	r, err := w.Call(method, params)
	var e entry
	var out linOut
	var refusal *wire.Error
	switch refusal, out.reason = asError(err), wire.ReasonOf(err); {
	case wire.Unknown(err):
		if in.op != "get" {
			out = linOut{unknown: true}
			k.add(k.id, began, in, out)
		}
		return false
	case out.reason == hearth.ReasonVersionConflict:
		r = refusal.Data.Current
	case out.reason == hearth.ReasonUnavailable:
		return true // not executed
	case err != nil:
		return false // no member any more
	}
	if err := json.Unmarshal(r, &e); err != nil {
		k.Errorf("%s: %v: %s", method, err, r)
		return false
	}
	shown := shownBy(e)
	shown.reason = out.reason
	k.add(k.id, began, in, shown)
	return true
}

// shownBy is what an answer tells of an entry; a null is what an absent one is told as.
func shownBy(e entry) linOut {
	out := linOut{version: e.Version}
	if string(e.Data) != "null" {
		out.value = string(e.Data)
	}
	return out
}

// looks asks as a server whether somebody is a member.
func (k *linClient) looks() bool {
	live, peer := k.live(), fmt.Sprintf("p%d", k.rnd.IntN(linClients/2))
	began := k.now()
	a, err := k.do(k.Context(), live[k.rnd.IntN(len(live))], "GET", "/rooms/"+k.room+"/peers/"+peer, "")
	if err == nil && (a.Reason == "" || a.Reason == hearth.ReasonNotFound) {
		k.add(k.id, began, linCall{part: k.room + "/peer/" + peer, op: "there"}, linOut{yes: a.Reason == ""})
	}
	return true
}

func asError(err error) *wire.Error {
	if e, ok := err.(*wire.Error); ok { //nolint:errorlint // Call wraps none
		return e
	}
	return nil
}

// linClients is how many there are in each room.
const linClients = 8

// TestLinKill (2) holds histories to a model while nodes are killed.
func TestLinKill(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{})
	s := seedOf(t)
	rounds, kills, ops, unknown := size(2, 25), 0, 0, 0
	for round := range rounds {
		h := &linHistory{began: time.Now()}
		var wg sync.WaitGroup
		done := make(chan struct{})
		for r := range 2 {
			room := fmt.Sprintf("lin%d-%d", round, r)
			c.anchor(room)
			for i := range linClients {
				k := &linClient{cluster: c, linHistory: h, id: i, rnd: random(s+uint64(round), r*100+i), room: room}
				wg.Go(func() { k.run(t.Context(), size(120, 200)) })
			}
		}
		go func() { // ends with the clients
			wg.Wait()
			close(done)
		}()
		rnd := random(s+uint64(round), 1000)
		for killing := true; killing; {
			timer := time.NewTimer(300*time.Millisecond + time.Duration(rnd.IntN(300))*time.Millisecond)
			select {
			case <-done:
				killing = false
			case <-timer.C:
				if i := rnd.IntN(3); kills < 3*(round+1) {
					c.node(i).kill()
					kills++
					c.restart(i)
				}
			}
			timer.Stop()
		}
		for _, op := range h.ops {
			if op.Output.(linOut).unknown { //nolint:errcheck // see above
				unknown++
			}
		}
		ops += len(h.ops)
		t.Logf("history %d: %d operations, %d kills so far", round, len(h.ops), kills)
		if why := h.check(); why != "" {
			t.Fatalf("history %d of seed %d: %s", round, s, why)
		}
	}
	if kills == 0 || unknown == 0 {
		t.Errorf("%d kills, %d calls without an outcome", kills, unknown)
	}
	figures.did(ops, kills)
	figures.say(t, "%d histories under %d kills of nodes, %d operations, %d of them open to the end: linearizable", rounds, kills, ops, unknown)
}

// TestLinNotices expects that what can't be is found.
func TestLinNotices(t *testing.T) {
	set := func(v string, version uint64) (linCall, linOut) {
		return linCall{part: "k", op: "set", value: v}, linOut{version: version, value: v}
	}
	get := func(v string, version uint64) (linCall, linOut) {
		return linCall{part: "k", op: "get"}, linOut{version: version, value: v}
	}
	join := func(conn string, again bool) (linCall, linOut) {
		return linCall{part: "p", op: "join", conn: conn}, linOut{yes: again}
	}
	for name, steps := range map[string]func(add func(linCall, linOut)){
		"lost":   func(add func(linCall, linOut)) { add(set("x", 1)); add(set("y", 2)); add(get("x", 1)) },
		"gone":   func(add func(linCall, linOut)) { add(set("x", 1)); add(get("", 0)) },
		"again":  func(add func(linCall, linOut)) { add(set("x", 2)); add(set("y", 2)) },
		"ghost":  func(add func(linCall, linOut)) { add(join("a", true)) },
		"left":   func(add func(linCall, linOut)) { add(join("a", false)); add(join("b", false)) },
		"vanish": func(add func(linCall, linOut)) { add(join("a", false)); add(linCall{part: "p", op: "there"}, linOut{}) },
	} {
		h := &linHistory{began: time.Now()}
		steps(func(in linCall, out linOut) { h.add(0, h.now(), in, out) })
		if h.check() == "" {
			t.Errorf("%s was not noticed", name)
		}
	}
}
