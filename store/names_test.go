package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
)

// namesLike draws what is in a grammar: pieces of our own keys and fields, and what means something to Redis, JSON or a
// pattern, in any order.
func namesLike(valid func(string) bool, pieces ...string) *rapid.Generator[string] {
	pieces = append(pieces, "a", "b", "A", "s", "s:", "c:", "e:a", "k", "l", "log", "peer", "node:", "rooms", "0", "1", ":", "~", "@", "+", "=", "-", ".", "_")
	made := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 6).Draw(t, "pieces"), "")
	})
	return made.Filter(valid)
}

var (
	roomLike = namesLike(hearth.ValidName)
	keyLike  = namesLike(func(s string) bool { return hearth.CheckKey(s) == nil },
		"/", "k/", "l/", "{", "}", "{0}", "{a", "*", "*:", " ", "%", "%2F", `"`, `\`, `\n`, "é", "e\u0301", "\u2028", "😀", "e/", "u/", "?", "[a]")
	userLike = keyLike // the grammars differ only in what is at the end
)

// kin draws x, xy, yz and z: where two of them are put together without what keeps them apart, x and yz are xy and z; and where
// names are looked for by how they begin, who looks for x finds xy.
func kin(t *rapid.T, what string, like *rapid.Generator[string]) (x, xy, yz, z string) {
	x, y, z := like.Draw(t, what+": x"), like.Draw(t, what+": y"), like.Draw(t, what+": z")
	if x == y+z || x+y == z || x == z { // as good as any: they are different
		z = "z" + x + y
	}
	return x, x + y, y + z, z
}

// whole is what a room has, as the API reads it.
type wholeRoom struct {
	Peers   []hearth.Peer
	Entries []hearth.Entry
	Locks   []hearth.Lock
	Seq     uint64
}

// planet is some rooms with what is in them, all named alike.
type planet struct {
	*rapid.T
	s                              *Store
	rooms, peers, users, keys, ops []string
	locks                          []string
	conns                          map[string]string // of <room>/<peer>
}

func (p *planet) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *planet) writer(room, peer, op string) Writer {
	return Writer{Peer: peer, Conn: p.conns[room+"/"+peer], Op: op}
}

// tally is the key of what only the op_ids are about; nothing that is drawn has z in it, or is longer.
const tally = "zzzz"

// text is a value that nothing else has.
func text(of ...string) string { return hearth.QuoteString(strings.Join(of, "\x00")) }

// settle makes everything everywhere.
func (p *planet) settle() {
	ctx := p.Context()
	for _, room := range p.rooms {
		for i, peer := range p.peers {
			conn := hearth.NewNonce()
			p.conns[room+"/"+peer] = conn
			_, err := p.s.Join(ctx, JoinRequest{
				Room: room, Conn: conn, Incarnation: "inc", Watch: hearth.Patterns{hearth.Pattern(p.keys[i])}, Implicit: true,
				Peer: hearth.Peer{ID: peer, User: p.users[i], Role: "guest", Groups: p.locks[i : i+1], Name: "n", Data: text(room, peer)},
			})
			p.ok(err)
		}
	}
	first, seen := map[string]uint64{}, map[string]bool{}
	for round := range 2 { // the second time each op_id finds its own
		for _, room := range p.rooms {
			for _, peer := range p.peers {
				for _, op := range p.ops {
					c, err := p.s.Set(ctx, room, p.writer(room, peer, op), tally, json.RawMessage("1"), nil, hearth.Life{})
					p.ok(err)
					id := room + "/" + peer + "/" + op
					if change := room + "/" + strconv.FormatUint(c.Seq, 10); round == 0 {
						if seen[change] {
							p.Errorf("the op_id %q of %s in %s is another's: its result is %d", op, peer, room, c.Seq)
						}
						seen[change] = true
					}
					if was, again := first[id]; again && was != c.Seq {
						p.Errorf("the op_id %q of %s in %s is another's: its result was %d, and is %d", op, peer, room, was, c.Seq)
					}
					first[id] = c.Seq
				}
			}
		}
	}
	for _, room := range p.rooms {
		for i, key := range p.keys {
			w := p.writer(room, p.peers[i%len(p.peers)], "")
			life := hearth.Life{Owned: true, TTL: time.Duration(i/2) * time.Hour}
			_, err := p.s.Set(ctx, room, w, key, json.RawMessage(text(room, key)), nil, life)
			p.ok(err)
		}
		for i, lock := range p.locks {
			for j := range p.peers { // the second waits
				_, err := p.s.Acquire(ctx, room, p.writer(room, p.peers[(i+j)%len(p.peers)], ""), AcquireRequest{
					Lock: lock, Peer: p.peers[(i+j)%len(p.peers)], TTL: time.Hour, Wait: time.Duration(j) * time.Hour,
				})
				if j == 1 && errors.Is(err, ErrWaiting) {
					err = nil
				}
				p.ok(err)
			}
		}
		for i, peer := range p.peers {
			p.ok(p.s.AskRole(ctx, room, p.writer(room, peer, ""), p.peers[1-i], "asked"))
		}
		_, err := p.s.SetRole(ctx, room, p.writer(room, p.peers[0], ""), p.peers[0], "role-of-"+strconv.Itoa(slices.Index(p.rooms, room)))
		p.ok(err)
	}
}

func (p *planet) read(room string) (w wholeRoom) {
	p.Helper()
	ctx := p.Context()
	var err error
	_, w.Peers, err = p.s.Peers(ctx, room, "")
	p.ok(err)
	_, w.Entries, _, err = p.s.List(ctx, room, "", "", "", 1000)
	p.ok(err)
	ses, locks, err := p.s.Locks(ctx, room, "")
	p.ok(err)
	w.Locks, w.Seq = locks, ses.Seq
	slices.SortFunc(w.Peers, func(a, b hearth.Peer) int { return cmp.Compare(a.ID, b.ID) })
	return w
}

// check fails unless everything in a room is as settle made it.
func (p *planet) check(room string) {
	w := p.read(room)
	if len(w.Peers) != len(p.peers) || len(w.Entries) != len(p.keys)+1 || len(w.Locks) != len(p.locks) {
		p.Fatalf("the room %q has %d peers, %d entries, %d locks: %+v", room, len(w.Peers), len(w.Entries), len(w.Locks), w)
	}
	for i, peer := range p.peers {
		_, got, err := p.s.Peer(p.Context(), room, "", peer)
		p.ok(err)
		role := "guest"
		if i == 0 {
			role = "role-of-" + strconv.Itoa(slices.Index(p.rooms, room))
		}
		if got.ID != peer || got.User != p.users[i] || got.Data != text(room, peer) || got.Role != role || !slices.Equal(got.Groups, p.locks[i:i+1]) {
			p.Errorf("the peer %q of %q is %+v", peer, room, got)
		}
	}
	for _, key := range p.keys {
		_, e, err := p.s.Get(p.Context(), room, "", key)
		p.ok(err)
		if string(e.Data) != text(room, key) {
			p.Errorf("%q in %q is %s", key, room, e.Data)
		}
	}
	for i := range w.Locks {
		l := &w.Locks[i]
		if at := slices.Index(p.locks, l.Name); at < 0 || l.Peer != p.peers[at%len(p.peers)] || l.Waiters != 1 {
			p.Errorf("a lock of %q is %+v", room, l)
		}
	}
}

// where returns where a user is, and fails unless every place is the user's.
func (p *planet) where(user string) (places []string) {
	at, err := p.s.UserPeers(p.Context(), user, "")
	p.ok(err)
	for i := range at {
		if at[i].Peer.User != user {
			p.Errorf("%q is taken to be %q", at[i].Peer.User, user)
		}
		places = append(places, at[i].Room+"/"+at[i].Peer.ID)
	}
	return places
}

// Whatever two rooms, peers, users, keys, locks and op_ids are called, none is ever taken for the other: what is written
// under each is what is read there, what is done to one leaves the others as they were, and every key of Redis is one that its
// own room or partition has, in that partition's slot.
func TestNamesAreNeverMixedUp(t *testing.T) {
	server := redistest.Shared(t) // which miniredis is too slow for; what scripts do on it, the contract says
	client := server.Client(t)
	if err := flag.Set("rapid.checks", "12"); err != nil {
		t.Fatal(err)
	}
	var worlds atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		prefix := fmt.Sprintf("%s-names-%d", server.Prefix, worlds.Add(1))
		s, err := New(rt.Context(), client, Options{Prefix: prefix, Partitions: rapid.SampledFrom([]int{1, 3, 64}).Draw(rt, "partitions")})
		if err != nil {
			rt.Fatal(err)
		}
		x, xy, yz, z := kin(rt, "names", roomLike)
		u, uv, _, _ := kin(rt, "users", userLike)
		k, kl, lm, m := kin(rt, "keys", keyLike)
		p := &planet{
			T: rt, s: s, rooms: rapid.Permutation([]string{x, xy, yz, z}).Draw(rt, "rooms")[:3], peers: []string{x, xy},
			users: []string{u, uv}, keys: rapid.Permutation([]string{k, kl, lm, m}).Draw(rt, "keys"), locks: []string{x, xy, yz, z},
			ops: []string{z, yz}, conns: map[string]string{},
		}
		for _, room := range p.rooms {
			if _, err := s.Begin(rt.Context(), s.Partition(room), "inc"); err != nil {
				rt.Fatal(err)
			}
		}
		p.settle()
		for _, room := range p.rooms {
			p.check(room)
		}
		keys, err := client.Keys(rt.Context(), prefix+":*").Result()
		if err != nil || len(keys) == 0 {
			rt.Fatalf("%d keys, %v", len(keys), err)
		}
		p.keysAreOurs(t, keys)
		p.takeApart()
	})
}

// keysAreOurs fails unless each key is one of the rooms or of their partitions, and lies where that does.
func (p *planet) keysAreOurs(t *testing.T, all []string) {
	k := p.s.keys
	ours := map[string]string{k.live(): "", k.partitions(): ""} // key → tag of its partition
	for i, keys := range roomKeysOf(t, k, p.rooms...) {
		tag := k.tags[k.partitionOf(p.rooms[i])]
		for name, key := range keys {
			if name == "SERVED" {
				key += "inc"
			}
			if was, taken := ours[key]; taken && was != tag {
				p.Errorf("%q is a key of two partitions", key)
			}
			ours[key] = tag
		}
	}
	for _, key := range all {
		tag, known := ours[key]
		if !known {
			p.Errorf("%q is the key of nothing: there are only %q", key, slices.Sorted(maps.Keys(ours)))
		}
		if tag != "" && slotOf(key) != slotOf(tag) {
			p.Errorf("%q is in slot %d, and its partition in %d", key, slotOf(key), slotOf(tag))
		}
	}
}

func keysOf(entries []hearth.Entry) (keys []string) {
	for i := range entries {
		keys = append(keys, entries[i].Key)
	}
	return keys
}

// takeApart takes one thing after the other away, and fails if anything else goes with it.
func (p *planet) takeApart() {
	ctx := p.Context()
	room, others := p.rooms[0], p.rooms[1:]
	before := map[string]string{}
	for _, other := range others {
		before[other] = fmt.Sprintf("%+v", p.read(other))
	}
	now := p.read(room)
	_, err := p.s.Delete(ctx, room, p.writer(room, p.peers[1], ""), p.keys[1], nil)
	p.ok(err)
	now.Entries = slices.DeleteFunc(now.Entries, func(e hearth.Entry) bool { return e.Key == p.keys[1] })
	if got := p.read(room).Entries; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", now.Entries) {
		p.Errorf("without %q, %q has %+v, not %+v", p.keys[1], room, got, now.Entries)
	}
	// The first peer goes, and with it what it owned and held; who waited has that now.
	_, err = p.s.Leave(ctx, room, p.writer(room, p.peers[0], ""), hearth.Left)
	p.ok(err)
	now = p.read(room)
	if len(now.Peers) != 1 || now.Peers[0].ID != p.peers[1] || len(now.Locks) != len(p.locks) ||
		!slices.Equal(keysOf(now.Entries), slices.Sorted(slices.Values([]string{tally, p.keys[3]}))) {
		p.Errorf("without %q and what it owned, %q has %+v", p.peers[0], room, now)
	}
	for i := range now.Locks {
		if l := &now.Locks[i]; l.Peer != p.peers[1] || l.Waiters != 0 {
			p.Errorf("without %q a lock is %+v", p.peers[0], l)
		}
	}
	want := []string{others[0] + "/" + p.peers[0], others[1] + "/" + p.peers[0]}
	slices.Sort(want)
	if got := p.where(p.users[0]); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		p.Errorf("%q is in %q, not %q", p.users[0], got, want)
	}
	if got := p.where(p.users[1]); len(got) != 3 {
		p.Errorf("%q is in %q", p.users[1], got)
	}
	_, err = p.s.End(ctx, room, Writer{Key: "app"}, "")
	p.ok(err)
	for _, other := range others {
		if now := fmt.Sprintf("%+v", p.read(other)); now != before[other] {
			p.Errorf("what was done in %q has changed %q from\n%s to\n%s", room, other, before[other], now)
		}
	}
}
