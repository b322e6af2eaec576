package storetest

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// state is all that the server holds of a room: by the kind of key, its fields or members. The kind "due" has the room's
// items of the partition's deadlines, the kind "rooms" the room itself if it is listed, "sums" the summaries of its sessions,
// "users" who the index says is in it.
type state map[string]map[string]string

// kinds are the keys of one room, by the part of their names before the room's, and after it.
var kinds = []struct{ name, before, after string }{
	{"s", "s:", ""},
	{"c", "c:", ""},
	{"p", "p:", ""},
	{"m", "m:", ""},
	{"l", "l:", ""},
	{"oa", "o:", "/a"},
	{"ob", "o:", "/b"},
	{"k", "k:", ""},
	{"q", "q:", ""},
	{"z", "z:", ""},
	{"w", "w:", ""},
	{"x", "x:", ""},
	{"v", "v:", ""},
	{"r", "r:", ""},
}

// sorted are those of the kinds that are sorted sets.
var sorted = []string{"q", "w", "x"}

// tag is what the names of all keys of the room's partition begin with.
func (f *fixture) tag(room string) string { return strings.TrimSuffix(f.s.Channel(room), "e:"+room) }

// key returns the name of a key of the room.
func (f *fixture) key(kind, room string) string {
	for _, k := range kinds {
		if k.name == kind {
			return f.tag(room) + k.before + room + k.after
		}
	}
	return f.tag(room) + kind // the partition's
}

// state reads what the server holds of the room.
func (f *fixture) state(room string) state {
	f.Helper()
	out := state{}
	keep := func(kind string, fields map[string]string) {
		if len(fields) > 0 {
			out[kind] = fields
		}
	}
	for _, k := range kinds {
		key := f.key(k.name, room)
		if slices.Contains(sorted, k.name) {
			keep(k.name, f.members(key, func(string) bool { return true }))
			continue
		}
		if k.name != "l" {
			fields, err := f.env.Client.HGetAll(f.ctx(), key).Result()
			f.ok(err)
			keep(k.name, fields)
			continue
		}
		texts, err := f.env.Client.LRange(f.ctx(), key, 0, -1).Result()
		f.ok(err)
		fields := map[string]string{}
		for i, text := range texts {
			fields[strconv.Itoa(i)] = text
		}
		keep(k.name, fields)
	}
	for _, kind := range []string{"due", "rooms"} {
		keep(kind, f.members(f.key(kind, room), func(item string) bool {
			of := []string{room, "log/" + room, "time/" + room, "empty/" + room, "room/" + room}
			return slices.Contains(of, item) || strings.HasPrefix(item, "peer/"+room+"/") || strings.HasPrefix(item, "dead/"+room+"/")
		}))
	}
	keep("users", f.members(f.key("users", room), func(who string) bool { return strings.Contains(who, "\n"+room+"/") }))
	sums, err := f.env.Client.HGetAll(f.ctx(), f.key("sums", room)).Result()
	f.ok(err)
	maps.DeleteFunc(sums, func(_, sum string) bool { return sum != room && !strings.HasPrefix(sum, room+" ") })
	keep("sums", sums)
	return out
}

// members reads a sorted set: its members that match, with their scores.
func (f *fixture) members(key string, match func(string) bool) map[string]string {
	f.Helper()
	all, err := f.env.Client.ZRangeWithScores(f.ctx(), key, 0, -1).Result()
	f.ok(err)
	out := map[string]string{}
	for _, z := range all {
		if item, _ := z.Member.(string); match(item) {
			out[item] = strconv.FormatFloat(z.Score, 'f', 0, 64)
		}
	}
	return out
}

// record is a peer's record, its lines by name.
type record struct {
	conn, user, role, groups, name, node, flags, lease string
	joined                                             int64
	seq                                                uint64
}

func (f *fixture) record(room, peer string) record {
	f.Helper()
	text, err := f.env.Client.HGet(f.ctx(), f.key("c", room), peer).Result()
	f.ok(err)
	l := strings.Split(text, "\n")
	if len(l) != 11 || l[10] != "" {
		f.Fatalf("record of %s: %q", peer, text)
	}
	joined, err := strconv.ParseInt(l[8], 10, 64)
	f.ok(err)
	seq, err := strconv.ParseUint(l[9], 10, 64)
	f.ok(err)
	return record{l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7], joined, seq}
}

// logged is the room's log, oldest first.
func (s state) logged() []string {
	out := make([]string, len(s["l"]))
	for i := range out {
		out[i] = s["l"][strconv.Itoa(i)]
	}
	return out
}

// equal compares what should be equal, without regard to what is nil and what is empty.
func (f *fixture) equal(what string, got, want any) {
	f.Helper()
	if v := reflect.ValueOf(got); want == nil && (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0 {
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(record{}), sameData); diff != "" {
		f.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// sameData spares the comparison of values byte by byte.
var sameData = cmp.FilterValues(
	func(a, b json.RawMessage) bool { return len(a)+len(b) > 0 }, // else EquateEmpty is in charge
	cmp.Comparer(func(a, b json.RawMessage) bool { return string(a) == string(b) }))

// gone expects that the server holds nothing of the room but the summaries of its ended sessions, once the sweep has been
// there after one that ended for all.
func (f *fixture) gone(room string) {
	f.Helper()
	f.bury(room)
	left := f.state(room)
	maps.DeleteFunc(left["sums"], func(_, sum string) bool { return sum != room })
	if len(left["sums"]) == 0 {
		delete(left, "sums")
	}
	f.equal("left of the room", left, state{})
}

// bury settles what is left of who was in the room's sessions that ended for all.
func (f *fixture) bury(room string) {
	f.Helper()
	for item := range f.state(room)["due"] {
		if session, ok := strings.CutPrefix(item, "dead/"+room+"/"); ok {
			f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueDead, Room: room, Session: session}))
		}
	}
}

// refused expects that call is refused for that reason and has changed and told nothing.
func (f *fixture) refused(room string, reason hearth.Reason, call func() error) {
	f.Helper()
	before, w := f.state(room), f.watch(room)
	if err := call(); hearth.ReasonOf(err) != reason {
		f.Errorf("gave %v, not %s", err, reason)
	}
	f.equal("the refused call changed", f.state(room), before)
	w.tells()
}

// unchanged expects that call succeeds and has changed and told nothing.
func (f *fixture) unchanged(room string, call func() error) {
	f.Helper()
	f.refused(room, "", call)
}

// leftOver lists the keys of the server that have the prefix, sorted and without it, but for the two that every
// installation has.
func (f *fixture) leftOver() []string {
	f.Helper()
	var mu sync.Mutex
	var found []string
	scan := func(ctx context.Context, c redis.Cmdable) error {
		it := c.Scan(ctx, 0, f.env.Prefix+":*", 1000).Iterator()
		for it.Next(ctx) {
			name := strings.TrimPrefix(it.Val(), f.env.Prefix+":")
			_, kind, _ := strings.Cut(name, "}:")
			if name != "partitions" && name != "live" && kind != "nodes" && kind != "beat" && kind != "gone" {
				mu.Lock()
				found = append(found, name)
				mu.Unlock()
			}
		}
		return it.Err()
	}
	if cluster, ok := f.env.Client.(*redis.ClusterClient); ok { // whose masters are scanned at the same time
		f.ok(cluster.ForEachMaster(f.ctx(), func(ctx context.Context, c *redis.Client) error { return scan(ctx, c) }))
	} else {
		f.ok(scan(f.ctx(), f.env.Client))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func sortedFields(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// ids are the peers' ids, sorted.
func ids(peers []hearth.Peer) []string {
	out := make([]string, len(peers))
	for i := range peers {
		out[i] = peers[i].ID
	}
	slices.Sort(out)
	return out
}

// briefly tells entries as key=data, in their order.
func briefly(entries []hearth.Entry) []string {
	out := make([]string, len(entries))
	for i, e := range entries {
		switch {
		case e.Deleted:
			out[i] = e.Key + " deleted"
		case e.Data == nil:
			out[i] = e.Key + " absent"
		default:
			out[i] = e.Key + "=" + string(e.Data)
		}
	}
	return out
}

// z is a member of a sorted set that has no meaning.
func z(member string) redis.Z { return redis.Z{Score: 1, Member: member} }

func formatMillis(at int64) string { return strconv.FormatInt(at, 10) }

func parseMillis(f *fixture, s string) int64 {
	f.Helper()
	at, err := strconv.ParseInt(s, 10, 64)
	f.ok(err)
	return at
}
