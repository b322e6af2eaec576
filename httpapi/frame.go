package httpapi

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/gobwas/ws"
)

// headRoom is the longest header of a server's frame: it isn't masked.
const headRoom = 10

// EncodeNotification makes the WebSocket frame of a JSON-RPC notification. It is what a Node is given as Options.Encode:
// every socket is sent the same bytes.
func EncodeNotification(method string, params func(dst []byte) []byte) []byte {
	space := spaces.Get().(*[]byte) //nolint:errcheck // there is nothing else in it
	b := append(append(append((*space)[:headRoom], `{"jsonrpc":"2.0","method":"`...), method...), `","params":`...)
	b = append(params(b), '}')
	frame := bytes.Clone(finishFrame(b)) // of the size that it has: one that grew as it was written would be up to twice as large
	if cap(b) <= keepSpace {
		*space = b
	}
	spaces.Put(space)
	return frame
}

// spaces are where frames are written before their size is known.
var spaces = sync.Pool{New: func() any { b := make([]byte, headRoom, 1<<10); return &b }}

// keepSpace is the largest space that is kept.
const keepSpace = 64 << 10

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
