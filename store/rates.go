package store

import (
	"context"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/hearthstore/hearth"
)

// A Bound is what a call or a join was one too many for.
type Bound int

// Bounds.
const (
	PeerBound Bound = iota // the calls of one peer
	RoomBound              // the calls of all peers of a room
	JoinBound              // the new peers of a room
	UserBound              // the peers of one user in a room
)

// Bounds are all bounds by their names.
var Bounds = map[string]Bound{"peer": PeerBound, "room": RoomBound, "join": JoinBound, "user": UserBound}

// tooFast is what a caller is told who is refused by a rate.
var tooFast = [...]string{
	PeerBound: "you call faster than one peer may",
	RoomBound: "the peers of this room call faster than all of them together may",
	JoinBound: "peers join this room faster than they may",
}

// rate is one that is set.
type rate struct {
	bound      Bound
	each, full int64 // in how many microseconds a call's worth flows into its bucket, and all that it holds
}

// ratesOf returns the rates that are set, in the order in which scripts are given their buckets.
func ratesOf(l hearth.Limits) (out []rate) {
	for bound, perSecond := range []float64{PeerBound: l.PeerRate, RoomBound: l.RoomRate, JoinBound: l.JoinRate} {
		if perSecond > 0 {
			each := int64(math.Round(1e6 / perSecond))
			out = append(out, rate{Bound(bound), each, each * int64(hearth.Burst(perSecond))})
		}
	}
	return out
}

// rates are those that are set, and what this node knows of who has exceeded them. A call that counts is counted by the script
// that executes it, so all nodes count together. One that was refused and comes again too soon is refused here: a flood costs
// the node something and the store nothing.
type rates struct {
	set     []rate
	shut    []atomic.Pointer[shut] // by the hash of the gate
	refused [UserBound + 1]atomic.Int64
}

// shut is a gate that is closed while a bucket has nothing: a script would refuse whoever takes from it.
type shut struct {
	gate  string
	until time.Time
}

// gates is how many are remembered to be closed at most.
const gates = 1 << 10

func (r *rates) init(l hearth.Limits) {
	if r.set = ratesOf(l); len(r.set) > 0 {
		r.shut = make([]atomic.Pointer[shut], gates)
	}
}

// Refused returns how many calls or joins were refused because of a bound.
func (s *Store) Refused(b Bound) int64 { return s.rates.refused[b].Load() }

type countedKey struct{}

// counted is one caller's call, which may take several scripts: the first of them counts.
type counted struct {
	caller string // as its bucket has it
	taken  bool
}

// Counted returns a context for one call of a peer, or if it is "" of a user, that counts for the rates: ctx itself if none is
// set, or if it is for such a call already. Without it a call doesn't count: servers' don't, nor what nodes do by themselves.
func (s *Store) Counted(ctx context.Context, peer, user string) context.Context {
	if len(s.rates.set) == 0 || ctx.Value(countedKey{}) != nil {
		return ctx
	}
	caller := ofPeer(peer)
	if peer == "" {
		caller = ofUser(user)
	}
	return context.WithValue(ctx, countedKey{}, &counted{caller: caller})
}

// Count counts a call none of whose scripts does, because they need not be about its room; it takes a round trip of its own.
func (s *Store) Count(ctx context.Context, room string) error {
	if ctx.Value(countedKey{}) == nil {
		return nil
	}
	if _, err := s.Room(ctx, room); err != nil && hearth.ReasonOf(err) != hearth.ReasonNoSession {
		return err
	}
	return nil
}

// countedVerbs are the verbs that peers call, with what they count for. None of the others is ever refused: leaving, giving up
// a place in a queue, what nodes do. What only keeps or gives back what a peer has counts for itself alone: it must not lose
// that because others are many.
var countedVerbs = map[verb]Bound{
	verbJoin: JoinBound,

	verbRenew: PeerBound, verbLockRenew: PeerBound, verbLockRelease: PeerBound,

	verbSet: RoomBound, verbDelete: RoomBound, verbUpdate: RoomBound, verbBroadcast: RoomBound, verbRemove: RoomBound,
	verbEnd: RoomBound, verbPeerUpdate: RoomBound, verbGroupAdd: RoomBound, verbGroupRemove: RoomBound,
	verbLockAcquire: RoomBound, verbListen: RoomBound, verbRoleSet: RoomBound, verbRoleAsk: RoomBound,
	verbRoleAccept: RoomBound, verbRoomPut: RoomBound, verbRoomState: RoomBound, verbRoom: RoomBound,
	verbSnapshot: RoomBound, verbGet: RoomBound, verbWatch: RoomBound, verbList: RoomBound, verbLocks: RoomBound,
	verbPeerGet: RoomBound, verbPeerScan: RoomBound, verbLog: RoomBound,
}

// charge is a script that counts.
type charge struct {
	rates  *rates
	call   *counted
	bounds []Bound
	keys   []string // the script's, with the buckets after its own
	gates  []string // what is closed if a bucket has nothing, of each
}

// ownKeys is how many keys the scripts have that count, without buckets.
const ownKeys = 2

// charge returns how a script of a call counts; nil if it doesn't.
func (r *rates) charge(ctx context.Context, v verb, keys []string, args []any) *charge {
	if len(r.set) == 0 {
		return nil
	}
	call, _ := ctx.Value(countedKey{}).(*counted)
	most, ok := countedVerbs[v]
	if call == nil || call.taken || !ok {
		return nil
	}
	c := &charge{rates: r, call: call, keys: append(make([]string, 0, ownKeys+len(r.set)), keys[:ownKeys]...)}
	for _, rate := range r.set {
		if rate.bound > most {
			break
		}
		of := ofRoom
		switch rate.bound {
		case PeerBound:
			of = call.caller
		case JoinBound:
			of = ofJoins
		}
		key := bucket(keys, of)
		gate := key
		if v == verbJoin && rate.bound != PeerBound {
			// Who comes back does not take from it. So it is shut for who was no member when it was refused.
			peer, _ := args[2].(string)
			gate += call.caller + "/" + peer
		}
		c.bounds, c.keys, c.gates = append(c.bounds, rate.bound), append(c.keys, key), append(c.gates, gate)
	}
	if len(c.bounds) == 0 {
		return nil
	}
	return c
}

// run runs the script, unless it would be refused.
func (c *charge) run(ctx context.Context, s *Store, v verb, args []any) (reply, error) {
	sent := time.Now()
	for i, gate := range c.gates {
		if wait := c.rates.closed(gate, sent); wait > 0 {
			return nil, c.refuse(i, wait)
		}
	}
	c.call.taken = true
	res, err := s.send(ctx, v, c.keys, args)
	if err != nil {
		return nil, err
	}
	switch res.str(0) {
	case "rate_limited":
		i, wait := int(res.num(1))-1, time.Duration(res.num(2))*time.Millisecond
		// Counted from when it was sent, so that it is never shut for longer than the store refuses.
		c.rates.close(c.gates[i], sent.Add(wait))
		return nil, c.refuse(i, wait)
	case "lapsed", "late": // which come before: the join is tried once more
		c.call.taken = false
	}
	return res, nil
}

// scatter is over how long those are spread who are refused because all of them together are too many, so that they don't come
// back together.
const scatter = time.Second

func (c *charge) refuse(i int, wait time.Duration) error {
	bound := c.bounds[i]
	c.rates.refused[bound].Add(1)
	if bound != PeerBound {
		wait += rand.N(scatter) //nolint:gosec // only spread
	}
	return &hearth.Error{Reason: hearth.ReasonRateLimited, Detail: tooFast[bound] + "; wait and try again", RetryAfter: wait}
}

func (r *rates) gate(name string) *atomic.Pointer[shut] {
	return &r.shut[xxhash.Sum64String(name)%uint64(len(r.shut))]
}

// closed returns for how long a gate is closed; nothing if it isn't.
func (r *rates) closed(name string, now time.Time) time.Duration {
	if g := r.gate(name).Load(); g != nil && g.gate == name {
		return g.until.Sub(now)
	}
	return 0
}

// close closes a gate until a time. One whose place it takes is open again: that costs the store a call.
func (r *rates) close(name string, until time.Time) {
	r.gate(name).Store(&shut{gate: name, until: until})
}
