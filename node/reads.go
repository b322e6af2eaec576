package node

import (
	"context"
	"errors"
	"sync"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/pubsub"
)

// reads has those who come back to one session at the same time read its log together: when a node dies, or the network
// hiccups, that is everybody of a room. While one read is under way, whoever else asks waits for the next, which begins
// after that and goes back as far as any of them needs. What was read is shared, so it is there once, however many are
// given it.
type reads struct {
	read func(ctx context.Context, room string, from hearth.Cursor) ([]*pubsub.Message, error)
	ctx  context.Context //nolint:containedctx // the node's own life

	mu     sync.Mutex
	active map[session]bool
	next   map[session]*joint
}

// session is what a log is of.
type session struct{ room, epoch string }

// joint is a read that several wait for.
type joint struct {
	from  hearth.Cursor // the furthest back of theirs
	count int           // of those who wait
	begin chan struct{} // holds one once it is its turn; who takes it reads
	done  chan struct{} // closed when it has been read
	msgs  []*pubsub.Message
	err   error
}

func (r *reads) init(ctx context.Context, read func(ctx context.Context, room string, from hearth.Cursor) ([]*pubsub.Message, error)) {
	r.ctx, r.read, r.active, r.next = ctx, read, map[session]bool{}, map[session]*joint{}
}

// missed is Hub.Missed.
func (r *reads) missed(ctx context.Context, room string, from hearth.Cursor) ([]*pubsub.Message, error) {
	key := session{room, from.Epoch}
	r.mu.Lock()
	j := r.next[key]
	if j == nil {
		j = &joint{from: from, begin: make(chan struct{}, 1), done: make(chan struct{})}
		r.next[key] = j
		if !r.active[key] {
			r.active[key] = true
			j.begin <- struct{}{}
		}
	} else if from.Seq < j.from.Seq {
		j.from = from
	}
	j.count++
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		r.give(key, j)
		return nil, ctx.Err()
	case <-j.begin:
		r.run(key, j) //nolint:contextcheck // it reads for all, in a time of its own
	case <-j.done:
	}
	if j.err == nil {
		if part, ok := after(j.msgs, j.from, from); ok {
			return part, nil
		}
	} else if !errors.Is(j.err, pubsub.ErrGone) || j.from == from {
		return nil, j.err
	}
	return r.read(ctx, room, from) // another one's cursor must not decide about this one's
}

// give takes note that somebody waits no more. If nobody else does, nobody reads.
func (r *reads) give(key session, j *joint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j.count--; j.count > 0 || r.next[key] != j {
		return
	}
	delete(r.next, key)
	select {
	case <-j.begin: // its turn has come
		delete(r.active, key)
	default:
	}
}

// run reads for all who wait for j, and lets the next have its turn.
func (r *reads) run(key session, j *joint) {
	r.mu.Lock()
	delete(r.next, key) // who comes from here on needs what comes from here on
	r.mu.Unlock()
	defer func() {
		close(j.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		if next := r.next[key]; next != nil {
			next.begin <- struct{}{}
			return
		}
		delete(r.active, key)
	}()
	ctx, cancel := context.WithTimeout(r.ctx, CallTimeout) // nobody's own: it is for all
	defer cancel()
	j.msgs, j.err = r.read(ctx, key.room, j.from)
}

// after returns what of msgs, which follow begin, comes after from; false if from is not among them.
func after(msgs []*pubsub.Message, begin, from hearth.Cursor) ([]*pubsub.Message, bool) {
	if from == begin {
		return msgs, true
	}
	if from.Seq <= begin.Seq || from.Seq-begin.Seq > uint64(len(msgs)) {
		return nil, false
	}
	i := from.Seq - begin.Seq
	return msgs[i:], msgs[i-1].Cursor == from
}
