package store

import (
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
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
// gone is what the partition knows of 100ms clients that timed out.
func (k keyspace) due(p int) string { return k.inPartition(p, "due") }

func (k keyspace) partitionOf(room string) int {
	return int(xxhash.Sum64String(room) % uint64(len(k.tags)))
}

func (k keyspace) partitionOfBytes(name []byte) int {
	return int(xxhash.Sum64(name) % uint64(len(k.tags)))
}

// room returns the keys that every script about one room is given; lua/_keys.lua names them in the same order.
func (k keyspace) room(room string) []string {
	p := k.partitionOf(room)
	key := func(kind string) string { return k.inPartition(p, kind+":"+room) }
	return []string{
		k.state(room),   // hash: the session's state
		key("c"),        // hash: peer → record: connection, user, role, groups, name …; when its session ends for all, it is renamed: see below
		key("p"),        // hash: peer → data, where there is any
		key("m"),        // hash: metadata key → entry
		key("l"),        // list: the log
		k.op(room, 'a'), // hashes: op_id → first result
		k.op(room, 'b'),
		k.channel(room),
		k.due(p),
		k.rooms(p),
		key("k"), // hash: lock → holding
		key("q"), // sorted set: <lock>/<ticket> of who waits, in order by name
		key("z"), // hash: <lock>/<ticket> → what the waiter wants
		key("w"), // sorted set: what goes with each peer, <peer>/k/<key>, <peer>/l/<lock>, <peer>/q/<lock>/<ticket>
		key("x"), // sorted set: deadlines of entries and locks, k/<key> and l/<lock>
		key("v"), // hash: roles asked of peers, a/<peer>, and given to users, u/<user>; what 100ms clients watch, k/<peer>
		key("r"), // hash: what outlives a session: shut until, linger, how many peers
		k.users(p),
		k.sums(p),
		k.ended(p),
	}
}

func (k keyspace) state(room string) string { return k.inPartition(k.partitionOf(room), "s:"+room) }

// Scripts that are about a whole partition, or that end a session for all, make the names of further keys in its slot from
// those that they are given: s:, c:, p:, q:, w: and z: of a room, and dead:<session_id>, to which a room's c: is renamed when
// its session ends for all, until the sweep has taken its peers off the indexes. From due are made, in lua/_base.lua:
//
//   - nodes, a sorted set of the incarnations that may have sockets in a partition, with the end of their lease;
//   - node:<incarnation>, a set of who has its socket there, <room>/<peer>. It may have more than there is: what it says is
//     checked against the record in c:;
//   - beat, a hash: when the partition was last looked after (at), when what is due was last seen to (swept), and until when
//     nobody is timed out (hold);
//   - gone, a hash of the 100ms clients that timed out lately, <room>/<peer>; bounded.

// whole returns keys of a partition with one more, at which there never is anything. Every script is given such a one: for
// a room it is the name of its channel. While its slot moves to another master, a script is refused (TRYAGAIN) whose keys
// are not all on one side. So none runs that would find a part of the keys that it makes names of, or would write on both
// sides.
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

func (k keyspace) op(room string, turn byte) string {
	return k.inPartition(k.partitionOf(room), fmt.Sprintf("o:%s/%c", room, turn))
}

// probe is a channel in a partition's slot on which a node hears itself.
func (k keyspace) probe(p int, node string) string { return k.inPartition(p, "probe:"+node) }

// channel is where a room's changes are published.
func (k keyspace) channel(room string) string {
	return k.inPartition(k.partitionOf(room), "e:"+room)
}
