package main

import (
	"net/http/httptest"
	"testing"

	"github.com/gobwas/ws"
)

// The loop over gobwas's low-level API is what Hearth's own is modelled on: it gets every case right.
func TestGobwasBadFrames(t *testing.T) {
	srv := httptest.NewServer(gobwasHandler(false)(new(hub)))
	defer srv.Close()
	for _, b := range badCases {
		t.Run(b.name, func(t *testing.T) {
			if got := b.play(srv.Listener.Addr().String()); got != b.want {
				t.Errorf("got %q, want %q", got, b.want)
			}
		})
	}
}

// The reason that sendable exists; if this fails, the library can be trusted with close codes again.
func TestGobwasMisjudgesCloseCodes(t *testing.T) {
	for code, valid := range map[ws.StatusCode]bool{1012: true, 1013: true, 1014: true, 5000: false, 65535: false} {
		if got := ws.CheckCloseFrameData(code, "") == nil; got == valid {
			t.Errorf("%d: ws.CheckCloseFrameData now says valid = %v", code, got)
		}
		if got := sendable(uint16(code)); got != valid {
			t.Errorf("sendable(%d) = %v, want %v", code, got, valid)
		}
	}
}

// A room's frames must reach the wire as the client expects them, whatever the library.
func TestOnWire(t *testing.T) {
	if got := gobwasFrame(notification).([]byte); string(got) != string(onWire) || len(notification) != 300 {
		t.Errorf("a notification of %d bytes is framed as %q", len(notification), got)
	}
}
