package check

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hearthstore/hearth"
)

// call is an operation as a client began it.
type call struct {
	op            string // join, leave, remove, get, set, delete, update, room · cut, pass: see roomState · again: see twice
	room          string
	session       string // that the call belongs to; "" for whichever is live
	peer, conn    string // the fence; no peer: a server
	key, value    string
	expect        *uint64 // of set and delete
	expectSession string  // of an ETag, over HTTP; of a join that resumes ...
	at            uint64  // ... up to where it had got there
	writes        []write // of an update
	// twice: of a join that resumes and got a snapshot. The store was told of it once more, which is a call of its own, by the same
	// connection: what others do may come between.
	twice bool
}

// write is an op of an update: a set, or without a value a check.
type write struct {
	key, value string
	expect     *uint64
}

// outcome is what the client was told.
type outcome struct {
	unknown bool // no answer came: it may have happened, may yet happen, or never will
	reason  hearth.Reason
	session string
	seq     uint64 // of a change; of a read, where it holds
	// value and version of the entry that was read, or that a conflict carries; "" and 0: absent.
	value   string
	version uint64
	conn    string // of a join
	resumed bool   // the join was a takeover
	ended   bool   // the session ended with the leave
	count   int    // of peers
}

// known is the outcome as if it had been told.
func (o *outcome) known() *outcome {
	k := *o
	k.unknown = false
	return &k
}

// history records what clients did.
type history struct {
	mu    sync.Mutex
	began time.Time
	ops   []porcupine.Operation
}

func newHistory() *history { return &history{began: time.Now()} }

func (h *history) now() int64 { return time.Since(h.began).Nanoseconds() }

// record notes an operation that was answered.
func (h *history) record(client int, in *call, began int64, out *outcome) {
	h.until(client, in, began, out, h.now())
}

// until notes an operation that happened before end, if it did.
func (h *history) until(client int, in *call, began int64, out *outcome, end int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: began, Output: out, Return: end})
}

// roomState is what a room is, as its clients may see it. It is never changed, but copied.
type roomState struct {
	session, last string // last: of the session before
	seq           uint64 // that is known to be taken
	members       []item // peer → conn; version: seq of its join, 0 if that isn't known
	entries       []item // key → value and version; version 0: a write whose answer never came
}

type item struct {
	name, value string
	version     uint64
	away        bool // of a member: its node knows that its socket is gone
}

func find(list []item, name string) (item, bool) {
	i := slices.IndexFunc(list, func(i item) bool { return i.name == name })
	if i < 0 {
		return item{name: name}, false
	}
	return list[i], true
}

// with is the list with an item in place of the one of the same name.
func with(list []item, it item) []item {
	out := without(list, it.name)
	i, _ := slices.BinarySearchFunc(out, it.name, func(a item, name string) int { return strings.Compare(a.name, name) })
	return slices.Insert(out, i, it)
}

func without(list []item, name string) []item {
	out := make([]item, 0, len(list)+1)
	for _, i := range list {
		if i.name != name {
			out = append(out, i)
		}
	}
	return out
}

// sessionModel is one room: what every client's answers have to fit into.
var sessionModel = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		byRoom := map[string]int{}
		var out [][]porcupine.Operation
		for _, op := range ops {
			in := op.Input.(*call) //nolint:errcheck // histories have nothing else
			i, ok := byRoom[in.room]
			if !ok {
				i = len(out)
				byRoom[in.room] = i
				out = append(out, nil)
			}
			out[i] = append(out[i], op)
		}
		return out
	},
	Init: func() any { return &roomState{} },
	Step: func(state, input, output any) (bool, any) {
		//nolint:errcheck // histories have nothing else
		s, in, out := state.(*roomState), input.(*call), output.(*outcome)
		next := s.step(in, out)
		return next != nil, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(*roomState), b.(*roomState) //nolint:errcheck // see above
		return x.session == y.session && x.last == y.last && x.seq == y.seq && slices.Equal(x.members, y.members) &&
			slices.Equal(x.entries, y.entries)
	},
	Hash: func(state any) uint64 {
		s := state.(*roomState) //nolint:errcheck // see above
		h := fnv.New64a()
		_, _ = fmt.Fprint(h, s.session, s.seq, s.members, s.entries)
		return h.Sum64()
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// refusal is why the room refuses a call that belongs to a session and, if it is a write, to a connection.
func (s *roomState) refusal(in *call) hearth.Reason {
	switch {
	case s.session == "" && in.session == "":
		return hearth.ReasonNoSession
	case s.session == "" || in.session != "" && in.session != s.session:
		return hearth.ReasonSessionEnded
	case in.peer == "" || in.op == "get" || in.op == "room":
		return ""
	}
	if m, ok := find(s.members, in.peer); !ok || m.value != in.conn {
		return hearth.ReasonNotMember
	}
	return ""
}

// step returns the room after an operation, or nil if it can't have been answered like that.
func (s *roomState) step(in *call, out *outcome) *roomState {
	switch in.op {
	case "join":
		return s.join(in, out)
	case "cut", "pass":
		return s.time(in)
	}
	if why := s.refusal(in); why != "" {
		if out.unknown || out.reason == why {
			return s
		}
		return nil
	}
	switch in.op {
	case "leave", "remove":
		return s.leave(in, out)
	case "room", "get", "again":
		if out.unknown {
			return s
		}
	}
	switch in.op {
	case "again":
		if out.seq <= s.seq {
			return nil
		}
		return s.at(out.seq)
	case "room":
		if out.reason != "" || out.session != s.session || out.count != len(s.members) {
			return nil
		}
		return s.at(out.seq)
	case "get":
		return s.get(in, out)
	}
	return s.write(in, out)
}

// at is the room when it is known that seq is taken.
func (s *roomState) at(seq uint64) *roomState {
	if seq < s.seq {
		return nil
	}
	n := *s
	n.seq = seq
	return &n
}

func (s *roomState) join(in *call, out *outcome) *roomState {
	switch {
	case out.reason != "":
		return nil // nothing here refuses one
	case out.unknown && s.join(in, out.known()) == nil: // not yet
		return s
	}
	n := *s
	if s.session == "" {
		if out.resumed || out.session == s.last {
			return nil
		}
		n = roomState{session: out.session}
	}
	m, there := find(s.members, in.peer)
	kept := there
	if in.expectSession != "" { // of what it knows it may have been timed out, and another connection joined since
		kept = there && in.expectSession == s.session && (m.version == 0 && out.resumed || m.version > 0 && in.at >= m.version)
	}
	seq := out.seq
	if in.twice { // not that of the snapshot
		seq = n.seq + 1
	}
	if out.session != n.session || out.resumed != kept || seq <= n.seq {
		return nil
	}
	if !there {
		if m.version = seq; in.expectSession != "" { // which isn't known
			m.version = 0
		}
	}
	m.value, m.away = out.conn, false
	n.members = with(n.members, m)
	n.seq = seq
	return &n
}

// leave is a peer's own or a removal.
func (s *roomState) leave(in *call, out *outcome) *roomState {
	name := in.peer
	if in.op == "remove" {
		name = in.key
	}
	if _, ok := find(s.members, name); !ok {
		if out.unknown || out.reason == hearth.ReasonNotFound {
			return s
		}
		return nil
	}
	n, ended := s.parted(name)
	if !out.unknown && (out.reason != "" || out.ended != ended) {
		return nil
	}
	return n
}

// parted is the room after a member has gone, with whom the session ends if it was the last, away or not.
func (s *roomState) parted(name string) (after *roomState, ended bool) {
	n := *s
	if n.members = without(s.members, name); len(n.members) > 0 {
		return &n, false
	}
	return &roomState{last: s.session}, true
}

// time is what happens to a member by itself: its node finds its socket gone (cut), which is nothing if it has another
// one by then; or its grace passes (pass), which is nothing unless it is away.
func (s *roomState) time(in *call) *roomState {
	m, ok := find(s.members, in.peer)
	switch {
	case in.op == "pass" && m.away:
		after, _ := s.parted(in.peer)
		return after
	case in.op == "cut" && ok && m.value == in.conn:
		n := *s
		m.away = true
		n.members = with(s.members, m)
		return &n
	}
	return s
}

// shows reports whether an entry is what a client was shown, and the room in which its version is known.
func (s *roomState) shows(key string, out *outcome) *roomState {
	e, ok := find(s.entries, key)
	switch {
	case !ok && out.value == "" && out.version == 0:
		return s
	case !ok || e.value != out.value || out.version == 0:
		return nil
	case e.version == out.version:
		return s
	case e.version != 0:
		return nil
	}
	e.version = out.version // of a write that was never answered, and so did happen
	n := *s
	n.entries = with(s.entries, e)
	n.seq = max(s.seq, e.version)
	return &n
}

func (s *roomState) get(in *call, out *outcome) *roomState {
	if out.reason != "" && out.reason != hearth.ReasonNotFound || out.session != "" && out.session != s.session {
		return nil
	}
	return s.shows(in.key, out)
}

// meets reports whether an entry is at the version that a write expects.
func (s *roomState) meets(key string, expect *uint64) bool {
	e, there := find(s.entries, key)
	return expect == nil || *expect == e.version && there == (*expect != 0)
}

// write is a set, a delete or an update.
func (s *roomState) write(in *call, out *outcome) *roomState {
	writes := in.writes
	if in.op != "update" {
		writes = []write{{key: in.key, value: in.value, expect: in.expect}}
	}
	for _, w := range writes {
		if s.meets(w.key, w.expect) && (in.expectSession == "" || in.expectSession == s.session) {
			continue
		}
		switch {
		case out.unknown:
			return s
		case out.reason != hearth.ReasonVersionConflict:
			return nil
		}
		return s.shows(w.key, out)
	}
	if !out.unknown && out.reason != "" {
		return nil
	}
	n := *s
	for _, w := range writes {
		switch {
		case in.op == "delete":
			if _, there := find(s.entries, w.key); !there {
				if !out.unknown && out.seq != 0 {
					return nil
				}
				return s
			}
			n.entries = without(n.entries, w.key)
		case w.value != "":
			n.entries = with(n.entries, item{name: w.key, value: w.value, version: out.seq})
		}
	}
	if out.unknown {
		return &n
	}
	if out.seq <= s.seq || out.session != "" && out.session != s.session {
		return nil
	}
	n.seq = out.seq
	return &n
}
