package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// The percentage is that by which Go comes to the floor: what is in use, and that part of what a collection looks through.
func TestFloorPercent(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		what                 string
		least, live, scanned uint64
		want                 int
	}{
		{"before the first collection", 24 * mib, 0, 0, 100},
		{"nearly nothing: no more than makes the least heap the floor", 24 * mib, 1 * mib, 1 * mib, 600},
		{"a sixth", 24 * mib, 4 * mib, 5 * mib, 400},
		{"a third", 24 * mib, 8 * mib, 8 * mib, 200},
		{"half", 24 * mib, 12 * mib, 12 * mib, 100},
		{"more than half", 24 * mib, 13 * mib, 13 * mib, 100},
		{"more than the floor", 24 * mib, 100 * mib, 100 * mib, 100},
	} {
		if got := floorPercent(c.least, c.live, c.scanned); got != c.want {
			t.Errorf("%s: %d, not %d", c.what, got, c.want)
		}
	}
}

var held []byte //nolint:gochecknoglobals // what is in use in TestHeapFloor

// The next collection waits for the floor, or for twice what is in use if that is more, as that changes; and after stop for what Go has it wait
// for.
func TestHeapFloor(t *testing.T) {
	const floor = 256 << 20
	f := newHeapFloor(floor)
	defer func() { held = nil; f.stop() }()
	expect := func(when string, least, most uint64) {
		t.Helper()
		var goal uint64
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			runtime.GC() // after which it is set, soon
			if goal = heapGoal(); goal >= least && goal <= most {
				return
			}
		}
		t.Errorf("%s the next collection waits for %d MiB, not for %d to %d", when, goal>>20, least>>20, most>>20)
	}
	expect("with little in use", floor*7/8, floor*9/8)
	held = make([]byte, floor)
	expect("with as much in use", floor*15/8, floor*18/8)
	held = nil
	expect("with little in use again", floor*7/8, floor*9/8)
	f.stop()
	f.collected() // which may just have been about to begin
	expect("after stop", 0, floor/2)
}

// Who sets GOGC is left to it.
func TestHeapFloorLeavesGOGC(t *testing.T) {
	t.Setenv("GOGC", "70")
	defer debug.SetGCPercent(debug.SetGCPercent(70))
	stop := floorHeap(leastHeap)
	for range 3 {
		runtime.GC()
	}
	stop()
	if got := debug.SetGCPercent(70); got != 70 {
		t.Errorf("GOGC is %d", got)
	}
}

func heapGoal() uint64 {
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	return goal[0].Value.Uint64()
}
