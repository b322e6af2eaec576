package store

import (
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/hearthstore/hearth"
)

// Every key and channel of the product is built in this file. Each begins with the prefix; those of a room also with its
// partition's tag in braces, so that all of a partition shares one Redis Cluster slot and a script is atomic there. A room
// name can't choose its slot, because the first braces are ours.

// slots is how many hash slots a Redis Cluster has.
const slots = 16384

// keyspace builds keys for one prefix and number of partitions.
type keyspace struct {
	prefix string
	tags   []string // of the partitions
}

func newKeyspace(prefix string, partitions int) keyspace {
	return keyspace{prefix: prefix, tags: partitionTags(partitions)}
}

// partitionTags returns n short tags whose slots are spread evenly: the i-th lies in the i-th of n equal ranges.
func partitionTags(n int) []string {
	tags := make([]string, n)
	for left, try := n, 0; left > 0; try++ {
		tag := strconv.Itoa(try)
		if i := int(crc16(tag)) % slots * n / slots; tags[i] == "" {
			tags[i] = tag
			left--
		}
	}
	return tags
}

// crc16 is CRC-16/XMODEM, with which Redis Cluster maps tags to slots.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// live is a sorted set of nodes, each with the deadline until which it is taken to be alive.
func (k keyspace) live() string { return k.prefix + ":live" }

// partitions holds the number of partitions, on which all nodes have to agree.
func (k keyspace) partitions() string { return k.prefix + ":partitions" }

func (k keyspace) inPartition(p int, name string) string {
	return k.prefix + ":{" + k.tags[p] + "}:" + name
}

// rooms is a sorted set of a partition's live rooms with the time at which their sessions started.
func (k keyspace) rooms(p int) string { return k.inPartition(p, "rooms") }

// due is a sorted set of all that ends by time in a partition: item and deadline. Items are peer/<room>/<peer> (a lease, or
// the grace of a peer whose socket is gone), node/<incarnation> (of a node that was not heard of, with the end of its lease),
// time/<room> (the earliest of the room's own deadlines), log/<room> (the oldest change of its log) and empty/<room> (a
// session that lingers without peers) and room/<room> (what it keeps beyond its sessions), dead/<room>/<session_id> (who was in a
// session that ended for all); sums is the oldest summary of the partition's ended sessions;
// gone is what the partition knows of 100ms clients that timed out; revoked is the first revocation of a token that is over.
func (k keyspace) due(p int) string { return k.inPartition(p, "due") }

func (k keyspace) partitionOf(room string) int {
	return int(xxhash.Sum64String(room) % uint64(len(k.tags)))
}

func (k keyspace) partitionOfBytes(name []byte) int {
	return int(xxhash.Sum64(name) % uint64(len(k.tags)))
}

// room returns the keys that every script about one room is given: that of the session's state, and one at which there
// never is anything (see whole). The script makes the names of the room's other keys from these: see roomKeys.
func (k keyspace) room(room string) []string {
	return k.whole(k.partitionOf(room), k.state(room))
}

// roomCache remembers the keys of rooms that calls were about lately, so that not every call makes them.
type roomCache struct {
	keys  keyspace
	slots [1 << 10]atomic.Pointer[cachedRoom]
}

type cachedRoom struct {
	room string
	keys []string
}

// of returns what keyspace.room does; it is shared, and not to be changed.
func (c *roomCache) of(room string) []string {
	slot := &c.slots[xxhash.Sum64String(room)%uint64(len(c.slots))]
	if r := slot.Load(); r != nil && r.room == room {
		return r.keys
	}
	// A name that is a part of something longer must not keep that.
	r := &cachedRoom{room: strings.Clone(room), keys: c.keys.room(room)}
	slot.Store(r)
	return r.keys
}

// keyNames are names that scripts have for keys.
type keyNames struct {
	given string            // Lua that defines what the others are made from
	made  map[string]string // name → Lua; a script defines those that it uses, where it uses them
}

// roomKeys are the keys of a room and of its partition, for scripts about one room. (Twenty keys as arguments would cost
// such a script as much as all else that it does.)
var roomKeys = keyNames{
	given: `local S = KEYS[1] -- hash: the session's state
local BASE = string.sub(KEYS[2], 1, -2)
local ROOM = string.sub(S, #BASE + 3)
`,
	made: map[string]string{
		"C":      `BASE .. 'c:' .. ROOM`,         // hash: peer → record: connection, user, role, groups, name …; when its session ends for all, it is renamed: see below
		"P":      `BASE .. 'p:' .. ROOM`,         // hash: peer → data, where there is any
		"M":      `BASE .. 'm:' .. ROOM`,         // hash: metadata key → entry
		"L":      `BASE .. 'l:' .. ROOM`,         // list: the log
		"OA":     `BASE .. 'o:' .. ROOM .. '/a'`, // hashes: op_id → first result
		"OB":     `BASE .. 'o:' .. ROOM .. '/b'`,
		"E":      `BASE .. 'e:' .. ROOM`, // the channel
		"K":      `BASE .. 'k:' .. ROOM`, // hash: lock → holding
		"Q":      `BASE .. 'q:' .. ROOM`, // sorted set: <lock>/<ticket> of who waits, in order by name
		"Z":      `BASE .. 'z:' .. ROOM`, // hash: <lock>/<ticket> → what the waiter wants
		"W":      `BASE .. 'w:' .. ROOM`, // sorted set: what goes with each peer, <peer>/k/<key>, <peer>/l/<lock>, <peer>/q/<lock>/<ticket>
		"X":      `BASE .. 'x:' .. ROOM`, // sorted set: deadlines of entries and locks, k/<key> and l/<lock>
		"V":      `BASE .. 'v:' .. ROOM`, // hash: roles asked of peers, a/<peer>, and given to users, u/<user>; what 100ms clients watch, k/<peer>
		"R":      `BASE .. 'r:' .. ROOM`, // hash: what outlives a session: shut until, linger, how many peers
		"DUE":    `BASE .. 'due'`,
		"ROOMS":  `BASE .. 'rooms'`,
		"USERS":  `BASE .. 'users'`,
		"SUMS":   `BASE .. 'sums'`,
		"ENDED":  `BASE .. 'ended'`,
		"NODES":  `BASE .. 'nodes'`,
		"BEAT":   `BASE .. 'beat'`,
		"GONE":   `BASE .. 'gone'`,
		"SERVED": `BASE .. 'node:'`, // what an incarnation's set begins with
	},
}

// partitionKeys are the keys of a partition, for scripts about one.
var partitionKeys = keyNames{
	given: `local DUE = KEYS[1]
local BASE = string.sub(DUE, 1, -4)
`,
	made: map[string]string{
		"NODES":  roomKeys.made["NODES"],
		"BEAT":   roomKeys.made["BEAT"],
		"GONE":   roomKeys.made["GONE"],
		"SERVED": roomKeys.made["SERVED"],

		"REVOKED": `BASE .. 'revoked'`,
		"LAPSES":  `BASE .. 'lapses'`,
	},
}

// A room's buckets, by which its rates are kept, are beside its other keys: a string each with the time at which it is full
// again (see _rate.lua), and which is gone by then. They are of no session. t:<room> is that of the room's calls, t:<room>/j of
// its joins, and t:<room>/p/<peer> and t:<room>/u/<user>, the user as a JSON string, of one caller's calls.

// bucket returns the key of one of a room's buckets, from the room's keys.
func bucket(room []string, of string) string {
	base := len(room[1]) - 1
	return room[1][:base] + "t:" + room[0][base+len("s:"):] + of
}

// What the buckets are of, besides the room.
const (
	ofRoom  = ""
	ofJoins = "/j"
)

func ofPeer(peer string) string { return "/p/" + peer }
func ofUser(user string) string { return "/u/" + hearth.QuoteString(user) }

func (k keyspace) state(room string) string { return k.inPartition(k.partitionOf(room), "s:"+room) }

// Scripts make the names of further keys in the slot from those that they are given: of a room, see roomKeys, and
// dead:<session_id>, to which a room's c: is renamed when its session ends for all, until the sweep has taken its peers off
// the indexes; and of a partition:
//
//   - nodes, a sorted set of the incarnations that may have sockets in a partition, with the end of their lease;
//   - node:<incarnation>, a set of who has its socket there, <room>/<peer>. It may have more than there is: what it says is
//     checked against the record in c:;
//   - beat, a hash: when the partition was last looked after (at), when what is due was last seen to (swept), and until when
//     nobody is timed out (hold);
//   - gone, a hash of the 100ms clients that timed out lately, <room>/<peer>; bounded;
//   - lapses, a sorted set of the revocations of tokens, with the time when each is over; see revoked.

// whole returns keys of a partition with one more, at which there never is anything. Every script is given such a one. While
// its slot moves to another master, a script is refused (TRYAGAIN) whose keys are not all on one side. So none runs that would
// find a part of the keys that it makes names of, or would write on both sides.
func (k keyspace) whole(p int, keys ...string) []string { return append(keys, k.inPartition(p, "-")) }

// users is a sorted set of who is where in a partition: <user>\n<room>/<peer>, the user as a JSON string. It may have more
// than there is: what it says is checked against the room.
func (k keyspace) users(p int) string { return k.inPartition(p, "users") }

// sums is a hash of a partition's sessions, live and ended: session_id → summary, e/<epoch> → session_id, for ended ones and
// for the older logs of live ones. A
// session_id is made so that its own partition is its room's.
func (k keyspace) sums(p int) string { return k.inPartition(p, "sums") }

// ended is a sorted set of a partition's ended sessions with the time of their end.
func (k keyspace) ended(p int) string { return k.inPartition(p, "ended") }

// revokedPartition is the partition that has what is revoked, for all.
const revokedPartition = 0

// revoked is a hash of the revocations of tokens, for all rooms: id → what is revoked, and the version of it all. A channel of the
// same name tells of its changes.
func (k keyspace) revoked() string { return k.inPartition(revokedPartition, "revoked") }

// probe is a channel in a partition's slot on which a node hears itself.
func (k keyspace) probe(p int, node string) string { return k.inPartition(p, "probe:"+node) }

// channel is where a room's changes are published.
func (k keyspace) channel(room string) string {
	return k.inPartition(k.partitionOf(room), "e:"+room)
}
