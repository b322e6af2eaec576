package pubsub

import (
	"context"
	"log/slog"
	"strconv"
	"testing"

	"github.com/hearthstore/hearth"
)

// deaf counts and keeps nothing.
type deaf struct{ n int }

func (d *deaf) Deliver(*Message) { d.n++ }
func (d *deaf) Lost()            { d.n = -1 << 40 }

// BenchmarkFanOut hands one change to 500 subscribers of a room, from its published text on.
func BenchmarkFanOut(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	h := newHub(ctx, cancel, Options{Decode: decode, Log: slog.New(slog.DiscardHandler)})
	r := &room{hub: h, name: "r", channel: "r", slot: h.slotOf("r"), state: subscribed}
	ears := make([]deaf, 500)
	for i := range ears {
		s := &Subscription{room: r, to: &ears[i]}
		r.add(s)
		s.Activate(hearth.Cursor{Epoch: "A"})
	}
	texts := make([]string, b.N)
	prev := ""
	for i := range texts {
		c := hearth.Cursor{Epoch: "A", Seq: uint64(i) + 1, Nonce: strconv.Itoa(i)}
		texts[i] = format(c, prev, "msg 1732358400000 peer conn *\n\n\"data\":{}")
		prev = c.Nonce
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, text := range texts {
		r.hear(text)
	}
	b.StopTimer()
	for i := range ears {
		if ears[i].n != b.N {
			b.Fatalf("subscriber %d heard %d of %d", i, ears[i].n, b.N)
		}
	}
}
