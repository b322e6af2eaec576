// Package netsend writes to many sockets in one system call. On Linux, where the kernel lets it (io_uring), a batch of writes
// costs one entry into the kernel instead of one each, which is up to half of what a short write costs; elsewhere, and where it is
// forbidden, as in containers under Docker's default profile, they are made one by one. None of them waits for a socket.
//
// It knows nothing of what is written, and does not keep order between batches: who writes to a socket is its caller's to
// decide, one batch at a time.
package netsend

// Most is how many writes a batch has at most.
const Most = 64

// Batch is writes to sockets, one each, that are made together. It is used by one goroutine at a time.
type Batch struct {
	fds     [Most]int32
	texts   [Most][]byte
	results [Most]int32
	n       int
	ring    *ring // nil: one by one
}

// New returns an empty batch. Its writes are made together if that is asked for, and the system lets it. Close has to be called for
// it.
func New(together bool) *Batch {
	b := &Batch{}
	if together {
		b.ring = newRing()
	}
	return b
}

// Together reports whether the writes are made together.
func (b *Batch) Together() bool { return b.ring != nil }

// Len returns how many writes there are.
func (b *Batch) Len() int { return b.n }

// Add adds a write of what is not empty, and must not be changed until Do has returned. Neither may the socket be closed.
func (b *Batch) Add(fd int, text []byte) {
	b.fds[b.n], b.texts[b.n] = int32(fd), text
	b.n++
}

// Do makes the writes.
func (b *Batch) Do() {
	done := 0
	if b.n > 1 && b.ring != nil {
		publish()
		var ok bool
		if done, ok = b.ring.send(b.fds[:b.n], b.texts[:b.n], b.results[:b.n]); !ok {
			b.ring.close()
			b.ring = nil
		}
	}
	for i := done; i < b.n; i++ {
		b.results[i] = write(int(b.fds[i]), b.texts[i])
	}
}

// Result returns how much of the i-th text the kernel has taken, which may be nothing, or why it takes none any more.
func (b *Batch) Result(i int) (int, error) { return result(b.results[i]) }

// Reset empties the batch for the next one.
func (b *Batch) Reset() {
	clear(b.texts[:b.n])
	b.n = 0
}

// Close frees what the batch holds of the system.
func (b *Batch) Close() {
	if b.ring != nil {
		b.ring.close()
		b.ring = nil
	}
}
