package hearth

import "time"

// RoomSettings is what a room keeps beyond its sessions. Each of them holds until a time (epoch milliseconds; 0: it isn't
// set), and is forgotten then.
type RoomSettings struct {
	Shut      bool // no new peer may join; those who are in stay and may come back
	ShutUntil int64

	Linger      time.Duration // for how long a session survives without peers
	LingerUntil int64

	MaxPeers      int // below Limits.MaxPeers
	MaxPeersUntil int64
}

// Until returns when the room opens again if it is shut; else when the last of the settings is over, 0 if there is none.
func (s *RoomSettings) Until() int64 {
	if s.Shut {
		return s.ShutUntil
	}
	return max(s.LingerUntil, s.MaxPeersUntil)
}

// RoomChange changes a room's settings. What is nil keeps its value and its time; a zero value takes a setting away. What is
// set holds until Until. With Until alone, all that the room has holds until then.
type RoomChange struct {
	Shut     *bool
	Linger   *time.Duration
	MaxPeers *int
	Until    *int64 // epoch milliseconds; nil or 0: DefaultSettingTime from now
}

// Bounds of what a room keeps.
const (
	DefaultSettingTime = 24 * time.Hour
	MaxSettingTime     = 366 * 24 * time.Hour
	MaxLinger          = time.Hour
)

// Check returns an error if the change can't be made. Whether Until is over is for the store's clock to say.
func (c *RoomChange) Check(l Limits) error {
	switch {
	case c.Linger != nil && (*c.Linger < 0 || *c.Linger > MaxLinger):
		return BadParams("linger_ms must be 0–%d", MaxLinger.Milliseconds())
	case c.MaxPeers != nil && (*c.MaxPeers < 0 || *c.MaxPeers > l.MaxPeers):
		return BadParams("max_peers must be 1–%d, or null", l.MaxPeers)
	case c.Until != nil && *c.Until < 0:
		return BadParams("until must be epoch milliseconds")
	}
	return nil
}
