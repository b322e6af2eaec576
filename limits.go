package hearth

import (
	"fmt"
	"math"
	"time"
)

// Limits bounds what one session, connection or call may take. The zero value of a field means its default; WithDefaults
// fills them in.
type Limits struct {
	MaxValue    int // bytes of one metadata value; 64 KiB
	MaxKeys     int // metadata keys of a session; 5000
	MaxMetadata int // bytes of all metadata keys and values of a session; 4 MiB
	MaxMessage  int // bytes of one broadcast's message; 64 KiB
	MaxPeers    int // peers of a session, hidden ones included; 10000
	MaxFrame    int // bytes of one message from a client; 256 KiB
	MaxOps      int // op_ids a session remembers; 100000

	LogEvents int           // how many events a session's log keeps; 1000
	LogBytes  int           // and how many bytes; 1 MiB
	LogAge    time.Duration // and for how long; 10 minutes

	Retention time.Duration // how long the summary of an ended session is kept; 24 hours
	// Grace is for how long a peer whose socket is gone stays a member; 10 seconds. NodeLease is how long a node that is not
	// heard of keeps its peers; 15 seconds. It has to exceed Grace by MinLeaseMargin: see Check.
	Grace, NodeLease time.Duration

	// Rates, a second; 0: as many as come. So many as come in a second, Burst of them, may come at once.
	PeerRate float64 // calls of one peer; over HTTP of one token's peer, or else user
	RoomRate float64 // calls of all peers of a room
	JoinRate float64 // new peers of a room

	MaxUserPeers int // peers of one user in a session; 0: as many as it may have in all

	LargeRoom int // with more peers shown than that, who comes, changes and goes is told only to who asked; 500
}

// WithDefaults returns l with every zero field at its default.
func (l Limits) WithDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MaxValue, 64<<10)
	def(&l.MaxKeys, 5000)
	def(&l.MaxMetadata, 4<<20)
	def(&l.MaxMessage, 64<<10)
	def(&l.MaxPeers, 10_000)
	def(&l.MaxFrame, 256<<10)
	def(&l.MaxOps, 100_000)
	def(&l.LogEvents, 1000)
	def(&l.LogBytes, 1<<20)
	if l.LogAge == 0 {
		l.LogAge = 10 * time.Minute
	}
	if l.Retention == 0 {
		l.Retention = 24 * time.Hour
	}
	def(&l.LargeRoom, 500)
	if l.Grace == 0 {
		l.Grace = 10 * time.Second
	}
	if l.NodeLease == 0 {
		l.NodeLease = max(15*time.Second, l.Grace+MinLeaseMargin)
	}
	return l
}

// Rates are 0 or between these.
const (
	MinRate = 0.001
	MaxRate = 100_000
)

// Burst is how many may come at once under a rate: those of a second, and some even if it is low.
func Burst(rate float64) int { return max(MinBurst, int(math.Ceil(rate))) }

// Check returns an error that says which limits contradict each other, or are none.
func (l Limits) Check() error {
	switch {
	case l.Grace < 0:
		return fmt.Errorf("HEARTH_GRACE must not be negative, as %s is", l.Grace)
	case l.Grace > MaxGrace:
		return fmt.Errorf("HEARTH_GRACE must be at most %s, not %s", MaxGrace, l.Grace)
	case l.NodeLease < l.Grace+MinLeaseMargin:
		return fmt.Errorf("HEARTH_NODE_LEASE must exceed HEARTH_GRACE (%s) by %s at least, and %s does not: "+
			"a peer whose node dies would be gone before its grace is over", l.Grace, MinLeaseMargin, l.NodeLease)
	}
	for _, r := range []struct {
		name string
		rate float64
	}{{"HEARTH_PEER_RATE", l.PeerRate}, {"HEARTH_ROOM_RATE", l.RoomRate}, {"HEARTH_JOIN_RATE", l.JoinRate}} {
		if r.rate != 0 && !(r.rate >= MinRate && r.rate <= MaxRate) { // NaN is neither
			return fmt.Errorf("%s must be %v–%v a second, or 0 for as many as come, not %v", r.name, MinRate, MaxRate, r.rate)
		}
	}
	if l.MaxUserPeers < 0 {
		return fmt.Errorf("HEARTH_MAX_USER_PEERS must be 0, for no limit, or more, not %d", l.MaxUserPeers)
	}
	return nil
}

// Limits that are part of the contract and not configurable.
const (
	MaxDepth        = 32       // arrays and objects of a value within each other: whoever reads it has a stack
	MaxPeerData     = 16 << 10 // bytes of one peer's data
	MaxSessionData  = 4 << 20  // bytes of the data of all peers of a session
	MaxGroups       = 32       // groups of one peer
	MaxUpdateOps    = 100      // ops of one update-metadata
	MaxSnapshotPeer = 200      // peers in the peer-list that follows a join
	// MaxLargeSnapshotPeer is MaxSnapshotPeer in a large room, where a join costs no more for all who are there already.
	MaxLargeSnapshotPeer = 50
	MaxSnapshotSize      = 256 << 10
	MaxPage              = 1000 // entries, peers or rooms in one page
	DefaultPage          = 100

	MinLease     = 5 * time.Second // of a peer that joined over HTTP
	MaxLease     = time.Hour
	DefaultLease = time.Minute

	MaxGrace         = time.Hour
	MinImplicitGrace = 30 * time.Second // of a 100ms client, which notices a dead path after up to 16 s
	GoneTime         = time.Minute      // for how long after it timed out a 100ms client that comes back is told so
	MaxGone          = 10_000           // of how many that is known in one partition
	MaxKeptWatch     = 4 << 20          // bytes of the keys that a session's 100ms clients listen to, which it keeps for their return
	MinLeaseMargin   = 4 * time.Second  // by which a node's lease exceeds the grace: a renewal and a sweep

	MinBurst = 10 // see Burst

	RoleRequestTime = time.Minute // for how long a request to take another role stands

	MaxTTL = 30 * 24 * time.Hour // of a metadata entry

	MinLockTTL     = time.Second
	MaxLockTTL     = time.Hour
	MaxLockWait    = time.Minute
	MaxLocks       = 1000 // locks held in one session
	MaxLockWaiters = 1000 // of one lock
	MaxLockKeys    = 32   // patterns that one lock binds

	MaxTokenIDLen         = 256         // bytes of a jti
	TokenLeeway           = time.Minute // how far the clocks of who mints and who verifies a token may be apart
	MaxRevocations        = 10_000
	DefaultRevocationTime = 30 * 24 * time.Hour
	MaxRevocationTime     = 366 * 24 * time.Hour
	// RevocationSlack is for how long after its time a revocation is kept: a token is good for TokenLeeway after its exp, by the
	// clock of a node, which may be as far from the store's.
	RevocationSlack = 2 * TokenLeeway
)
