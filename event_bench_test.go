package hearth

import (
	"fmt"
	"strings"
	"testing"
)

// Texts of changes as scripts publish them, behind the hub's line.
var (
	benchMessage = "msg 1732358400000 ann c0ffee !\n\n" +
		`"peer":{"peer_id":"ann","role":"guest","groups":[],"info":{"name":"Ann","user_id":"u1"}},"message_id":"01JDF3","private":false,` +
		`"timestamp":1732358400000,"info":{"message":"` + strings.Repeat("x", 200) + `","type":"chat"}`
	benchEntry = `{"key":"deck","data":{"slide":3,"x":1.5},"change_version":7,"updated_by":"ann","updated_at":1732358400000}`
	benchMeta  = "meta 1732358400000 ann c0ffee *\n1\n" + fmt.Sprintf("%d deck\n", len(benchEntry)) + benchEntry
)

// BenchmarkParseEvent reads a published change, and writes the params of its notification.
func BenchmarkParseEvent(b *testing.B) {
	for name, text := range map[string]string{"message": benchMessage, "metadata": benchMeta} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				c, prev, rest, err := ParseCursorLine("42 nonce7 nonce6 epoch\n" + text)
				if err != nil {
					b.Fatal(err)
				}
				e, err := ParseEvent(c, prev, rest)
				if err != nil {
					b.Fatal(err)
				}
				dst = e.AppendParams(dst[:0], nil)
			}
		})
	}
}

// BenchmarkCompactJSON is what each value and message of a client goes through.
func BenchmarkCompactJSON(b *testing.B) {
	for name, text := range map[string]string{
		"compact": `{"slide":3,"x":1.5,"text":"` + strings.Repeat("x", 200) + `"}`,
		"spaced":  `{ "slide": 3, "x": 1.5, "text": "` + strings.Repeat("x", 200) + `" }`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := CompactJSON("message", []byte(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
