package hearth

import (
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
