package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/pubsub"
)

// shelf is a log of 100 changes of one session that is read slowly.
type shelf struct {
	mu     sync.Mutex
	reads  []string
	failed error
}

func (s *shelf) at(seq uint64) hearth.Cursor {
	return hearth.Cursor{Epoch: "e", Seq: seq, Nonce: fmt.Sprint("n", seq)}
}

func (s *shelf) read(ctx context.Context, room string, from hearth.Cursor) ([]*pubsub.Message, error) {
	s.mu.Lock()
	s.reads = append(s.reads, fmt.Sprintf("%s after %d", room, from.Seq))
	s.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.failed != nil {
		return nil, s.failed
	}
	if from != s.at(from.Seq) || from.Seq < 10 || from.Seq > 100 {
		return nil, pubsub.ErrGone
	}
	var out []*pubsub.Message
	for seq := from.Seq + 1; seq <= 100; seq++ {
		out = append(out, &pubsub.Message{Cursor: s.at(seq)})
	}
	return out, nil
}

// readTogether runs a test in a bubble of time of its own.
func readTogether(t *testing.T, test func(t *testing.T, r *reads, s *shelf)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, s := &reads{}, &shelf{}
		r.init(t.Context(), s.read)
		test(t, r, s)
		synctest.Wait()
		if len(r.active)+len(r.next) > 0 {
			t.Errorf("kept: %v, %v", r.active, r.next)
		}
	})
}

// ask asks for what comes after a cursor, and has the answer checked.
func (r *reads) ask(t *testing.T, room string, from hearth.Cursor, want error) {
	t.Helper()
	got, err := r.missed(t.Context(), room, from)
	switch {
	case !errors.Is(err, want):
		t.Errorf("after %s: %v, not %v", from, err, want)
	case err == nil && uint64(len(got)) != 100-from.Seq || len(got) > 0 && got[0].Seq != from.Seq+1:
		t.Errorf("after %s: %d changes", from, len(got))
	}
}

// The first reads at once; all who come meanwhile read together, as far back as one of them needs, and each is given its own.
func TestLogsAreReadTogether(t *testing.T) {
	readTogether(t, func(t *testing.T, r *reads, s *shelf) {
		began := time.Now()
		done := make(chan struct{})
		ask := func(room string, from hearth.Cursor, want error) {
			go func() { // ends with the read
				r.ask(t, room, from, want)
				done <- struct{}{}
			}()
		}
		ask("r", s.at(50), nil)
		synctest.Wait()
		for _, seq := range []uint64{60, 40, 100, 50, 99} {
			ask("r", s.at(seq), nil)
		}
		ask("other", s.at(70), nil)
		ask("r", hearth.Cursor{Epoch: "f", Seq: 50, Nonce: "n50"}, pubsub.ErrGone) // another session: not among them
		synctest.Wait()
		for range 8 {
			<-done
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %s", took)
		}
		if got := fmt.Sprint(s.reads); len(s.reads) != 4 || s.reads[3] != "r after 40" {
			t.Errorf("read %s", got)
		}
		// What is read after it was asked for: not what was read before.
		ask("r", s.at(90), nil)
		<-done
		if len(s.reads) != 5 {
			t.Errorf("read %v", s.reads)
		}
	})
}

// A cursor that can't be followed spoils nothing for the others, one that is forged gets nothing, and a store that fails is
// not asked once more by each.
func TestReadTogetherWithABadCursor(t *testing.T) {
	readTogether(t, func(t *testing.T, r *reads, s *shelf) {
		done := make(chan struct{})
		all := func(cursors map[hearth.Cursor]error) {
			go r.missed(t.Context(), "r", s.at(100)) //nolint:errcheck // it only has the others wait for it
			synctest.Wait()
			for from, want := range cursors {
				go func() { // ends with the read
					r.ask(t, "r", from, want)
					done <- struct{}{}
				}()
			}
			for range cursors {
				<-done
			}
		}
		forged := s.at(60)
		forged.Nonce = "other"
		all(map[hearth.Cursor]error{s.at(50): nil, s.at(55): nil, forged: pubsub.ErrGone, s.at(101): pubsub.ErrGone})
		all(map[hearth.Cursor]error{s.at(5): pubsub.ErrGone, s.at(55): nil, s.at(60): nil})
		forged.Seq = 20
		all(map[hearth.Cursor]error{forged: pubsub.ErrGone, s.at(20): nil, s.at(60): nil})
		s.reads, s.failed = nil, context.DeadlineExceeded
		all(map[hearth.Cursor]error{s.at(50): s.failed, s.at(60): s.failed, s.at(70): s.failed})
		if len(s.reads) != 2 {
			t.Errorf("read %v", s.reads)
		}
	})
}

// Who gives up takes nothing from those who wait on.
func TestReadTogetherWithOneWhoGivesUp(t *testing.T) {
	readTogether(t, func(t *testing.T, r *reads, s *shelf) {
		done := make(chan struct{})
		go r.missed(t.Context(), "r", s.at(50)) //nolint:errcheck // it only has the others wait for it
		synctest.Wait()
		for range 3 {
			go func() { // ends with its time
				ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
				defer cancel()
				if _, err := r.missed(ctx, "r", s.at(60)); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				done <- struct{}{}
			}()
		}
		synctest.Wait()
		go func() { // ends with the read
			r.ask(t, "r", s.at(70), nil)
			done <- struct{}{}
		}()
		for range 4 {
			<-done
		}
		if len(s.reads) != 2 {
			t.Errorf("read %v", s.reads)
		}
		// If all of them do, nobody reads.
		go r.missed(t.Context(), "r", s.at(50)) //nolint:errcheck // it only has the others wait for it
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := r.missed(ctx, "r", s.at(60)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-time.After(time.Second)
		if len(s.reads) != 3 {
			t.Errorf("read %v", s.reads)
		}
	})
}
