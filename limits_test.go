package hearth

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestLimitsThatContradict(t *testing.T) {
	for _, tt := range []struct {
		grace, lease time.Duration
		want         string // a part of the error; "" if they don't
	}{
		{0, 0, ""},
		{10 * time.Second, 14 * time.Second, ""},
		{10 * time.Second, 14*time.Second - 1, "HEARTH_NODE_LEASE must exceed HEARTH_GRACE (10s) by 4s"},
		{time.Minute, 0, ""}, // the lease follows
		{0, 13 * time.Second, "HEARTH_NODE_LEASE"},
		{time.Hour, 2 * time.Hour, ""},
		{time.Hour + 1, 2 * time.Hour, "HEARTH_GRACE must be at most 1h0m0s"},
		{-1, time.Minute, "HEARTH_GRACE must not be negative"},
		{time.Millisecond, time.Second, "HEARTH_NODE_LEASE"},
	} {
		l := Limits{Grace: tt.grace, NodeLease: tt.lease}.WithDefaults()
		switch err := l.Check(); {
		case err == nil && tt.want != "" || err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("grace %s, lease %s: %v", tt.grace, tt.lease, err)
		case err == nil && l.NodeLease-l.Grace < MinLeaseMargin:
			t.Errorf("grace %s, lease %s", l.Grace, l.NodeLease)
		}
	}
}

func TestRatesHaveBounds(t *testing.T) {
	for _, rate := range []float64{0, MinRate, 1, 0.5, MaxRate} {
		if err := (Limits{PeerRate: rate, RoomRate: rate, JoinRate: rate}).WithDefaults().Check(); err != nil {
			t.Errorf("%v: %v", rate, err)
		}
	}
	for _, rate := range []float64{-1, MinRate / 2, MaxRate + 1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		for name, l := range map[string]Limits{
			"HEARTH_PEER_RATE": {PeerRate: rate}, "HEARTH_ROOM_RATE": {RoomRate: rate}, "HEARTH_JOIN_RATE": {JoinRate: rate},
		} {
			if err := l.WithDefaults().Check(); err == nil || !strings.HasPrefix(err.Error(), name+" must be ") {
				t.Errorf("%v: %v", rate, err)
			}
		}
	}
	if err := (Limits{MaxUserPeers: -1}).WithDefaults().Check(); err == nil {
		t.Error("less than none")
	}
}

func TestSomeMayAlwaysComeAtOnce(t *testing.T) {
	for rate, want := range map[float64]int{MinRate: MinBurst, 1: MinBurst, MinBurst: MinBurst, 10.5: 11, 500: 500} {
		if got := Burst(rate); got != want {
			t.Errorf("%d under %v, not %d", got, rate, want)
		}
	}
}
