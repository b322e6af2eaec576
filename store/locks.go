package store

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
)

// Held is a holding of a lock as its holder is told of it.
type Held struct {
	Session   string
	Token     uint64
	ExpiresAt int64 // epoch milliseconds
}

// ErrWaiting is returned by Acquire if the lock is held and the peer's place in the queue is kept.
var ErrWaiting = errors.New("store: waiting for the lock")

// AcquireRequest is what Acquire needs to know.
type AcquireRequest struct {
	Lock string
	Peer string // the holder to be: the writer itself, or for a server whoever it acts for
	TTL  time.Duration
	Wait time.Duration // how long the place in the queue is kept; 0: there is no waiting
	Keys hearth.Patterns
	// SetKeys tells nil Keys that are meant from none that were given: a holder that extends keeps what it has.
	SetKeys bool
}

// Acquire gives a lock to a peer, or extends it if the peer holds it: then the token stays and nobody is told. If another
// peer holds it and Wait is over 0, it returns ErrWaiting, and as Token the lowest that its holding can have: the peer is given the lock when its turn comes, if it is still
// the same connection's and Wait is not over, and an event tells it. Errors: the fence's, not_found (no such peer),
// lock_held with the lock, too_many.
func (s *Store) Acquire(ctx context.Context, room string, w Writer, q AcquireRequest) (Held, error) {
	set := ""
	if q.SetKeys {
		set = "1"
	}
	var patterns strings.Builder
	for _, p := range q.Keys {
		patterns.WriteString(string(p) + "\n")
	}
	res, err := s.runFor(ctx, verbLockAcquire, room, &w,
		q.Lock, millis(q.TTL), millis(q.Wait), q.Peer, patterns.String(), set)
	if err != nil {
		return Held{}, err
	}
	switch status := res.str(0); status {
	case "ok":
		return heldOf(res[1:]), nil
	case "waiting":
		return Held{Session: res.str(1), Token: uint64(res.num(2))}, ErrWaiting
	case "not_found":
		return Held{}, hearth.Errorf(hearth.ReasonNotFound, "peer_id names no peer of this session")
	default:
		return Held{}, lockRefusal(res[1:], refusal(status))
	}
}

// StopWaiting gives up a peer's place in the queue. If it was given the lock meanwhile it returns the holding, else
// lock_held. Errors: the fence's.
func (s *Store) StopWaiting(ctx context.Context, room string, w Writer, lock string) (Held, error) {
	return s.onLock(ctx, verbLockCancel, room, &w, lock)
}

// RenewLock extends a holding; ttl 0 means as long as before. peer, if not "", has to be the holder. Errors: the fence's;
// lock_lost if it is not the current holding.
func (s *Store) RenewLock(ctx context.Context, room string, w Writer, h hearth.Holding, ttl time.Duration, peer string) (Held, error) {
	lease := ""
	if ttl > 0 {
		lease = millis(ttl)
	}
	name, token := holdingArgs(h)
	return s.onLock(ctx, verbLockRenew, room, &w, name, token, lease, peer)
}

// ReleaseLock ends a holding; who waits first is given the lock. peer and errors: as of RenewLock.
func (s *Store) ReleaseLock(ctx context.Context, room string, w Writer, h hearth.Holding, peer string) error {
	name, token := holdingArgs(h)
	_, err := s.onLock(ctx, verbLockRelease, room, &w, name, token, peer)
	return err
}

func (s *Store) onLock(ctx context.Context, v verb, room string, w *Writer, args ...any) (Held, error) {
	r, err := s.write(ctx, v, room, w, args...)
	if err != nil {
		return Held{}, lockRefusal(r, err)
	}
	return heldOf(r), nil
}

// Locks returns the locks that are held, sorted by name.
func (s *Store) Locks(ctx context.Context, room, session string) (hearth.Session, []hearth.Lock, error) {
	ses, r, err := s.read(ctx, verbLocks, room, session)
	if err != nil {
		return hearth.Session{}, nil, err
	}
	in := r.list(0)
	out := make([]hearth.Lock, 0, len(in)/3)
	for i := 0; i+2 < len(in); i += 3 {
		l := lockOf(in.str(i), in.str(i+1))
		l.Waiters = int(in.num(i + 2))
		out = append(out, l)
	}
	sortBy(out, func(l hearth.Lock) string { return l.Name })
	return ses, out, nil
}

// heldOf reads {session, "<token> <expires_at>"}.
func heldOf(r reply) Held {
	token, expires := seqAndTime(r.str(1))
	return Held{Session: r.str(0), Token: token, ExpiresAt: expires}
}

// lockOf reads a holding's record; lua/_lock.lua says what is in it.
func lockOf(name, record string) hearth.Lock {
	head, patterns, _ := strings.Cut(record, "\n")
	var f [3]string // token, peer, expires_at
	for i := range f {
		f[i], head, _ = strings.Cut(head, " ")
	}
	l := hearth.Lock{Name: name, Token: uint64(parseInt(f[0])), Peer: f[1], ExpiresAt: parseInt(f[2])}
	for p := range strings.SplitSeq(strings.TrimSuffix(patterns, "\n"), "\n") {
		if p != "" {
			l.Keys = append(l.Keys, hearth.Pattern(p))
		}
	}
	return l
}

// lockRefusal puts the lock, which the script returned with its refusal, into lock_held and lock_lost.
func lockRefusal(r reply, err error) error {
	if reason := hearth.ReasonOf(err); (reason == hearth.ReasonLockHeld || reason == hearth.ReasonLockLost) && r.has(1) {
		l := lockOf(r.str(0), r.str(1))
		l.Waiters = -1
		hearth.AsError(err).Lock = &l
	}
	return err
}

// holdingArgs names a holding to a script.
func holdingArgs(h hearth.Holding) (name, token string) {
	if h.Name == "" {
		return "", ""
	}
	return h.Name, strconv.FormatUint(h.Token, 10)
}
