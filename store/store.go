// Package store holds every Redis key and script of the product, and nothing else. One method is one verb, one script and
// one round trip; a script checks the fence and the rules, writes, takes the next seq, logs and publishes in one atomic
// step. The methods' comments are their contracts.
//
// It is not the place for permissions (package auth), for limits that need no stored state (package hearth) or for
// hearing of changes (package pubsub). All deadlines go by Redis's clock.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/netpoll"
)

// Options says where a store's data is and how it is laid out. The zero value of a field means its default.
type Options struct {
	Prefix     string // of every key and channel; "hearth"
	Partitions int    // over how many partitions rooms are spread; 64. All nodes have to agree
	Limits     hearth.Limits
	// Poller tells of answers, together with what else it is told of; nil: goroutines wait for them.
	Poller *netpoll.Poller
}

// Store executes the verbs. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	keys    keyspace
	rooms   roomCache
	scripts map[verb]*redis.Script
	limits  hearth.Limits
	lanes   *lanes
	rates   rates
}

// ErrPartitions is returned by New if the data was laid out over another number of partitions.
var ErrPartitions = errors.New("store: the number of partitions differs from the one in Redis")

// New returns a store on client, which stays the caller's to close, after the store. It records the number of partitions, or checks it
// against the recorded one, and loads the scripts.
func New(ctx context.Context, client redis.UniversalClient, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = "hearth"
	}
	if o.Partitions == 0 {
		o.Partitions = 64
	}
	if o.Partitions < 1 || o.Partitions > 1024 {
		return nil, fmt.Errorf("store: partitions must be 1–1024, not %d", o.Partitions)
	}
	o.Limits = o.Limits.WithDefaults()
	if err := o.Limits.Check(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	_, sharded := clustered(client)
	scripts, err := scripts(o.Limits, sharded)
	if err != nil {
		return nil, err
	}
	s := &Store{client: client, keys: newKeyspace(o.Prefix, o.Partitions), scripts: scripts, limits: o.Limits}
	s.rooms.keys = s.keys
	s.rates.init(o.Limits)
	if err := s.agree(ctx); err != nil {
		return nil, err
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("store: load the scripts: %w", err)
	}
	s.lanes = newLanes(client, o.Poller)
	return s, nil
}

// Close frees the store's own connections. Verbs that are under way fail; none may be begun after it.
func (s *Store) Close() { s.lanes.close() }

func (s *Store) agree(ctx context.Context) error {
	mine := len(s.keys.tags)
	if err := s.client.SetNX(ctx, s.keys.partitions(), mine, 0).Err(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	theirs, err := s.client.Get(ctx, s.keys.partitions()).Int()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if theirs != mine {
		return fmt.Errorf("%w: %d here, %d there; start this node with HEARTH_PARTITIONS=%d", ErrPartitions, mine, theirs, theirs)
	}
	return nil
}

// Limits returns the limits that the scripts keep.
func (s *Store) Limits() hearth.Limits { return s.limits }

// Channel returns the channel on which a room's changes are published.
func (s *Store) Channel(room string) string { return s.keys.channel(room) }

// Partitions returns the number of partitions.
func (s *Store) Partitions() int { return len(s.keys.tags) }

// Partition returns the partition that a room is in.
func (s *Store) Partition(room string) int { return s.keys.partitionOf(room) }

// Writer says who makes a write and is its fence: the write is refused with session_ended if Session is not the live one,
// and with not_member if Conn is not Peer's current connection.
type Writer struct {
	Session string // session_id; "" for whichever is live (else no_session)
	Peer    string // "" for a server, which no connection fences
	Conn    string // secret of the peer's connection
	User    string // the peer's user_id; "" if a server acts by the conn_id that it was given when it joined the peer
	Key     string // access_key of a server: the scope of its op_ids
	Op      string // op_id; "" for none
	// Lock, if it names a holding, is one more fence of a metadata write: the write is refused with lock_lost unless it is
	// the current one. Other writes do not look at it.
	Lock hearth.Holding
	// Role is the role by which a peer's write was allowed. If the peer has another one by now, or Role is "", Allow is
	// asked about that one, and the write is done if it says yes. With Allow nil the role doesn't matter.
	Role  string
	Allow func(role string) error
}

// noRole stands for a Role that is yet to be learnt; it is no role's name.
const noRole = "-"

// args is what every write's ARGV begins with.
func (w *Writer) args(v verb, room string, more ...any) []any {
	op := ""
	var buf [128]byte
	user := buf[:0]
	if w.User != "" {
		user = hearth.AppendString(user, w.User)
	}
	user = append(user, '\n')
	if w.Allow != nil {
		user = append(user, cmp.Or(w.Role, noRole)...)
	}
	if w.Op != "" {
		// The verb is part of it, so that an op_id used again for something else can't be answered with a result of
		// another form.
		if w.Peer != "" {
			op = "p/" + w.Peer + "/" + string(v) + "/" + w.Op
		} else {
			op = "k/" + w.Key + "/" + string(v) + "/" + w.Op
		}
	}
	// Pointers to texts that are allocated together: a string in an interface would be an allocation each.
	b := &struct {
		texts [7]string
		all   [16]any
	}{texts: [7]string{room, hearth.NewNonce(), w.Session, w.Peer, w.Conn, string(user), op}}
	all := b.all[:0]
	for i := range b.texts {
		all = append(all, &b.texts[i])
	}
	return append(all, more...)
}

// write runs a verb on one room on behalf of w.
func (s *Store) write(ctx context.Context, v verb, room string, w *Writer, more ...any) (reply, error) {
	return statusOf(s.runFor(ctx, v, room, w, more...))
}

// runFor is write for a verb that has more than one status that is no refusal: the reply has its status. If w's peer has
// another role than the write was allowed by, nothing was executed: it is decided anew, and repeated once.
func (s *Store) runFor(ctx context.Context, v verb, room string, w *Writer, more ...any) (reply, error) {
	keys := s.rooms.of(room)
	r, err := s.run(ctx, v, keys, w.args(v, room, more...)...)
	role, changed := strings.CutPrefix(r.str(0), roleChanged)
	if err != nil || !changed {
		return r, err
	}
	if err := w.Allow(role); err != nil {
		return nil, err
	}
	w.Role = role
	return s.run(ctx, v, keys, w.args(v, room, more...)...)
}

// read runs a verb that changes nothing; its reply begins with the session's state.
func (s *Store) read(ctx context.Context, v verb, room, session string, more ...any) (hearth.Session, reply, error) {
	r, err := s.call(ctx, v, s.rooms.of(room), append([]any{session}, more...)...)
	if err != nil {
		return hearth.Session{}, nil, readError(err)
	}
	return sessionOf(room, r), r[6:], nil
}

// sessionOf reads what the header of a reply says: session, epoch, started_at, seq, n, peer_count.
func sessionOf(room string, r reply) hearth.Session {
	return hearth.Session{
		Room: room, ID: r.str(0), Epoch: r.str(1), StartedAt: r.num(2),
		Seq: uint64(r.num(3)), Nonce: r.str(4), PeerCount: int(r.num(5)),
	}
}

func parseInt(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // only scripts write what is parsed here
	return n
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
