package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/wire"
	"github.com/hearthstore/hearth/store"
)

// longGrace is so long that no grace is over in a history but those whose deadlines are moved.
const longGrace = hearth.MaxGrace

// TestReturns holds histories of clients whose connections are cut, and who come back to any node in their grace or after it,
// to the model of a room; and what was told of it to one leave for each join, and none for a return in time.
func TestReturns(t *testing.T) {
	onBoth(t, func(t *testing.T, s *redistest.Server) {
		c := newClusterOn(t, s, longGrace, nil)
		// Short histories, and more of them: what the checker has to try grows by each call without an answer. One that it does not
		// decide in time says nothing, and another one is made.
		runs, rounds := size(1, 4), size(3, 24)
		if s.Mini != nil {
			runs, rounds = 1, size(2, 6)
		}
		var sum returns
		histories, ops := 0, 0
		for _, seed := range seeds(t, runs) {
			decided := 0
			for round := 0; decided < rounds; round++ {
				if round == 2*rounds {
					t.Fatalf("seed %d: the checker has decided %d of %d histories", seed, decided, round)
				}
				h, r, err := runReturns(t.Context(), c, seed+uint64(round)<<32, size(16, 60))
				if errors.Is(err, errOvertaken) {
					t.Logf("seed %d, round %d: %v", seed, round, err)
					continue
				}
				if err != nil {
					t.Fatalf("seed %d, round %d: %v", seed, round, err)
				}
				switch why := h.check(); why {
				case "":
					decided++
				case undecided:
					t.Logf("seed %d, round %d: %s", seed, round, why)
					continue
				default:
					t.Fatalf("seed %d, round %d: %s", seed, round, why)
				}
				histories, ops = histories+1, ops+len(h.ops)
				sum.add(r)
			}
		}
		t.Logf("%d histories, %d operations: %+v", histories, ops, sum)
		if sum.Returned == 0 || sum.Recovered == 0 || sum.TimedOut == 0 || sum.Heard == 0 {
			t.Error("nothing of some kind")
		}
	})
}

// A resume that gets a snapshot tells the store of its join twice: what others do may come between, but not before the first.
func TestJoinsTwice(t *testing.T) {
	none := uint64(0)
	history := func(twice bool, seq uint64) *history {
		h := newHistory()
		in := &call{op: "join", room: "r", peer: "p", expectSession: "before", twice: twice}
		out := &outcome{session: "s", seq: 3, conn: "c"}
		h.until(1, in, 1, out, 10)
		if twice {
			h.until(1, &call{op: "again", room: "r", session: "s", peer: "p", conn: "c"}, 1, out, 10)
		}
		h.until(2, &call{op: "set", room: "r", key: "k", value: "1", expect: &none}, 2, &outcome{session: "s", seq: seq, version: seq}, 9)
		return h
	}
	for _, tt := range []struct {
		twice bool
		seq   uint64
		want  porcupine.CheckResult
	}{
		{true, 2, porcupine.Ok}, {true, 4, porcupine.Ok}, {true, 1, porcupine.Illegal}, {true, 3, porcupine.Illegal}, {false, 2, porcupine.Illegal},
	} {
		if got := history(tt.twice, tt.seq).fits(time.Minute); got != tt.want {
			t.Errorf("twice: %t, a set of seq %d: %s", tt.twice, tt.seq, got)
		}
	}
}

// TestReturnsNotices puts faults into the scripts: the histories of some runs must not fit any more.
func TestReturnsNotices(t *testing.T) {
	for _, name := range []string{
		"the grace of who is cut", "the deadline of a lease or grace", "the connection of a write", "the connection of a hand-over",
		"a return of which nobody is told",
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(mutants, func(m mutant) bool { return m.name == name })
			change, met := mutants[i].change()
			c := newClusterOn(t, redistest.Real(t), longGrace, change)
			if met.Load() == 0 {
				t.Fatal("no script has it")
			}
			for round := range uint64(40) {
				h, _, err := runReturns(t.Context(), c, round+1, 20)
				if errors.Is(err, errOvertaken) {
					t.Logf("history %d: %v", round+1, err)
					continue
				}
				if err != nil {
					t.Logf("noticed in history %d: %v", round+1, err)
					return
				}
				if h.fits(10*time.Second) == porcupine.Illegal {
					t.Logf("history %d is not linearizable", round+1)
					return
				}
			}
			t.Error("not noticed in 40 histories")
		})
	}
}

// errOvertaken is of a resume whose membership ended, or was taken over, between the two times that the store is told of it. Its client
// does not know by which connection it was a member in between, so such a history says nothing.
var errOvertaken = errors.New("what a resume began was over before it was answered")

// returns counts what happened in a history.
type returns struct {
	Returned  int // in time
	Recovered int // of them, and given what they missed
	TimedOut  int
	Heard     int // changes that listeners were given, over all their connections
}

func (r *returns) add(o returns) {
	r.Returned, r.Recovered, r.TimedOut, r.Heard = r.Returned+o.Returned, r.Recovered+o.Recovered, r.TimedOut+o.TimedOut, r.Heard+o.Heard
}

// runReturns lets all clients do about n operations each, and compares all that was told of their rooms with what they did.
func runReturns(ctx context.Context, c *cluster, seed uint64, n int) (*history, returns, error) {
	prefix := newRooms(seed)
	b := &book{conns: map[string]string{}, again: map[string]bool{}, cut: map[string]bool{}, passed: map[string]bool{}}
	var subs []*redis.PubSub
	for i := range linRooms {
		sub := c.client.Subscribe(ctx, c.store.Channel(prefix+strconv.Itoa(i)))
		defer func() { _ = sub.Close() }()
		if _, err := sub.Receive(ctx); err != nil {
			return nil, b.returns, err
		}
		subs = append(subs, sub)
	}
	h, err := runClients(ctx, c, seed, prefix, n, func(k *linClient, ctx context.Context, n int) error {
		k.kept = true
		r := &returner{linClient: k, peer: "p" + strconv.Itoa(k.id%linPeers), book: b}
		for left := n; left > 0; {
			did, err := r.lives(ctx, k.room())
			if err != nil {
				return fmt.Errorf("client %d: %w", k.id, err)
			}
			left -= did
		}
		return nil
	})
	if err != nil {
		return h, b.returns, err
	}
	h.clip()
	b.history = h
	for i, sub := range subs {
		room := prefix + strconv.Itoa(i)
		events, err := told(ctx, c, sub, room)
		if err == nil {
			err = b.balance(room, events)
		}
		if err != nil {
			return h, b.returns, fmt.Errorf("%s: %w", room, err)
		}
	}
	return h, b.returns, nil
}

// clip ends what a connection left open when a later one has joined in its place: the fence refuses it from then on, and if
// it should not, the history has no order.
func (h *history) clip() {
	joins := map[string][]porcupine.Operation{} // by room and peer
	joined := map[string]int64{}                // by connection
	for _, op := range h.ops {
		//nolint:errcheck // histories have nothing else
		if in, out := op.Input.(*call), op.Output.(*outcome); in.op == "join" {
			joins[in.room+"/"+in.peer] = append(joins[in.room+"/"+in.peer], op)
			joined[out.conn] = op.Return
		}
	}
	for i, op := range h.ops {
		in := op.Input.(*call) //nolint:errcheck // see above
		if op.Return != math.MaxInt64 {
			continue
		}
		for _, j := range joins[in.room+"/"+in.peer] {
			if j.Call > joined[in.conn] {
				h.ops[i].Return = min(h.ops[i].Return, max(j.Return, op.Call+1))
			}
		}
	}
}

// returner is a client that is cut and comes back.
type returner struct {
	*linClient
	peer string
	book *book
	ear  *ear
}

// lives joins a room and stays there over some connections, until it leaves, is timed out or forgets about it. It returns how
// many operations that were.
func (k *returner) lives(ctx context.Context, room string) (did int, err error) {
	at := k.rnd.IntN(len(k.addrs))
	k.ear = nil
	for old := (*wire.Conn)(nil); ; {
		w, err := k.comes(ctx, at, room, old)
		if err != nil {
			return did, err
		}
		if old != nil {
			if err := k.afterReturn(ctx, room, old); err != nil {
				return did, err
			}
		}
		clear(k.seen)
		life, open := 2+k.rnd.IntN(6), true
		for did += life + 1; open && life > 0; life-- {
			if open, err = k.onSocket(ctx, w, room, k.peer); err != nil {
				return did, err
			}
		}
		if open && k.rnd.IntN(6) == 0 {
			err := k.goes(ctx, w, room, k.peer)
			w.Cut()
			return did, err
		}
		if back, err := k.breaks(ctx, w, room, open); !back || err != nil {
			return did, err
		}
		old = w
		if k.rnd.IntN(3) > 0 {
			at = k.rnd.IntN(len(k.addrs))
		}
	}
}

// comes joins, with a cursor if it has been there and thinks of it.
func (k *returner) comes(ctx context.Context, at int, room string, old *wire.Conn) (*wire.Conn, error) {
	params := map[string]any{"listen": []string{"*"}}
	in := &call{op: "join", room: room, peer: k.peer}
	resumes := old != nil && k.rnd.IntN(2) == 0
	if resumes {
		cursor, seq := k.ear.position()
		in.expectSession, in.at = old.Session, seq
		params["resume"] = map[string]any{"session_id": old.Session, "cursor": cursor}
	}
	e := &ear{}
	began := k.h.now()
	w, err := k.join(ctx, at, room, k.peer, params, e.hear)
	if resumes && wire.ReasonOf(err) == hearth.ReasonUnavailable && strings.Contains(err.Error(), "taken over meanwhile") {
		return nil, errors.Join(errOvertaken, err)
	}
	if err != nil {
		return nil, err
	}
	out := &outcome{session: w.Session, seq: w.Seq, conn: w.ConnID, resumed: w.Resumed}
	if in.twice = resumes && !w.Recovered; in.twice {
		k.h.record(k.id, &call{op: "again", room: room, session: w.Session, peer: k.peer, conn: w.ConnID}, began, out)
	}
	k.h.record(k.id, in, began, out)
	switch {
	case !resumes && w.Recovered:
		return w, errors.New("recovered what nobody asked for")
	case resumes && w.Resumed && w.Session == old.Session && !w.Recovered:
		return w, fmt.Errorf("came back to session %s and was not given what it missed after seq %d", w.Session, in.at)
	}
	e.epoch, _, _ = strings.Cut(w.Cursor, ".")
	if w.Recovered {
		e.before = k.ear
	} else {
		e.cursor, e.from = w.Cursor, w.Seq
	}
	k.ear = e
	k.book.note(func(b *book) {
		b.conns[secretOf(w.ConnID)] = room + "/" + k.peer
		b.ears = append(b.ears, e)
		if w.Resumed && old != nil {
			b.returns.Returned++
		}
		switch {
		case w.Recovered:
			b.returns.Recovered++
		case resumes:
			b.again[secretOf(w.ConnID)] = true
		}
	})
	return w, nil
}

// afterReturn does what must have no effect once a newer connection has joined: a write by the old one, and the end of the
// grace that was.
func (k *returner) afterReturn(ctx context.Context, room string, old *wire.Conn) error {
	if k.rnd.IntN(2) == 0 {
		in := &call{op: "set", room: room, peer: k.peer, conn: old.ConnID, key: k.key(), value: k.value()}
		began := k.h.now()
		token, err := k.verifier.Mint(auth.Principal{Room: room, User: "u-" + k.peer, Role: "host"}, time.Hour)
		if err != nil {
			return err
		}
		url := "http://" + k.addrs[k.rnd.IntN(len(k.addrs))] + "/v1/rooms/" + room + "/metadata/" + in.key
		a, err := wire.Do(ctx, k.http, "PUT", url, token, in.value, "Hearth-Conn", old.ConnID)
		if err != nil {
			return err
		}
		out, err := k.answered(in, a)
		if err != nil {
			return err
		}
		k.h.record(k.id, in, began, out)
	}
	if k.rnd.IntN(2) == 0 {
		return k.passes(ctx, room)
	}
	return nil
}

// breaks cuts the connection, and reports whether the client means to come back: at once, before its node may have noticed;
// after that, in time or too late; or never.
func (k *returner) breaks(ctx context.Context, w *wire.Conn, room string, open bool) (back bool, err error) {
	began, seen := k.h.now(), int64(math.MaxInt64)
	w.Cut()
	way := k.rnd.IntN(8)
	if way >= 4 {
		seen = k.lost(ctx, w, room, k.peer, true)
	}
	k.book.note(func(b *book) { b.cut[secretOf(w.ConnID)] = true })
	if open {
		in := &call{op: "cut", room: room, session: w.Session, peer: k.peer, conn: w.ConnID}
		k.h.until(k.id, in, began, &outcome{}, seen)
	}
	switch way {
	case 4, 5: // a sweep that comes too early
		return true, k.sweeps(ctx, room)
	case 6:
		return true, k.passes(ctx, room)
	}
	return way < 6, nil
}

func (k *returner) sweeps(ctx context.Context, room string) error {
	return k.store.Settle(ctx, store.DueItem{Kind: store.DuePeer, Room: room, Peer: k.peer})
}

// passes lets the grace of the peer pass, if it is in one.
func (k *returner) passes(ctx context.Context, room string) error {
	k.book.note(func(b *book) { b.passed[room+"/"+k.peer] = true })
	began := k.h.now()
	err := k.client.ZAddXX(ctx, k.stored(room, "due"), redis.Z{Score: 1, Member: "peer/" + room + "/" + k.peer}).Err()
	if err == nil {
		err = k.sweeps(ctx, room)
	}
	k.h.record(k.id, &call{op: "pass", room: room, peer: k.peer}, began, &outcome{})
	return err
}

// ear is what a client heard on one connection; before is the one that it recovered.
type ear struct {
	before        *ear
	epoch, cursor string // of the join
	from          uint64

	mu    sync.Mutex
	seq   uint64 // of the last change
	nonce string
	metas []uint64
	wrong string
}

func (e *ear) hear(method string, params []byte) {
	var p struct {
		Seq uint64 `json:"seq"`
		N   string `json:"n"`
	}
	if err := json.Unmarshal(params, &p); err != nil || p.N == "" {
		return // a snapshot, or no change
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.Seq <= e.seq {
		e.wrong = fmt.Sprintf("%s of seq %d after seq %d", method, p.Seq, e.seq)
	}
	e.seq, e.nonce = p.Seq, p.N
	if method == hearth.KindMeta.Method() {
		e.metas = append(e.metas, p.Seq)
	}
}

// position is the cursor that the client has got to, and its seq.
func (e *ear) position() (string, uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.nonce != "":
		return e.epoch + "." + strconv.FormatUint(e.seq, 10) + "." + e.nonce, e.seq
	case e.before != nil:
		return e.before.position()
	}
	return e.cursor, e.from
}

// all returns the changes of entries heard since a seq by this connection and those that it recovered, and up to which seq
// that are all.
func (e *ear) all() (metas []uint64, from, to uint64, wrong string) {
	if e.before != nil {
		metas, from, to, wrong = e.before.all()
	} else {
		from, to = e.from, e.from
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.wrong != "" {
		wrong = e.wrong
	}
	return slices.Concat(metas, e.metas), from, max(to, e.seq), wrong
}

// book is what clients did, to be compared with what was told.
type book struct {
	mu      sync.Mutex
	conns   map[string]string // of sockets: secret → <room>/<peer>
	again   map[string]bool   // secrets of those that resumed and got a snapshot: the store was told of their join twice
	cut     map[string]bool   // secrets
	passed  map[string]bool   // <room>/<peer>
	ears    []*ear
	returns returns
	history *history // once it is over
}

func (b *book) note(what func(b *book)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	what(b)
}
