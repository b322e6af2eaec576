package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

// slotOf is how Redis Cluster says that it maps a key: CRC-16/XMODEM by a table, of what is between the first { and the
// first } after it, unless there is nothing.
func slotOf(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for _, c := range []byte(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^c]
	}
	return int(crc % slots)
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		for bit := range 8 { // a byte's remainder is the sum of its bits' remainders
			if i>>bit&1 == 1 {
				crc := uint16(0x1021)
				for range bit {
					carry := crc>>15 == 1
					if crc <<= 1; carry {
						crc ^= 0x1021
					}
				}
				table[i] ^= crc
			}
		}
	}
	return table
}()

func TestSlotsAreThoseOfRedisCluster(t *testing.T) {
	for key, want := range map[string]int{ // as CLUSTER KEYSLOT answers
		"":                    0,
		"123456789":           0x31c3 % slots,
		"foo":                 12182,
		"bar":                 5061,
		"somekey":             11058,
		"foo{hash_tag}":       2515,
		"bar{hash_tag}{other": 2515,
		"foo{}{bar}":          8363,
		"foo{{bar}}zap":       4015,
		"foo{bar}{zap}":       5061,
	} {
		if got := slotOf(key); got != want {
			t.Errorf("%q is in slot %d, not %d", key, got, want)
		}
	}
	for i := range 1000 {
		if s := strconv.Itoa(i); int(crc16(s))%slots != slotOf(s) {
			t.Errorf("the tag %s is taken to be in slot %d, and is in %d", s, int(crc16(s))%slots, slotOf(s))
		}
	}
}

func TestTagsSpreadEvenlyOverTheSlots(t *testing.T) {
	for n := 1; n <= 1024; n++ {
		tags := partitionTags(n)
		seen := map[string]bool{}
		for i, tag := range tags {
			if slot := slotOf(tag); slot*n/slots != i || seen[tag] || tag == "" || strings.ContainsAny(tag, "{}") {
				t.Fatalf("of %d tags the %d-th is %q in slot %d", n, i, tag, slot)
			}
			seen[tag] = true
		}
		if len(tags) != n {
			t.Fatalf("%d tags, not %d", len(tags), n)
		}
	}
}

// The tags are where rooms are: others than these would lose what is stored.
func TestTagsStayWhatTheyAre(t *testing.T) {
	if got := fmt.Sprint(partitionTags(8)); got != fmt.Sprint([]string{"3", "43", "2", "42", "1", "41", "0", "40"}) {
		t.Errorf("tags are %s", got)
	}
}

func TestRoomsSpreadEvenlyOverThePartitions(t *testing.T) {
	const each = 1000
	for _, n := range []int{1, 3, 64, 256} {
		k := newKeyspace("hearth", n)
		count := make([]int, n)
		for i := range n * each {
			count[k.partitionOf(fmt.Sprintf("room-%d", i))]++
		}
		if low, high := slices.Min(count), slices.Max(count); low < each*85/100 || high > each*115/100 {
			t.Errorf("of %d partitions one has %d rooms, one %d, %d on average", n, low, high, each)
		}
	}
}

func TestNoTwoRoomsShareAKey(t *testing.T) {
	rooms := append(hostile(), legal(2000)...)
	slices.Sort(rooms)
	rooms = slices.Compact(rooms)
	for _, partitions := range []int{1, 2, 64} {
		k := newKeyspace("hearth", partitions)
		owner := map[string]string{k.live(): "live", k.partitions(): "partitions"}
		claim := func(key, who string) {
			t.Helper()
			if was, taken := owner[key]; taken && was != who {
				t.Errorf("%q is the key of %s and of %s", key, was, who)
			}
			owner[key] = who
		}
		for p := range partitions {
			claim(k.rooms(p), fmt.Sprintf("rooms %d", p))
			claim(k.due(p), fmt.Sprintf("due %d", p))
			claim(k.users(p), fmt.Sprintf("users %d", p))
			claim(k.sums(p), fmt.Sprintf("sums %d", p))
			claim(k.ended(p), fmt.Sprintf("ended %d", p))
			for key, kind := range map[string]string{
				"nodes": "nodes", "beat": "beat", "gone": "gone", "node:": "served", "lapses": "lapses", "revoked": "revoked",
			} {
				claim(k.inPartition(p, key), fmt.Sprintf("%s %d", kind, p))
			}
		}
		for _, room := range rooms {
			for kind, of := range map[string]string{
				"calls": ofRoom, "joins": ofJoins, "peer j": ofPeer("j"), "peer p": ofPeer("p"), "user j": ofUser("j"),
				"user of a peer": ofUser("p/j"), "hostile user": ofUser("/p/j\x00{}\r\n\"}:"),
			} {
				claim(bucket(k.room(room), of), kind+" in "+room)
			}
		}
		for i, keys := range roomKeysOf(t, k, rooms...) {
			room := rooms[i]
			for kind, key := range keys {
				switch kind {
				case "DUE", "ROOMS", "USERS", "SUMS", "ENDED", "NODES", "BEAT", "GONE", "SERVED":
					claim(key, fmt.Sprintf("%s %d", strings.ToLower(kind), k.partitionOf(room)))
				default:
					claim(key, kind+" of "+room)
				}
			}
		}
		if want := 2 + 11*partitions + (15+7)*len(rooms); len(owner) != want {
			t.Errorf("%d keys of %d rooms in %d partitions, not %d", len(owner), len(rooms), partitions, want)
		}
	}
}

// A prefix has no colon, so keys of different prefixes are different.
func TestEveryKeyHasThePrefix(t *testing.T) {
	k := newKeyspace("h_1-x", 2)
	keys := append(k.room("room"), k.live(), k.partitions(), k.rooms(1), k.due(0), k.revoked())
	for _, key := range keys {
		if prefix, _, ok := strings.Cut(key, ":"); !ok || prefix != "h_1-x" {
			t.Errorf("the key %q", key)
		}
	}
}

func TestARoomsNameNeverChoosesItsSlot(t *testing.T) {
	names := append(hostile(), legal(500)...)
	names = append(names, "{1}", "}{", "a{b}c", "{}", "{", "}", "\r\n", "\x00", strings.Repeat("{x}", 100_000)) // CheckName refuses them
	k := newKeyspace("hearth", 64)
	for i, keys := range roomKeysOf(t, k, names...) {
		room := names[i]
		tag := k.tags[k.partitionOf(room)]
		keys["bucket"], keys["user"] = bucket(k.room(room), ofRoom), bucket(k.room(room), ofUser("{"+room+"}"))
		for kind, key := range keys {
			if !strings.HasPrefix(key, "hearth:{"+tag+"}:") || slotOf(key) != slotOf(tag) {
				t.Errorf("key %s of the room %.40q is %.60q, in slot %d, not %d", kind, room, key, slotOf(key), slotOf(tag))
			}
		}
	}
}

// What is due is found again from its item, whoever the room and the peer are.
func TestDueItemsAreReadAsTheyWereWritten(t *testing.T) {
	for _, room := range append(hostile(), legal(500)...) {
		peer := legal(1)[0]
		for text, want := range map[string]DueItem{
			"log/" + room:                {Kind: DueLog, Room: room},
			"time/" + room:               {Kind: DueTimes, Room: room},
			"empty/" + room:              {Kind: DueEmpty, Room: room},
			"peer/" + room + "/" + peer:  {Kind: DuePeer, Room: room, Peer: peer},
			"peer/" + peer + "/" + room:  {Kind: DuePeer, Room: peer, Peer: room},
			"peer/" + room + "/" + "log": {Kind: DuePeer, Room: room, Peer: "log"},
		} {
			if got := parseDueItem(text); got != want {
				t.Errorf("%q is read as %+v", text, got)
			}
		}
	}
}

// hostile are rooms whose names look like parts of a key. All of them are allowed.
func hostile() []string {
	rooms := []string{
		"s", "c", "p", "m", "l", "o", "e", "a", "b", "rooms", "due", "live", "partitions", "log", "peer", "hearth", "s:s", "s:c", "c:s",
		"s:", "rooms:", "o:a", "a:a", "e:e:e", "0", "1:rooms", "x~a", "x.a", "x=", "x+", "x-", "x@y", "A", strings.Repeat("x", hearth.MaxNameLen),
	}
	for _, room := range rooms {
		if !hearth.ValidName(room) {
			panic(room + " is no name")
		}
	}
	return rooms
}

// legal returns n names made of the characters that keys use themselves, from a fixed seed.
func legal(n int) []string {
	const first, rest = "scpmloeab01A", "scpmloeab01A:::._~@+=-"
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]string, n)
	for i := range out {
		name := []byte{first[r.IntN(len(first))]}
		for range r.IntN(6) {
			name = append(name, rest[r.IntN(len(rest))])
		}
		out[i] = string(name)
	}
	return out
}
