package store

import (
	"context"
	"errors"
	"time"
)

// ErrLapsed says that a node's incarnation was ended in the store, because the node was not heard of for a lease.
var ErrLapsed = errors.New("store: the incarnation has lapsed")

// Begin begins an incarnation of a node in a partition: joins may name it until Tick says that it has lapsed. It
// returns the time by the store's clock, in epoch milliseconds.
func (s *Store) Begin(ctx context.Context, partition int, incarnation string) (now int64, err error) {
	r, err := s.call(ctx, verbBegin, s.keys.whole(partition, s.keys.due(partition)), incarnation)
	return r.num(0), err
}

// Ticked is what a node learns when it looks after a partition.
type Ticked struct {
	Lapsed bool          // its incarnation was ended
	Due    []DueItem     // what ends by time and is due
	Next   time.Duration // in how long the next after them is (0: more are due; negative: there is none)
	Unseen bool          // Due was not asked for, and nobody has seen to it for long
	Now    int64         // by the store's clock, epoch milliseconds
}

// Tick renews an incarnation ("" if the node has none in the partition), and returns what is due there, at most limit; with
// limit 0 others see to that. Incarnations whose lease is over are ended: what is left of them is due then. After the store
// was away, longer than half a lease, nobody is timed out for a lease and a grace.
func (s *Store) Tick(ctx context.Context, partition int, incarnation string, limit int) (Ticked, error) {
	r, err := s.call(ctx, verbTick, s.keys.whole(partition, s.keys.due(partition)), incarnation, limit)
	if err != nil {
		return Ticked{}, readError(err) // whatever it has done, the next one does as well
	}
	t := Ticked{Lapsed: r.num(0) == 0, Next: time.Duration(r.num(2)) * time.Millisecond, Unseen: r.num(3) == 1, Now: r.num(4)}
	for i := range r.list(1) {
		item := parseDueItem(r.list(1).str(i))
		if item.Room == "" {
			item.Partition = partition
		}
		t.Due = append(t.Due, item)
	}
	return t, nil
}

// Place is where a connection stands: as whose, in which room.
type Place struct {
	Room, Peer string
	Conn       string // secret of the connection
}

// HandOver says that sockets of one partition are gone: their peers stay members for the grace time. One that has another
// connection by now, or is no member, is left alone, so repeating it is harmless.
func (s *Store) HandOver(ctx context.Context, partition int, gone []Place) error {
	args := make([]any, 0, 3*len(gone))
	for _, p := range gone {
		args = append(args, p.Room, p.Peer, p.Conn)
	}
	_, err := s.call(ctx, verbHandOver, s.keys.whole(partition, s.keys.due(partition)), args...)
	return err
}

// Members returns some of those who have their socket at an incarnation, as the store knows it, and the cursor of the next
// ones ("" after the last; "" begins). Who is there all the while is returned at least once.
func (s *Store) Members(ctx context.Context, partition int, incarnation, cursor string) ([]Place, string, error) {
	if cursor == "" {
		cursor = "0"
	}
	r, err := s.call(ctx, verbMembers, s.keys.whole(partition, s.keys.due(partition)), incarnation, cursor, scanCount)
	if err != nil {
		return nil, "", readError(err)
	}
	var out []Place
	for rest := r[1:]; len(rest) >= 3; rest = rest[3:] {
		out = append(out, Place{Room: rest.str(0), Peer: rest.str(1), Conn: rest.str(2)})
	}
	if cursor = r.str(0); cursor == "0" {
		cursor = ""
	}
	return out, cursor, nil
}
