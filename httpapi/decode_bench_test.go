package httpapi

import (
	"strings"
	"testing"
)

// BenchmarkDecode finds out what a message of a client asks for.
func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string]string{
		"broadcast": `{"jsonrpc":"2.0","id":17,"method":"broadcast","params":{"info":{"type":"chat","message":{"x":"` + strings.Repeat("p", 240) + `"}}}}`,
		"set":       `{"jsonrpc":"2.0","id":17,"method":"set-metadata","params":{"key":"deck","data":{"x":"` + strings.Repeat("p", 240) + `"}}}`,
		"ping":      `{"jsonrpc":"2.0","id":17,"method":"ping","params":{}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			raw := []byte(text)
			for b.Loop() {
				if q, _, err := parseRequest(raw); err != nil || q.Method == "" {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncode makes the frame of a notification, which is done once a change and node.
func BenchmarkEncode(b *testing.B) {
	params := []byte(`{"seq":42,"n":"nonce7","info":{"message":"` + strings.Repeat("x", 240) + `","type":"chat"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if len(EncodeNotification("on-broadcast", func(dst []byte) []byte { return append(dst, params...) })) < len(params) {
			b.Fatal("cut")
		}
	}
}
