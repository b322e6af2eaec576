package node

import (
	"context"
	"sync"
	"time"

	"github.com/hearthstore/hearth/store"
)

// handoverBatch is how many peers are handed over by one script.
const handoverBatch = 500

// handover tells the store of peers whose sockets are gone. It is repeated until it is confirmed: the fence makes repeats
// harmless, and one that is lost would leave a peer that nobody serves. Those of a partition that come while one script is
// under way go together in the next.
type handover struct {
	mu      sync.Mutex
	waiting map[int][]store.Place // by partition, while a goroutine sends them
	owed    int                   // how many there are
	none    chan struct{}         // closed when none are owed; nil while nobody waits for that
	closed  bool                  // nobody sends any more: the node's lease ends who comes yet
}

// handOver lets a peer, whose socket is gone, have its grace.
func (n *Node) handOver(room, peer, secret string) {
	p := n.store.Partition(room)
	h := &n.handover
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.owed++
	waiting, busy := h.waiting[p]
	h.waiting[p] = append(waiting, store.Place{Room: room, Peer: peer, Conn: secret})
	if !busy {
		n.wg.Go(func() { n.sendHandovers(p) })
	}
}

// sendHandovers sends what waits in a partition until nothing does.
func (n *Node) sendHandovers(partition int) {
	h := &n.handover
	for wait := 50 * time.Millisecond; ; {
		h.mu.Lock()
		waiting := h.waiting[partition]
		if len(waiting) == 0 {
			delete(h.waiting, partition)
			h.mu.Unlock()
			return
		}
		batch := waiting[:min(len(waiting), handoverBatch)]
		h.mu.Unlock()
		done, err := n.sendHandover(partition, batch)
		if done > 0 {
			wait = 50 * time.Millisecond
			h.mu.Lock()
			h.waiting[partition] = h.waiting[partition][done:]
			h.settled(done)
			h.mu.Unlock()
			n.sweeper.note(partition, n.Limits().Grace)
			continue
		}
		if n.ctx.Err() == nil {
			n.log.Warn("peers are not handed over yet", "partition", partition, "peers", len(waiting), "error", err)
		}
		select {
		case <-n.ctx.Done():
			h.mu.Lock()
			h.settled(len(h.waiting[partition]))
			delete(h.waiting, partition) // their node's lease ends them
			h.mu.Unlock()
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// sendHandover hands a batch over and returns how many of it are done with. One that the store can't hand over, because of
// what it finds there, is given up rather than hold up the others.
func (n *Node) sendHandover(partition int, batch []store.Place) (done int, err error) {
	send := func(part []store.Place) error {
		ctx, cancel := context.WithTimeout(n.ctx, CallTimeout)
		defer cancel()
		return n.store.HandOver(ctx, partition, part)
	}
	if err = send(batch); err == nil {
		return len(batch), nil
	}
	for ; !away(err) && done < len(batch); done++ {
		p := batch[done]
		if err = send(batch[done : done+1]); away(err) {
			return done, err
		}
		if err != nil {
			n.log.Error("a peer can't be handed over", "room", p.Room, "peer", p.Peer, "error", err)
			err = nil
		}
	}
	return done, err
}

// Wait returns when the store knows of every socket that is gone, or ctx ends. Nothing may join meanwhile.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-n.handover.idle():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// idle returns a channel that is closed once none are owed.
func (h *handover) idle() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.none == nil {
		h.none = make(chan struct{})
	}
	none := h.none
	h.settled(0)
	return none
}

// settled takes note that so many are not owed any more. h.mu is held.
func (h *handover) settled(n int) {
	if h.owed -= n; h.owed == 0 && h.none != nil {
		close(h.none)
		h.none = nil
	}
}

// close makes who comes from here on be left to the node's lease: a socket may outlive the time that it was given.
func (h *handover) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}
