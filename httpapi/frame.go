package httpapi

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// headRoom is the longest header of a server's frame: it isn't masked.
const headRoom = 10

// EncodeNotification makes the WebSocket frame of a JSON-RPC notification. It is what a Node is given as Options.Encode:
// every socket is sent the same bytes.
func EncodeNotification(method string, params func(dst []byte) []byte) []byte {
	b := make([]byte, headRoom, 512)
	b = append(append(append(b, `{"jsonrpc":"2.0","method":"`...), method...), `","params":`...)
	return finishFrame(append(params(b), '}'))
}

// textFrame starts a frame: what is appended to it is its payload, until finishFrame.
func textFrame() []byte { return make([]byte, headRoom, 256) }

// finishFrame puts the header of an unmasked, unfragmented text frame right before the payload, which begins at headRoom,
// and returns the frame.
func finishFrame(b []byte) []byte {
	n := len(b) - headRoom
	start := headRoom
	switch {
	case n < 126:
		start -= 2
		b[start+1] = byte(n)
	case n < 1<<16:
		start -= 4
		b[start+1] = 126
		binary.BigEndian.PutUint16(b[start+2:], uint16(n))
	default:
		start -= 10
		b[start+1] = 127
		binary.BigEndian.PutUint64(b[start+2:], uint64(n))
	}
	b[start] = 0x80 | byte(ws.OpText)
	return b[start:]
}
