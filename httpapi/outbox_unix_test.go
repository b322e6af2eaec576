//go:build unix

package httpapi

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/internal/tcptest"
	"github.com/hearthstore/hearth/node"
)

// A frame for who reads is written by whoever sends it: nothing is queued, copied or allocated.
func TestSentAtOnce(t *testing.T) {
	ours, theirs := tcptest.Pair(t)
	o := &outbox{}
	o.init(bare{ours}, testSender, new(atomic.Int64))
	frame := bytes.Repeat([]byte("x"), 300)
	got := make([]byte, len(frame))
	n := testing.AllocsPerRun(100, func() {
		o.Send(frame)
		if o.state != resting || len(o.frames) > 0 || o.queued > 0 {
			t.Fatal("it is queued")
		}
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, frame) {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("a delivery allocates %v times", n)
	}
	o.Close(node.CloseNormal, "left")
	rest, err := io.ReadAll(theirs)
	if err != nil || len(rest) < 4 || rest[0] != 0x80|byte(ws.OpClose) {
		t.Errorf("ends with %q %v", rest, err)
	}
}

// What the kernel doesn't take waits, in order, and what has been begun is finished, also if what follows it is dropped.
func TestNotTaken(t *testing.T) {
	for _, slow := range []bool{false, true} {
		ours, theirs := tcptest.Pair(t)
		o := &outbox{}
		o.init(bare{ours}, testSender, new(atomic.Int64))
		frame := func(i int) []byte { return append(bytes.Repeat([]byte{byte('a' + i%26)}, 10<<10-1), '\n') }
		send := func(i int) { // one of two is held first, and goes with the other
			if i%2 == 0 {
				o.cork()
				o.Echo(frame(i))
			} else {
				o.Send(frame(i))
				o.uncork()
			}
		}
		sent := 0
		waits := func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.state == writing
		}
		for ; !waits() || sent%2 > 0; sent++ {
			send(sent)
		}
		if slow {
			for o.open() {
				o.Send(frame(sent))
			}
		} else {
			for range 20 {
				send(sent)
				sent++
			}
		}
		o.Close(node.CloseNormal, "left")
		all, err := io.ReadAll(theirs)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(all, []byte{'\n'})
		last := lines[len(lines)-1]
		lines = lines[:len(lines)-1]
		if len(last) < 4 || last[0] != 0x80|byte(ws.OpClose) {
			t.Fatalf("slow %v: what comes last is no close frame: %.20q", slow, last)
		}
		// Who is too slow is sent what has been begun: of the last two, which went together, perhaps only the first.
		if !slow && len(lines) != sent || len(lines) < sent-1 {
			t.Errorf("slow %v: %d of %d arrive", slow, len(lines), sent)
		}
		for i, line := range lines[:min(sent, len(lines))] {
			if !bytes.Equal(line, frame(i)) {
				t.Fatalf("slow %v: frame %d is %.20q, %d bytes", slow, i, line, len(line))
			}
		}
	}
}
