package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// leastHeap is how large the heap of a node may grow before it is collected, however little of it is in use.
	leastHeap = 24 << 20
	// smallestHeap is how large Go lets a heap grow at least, for each 100 of GOGC.
	smallestHeap = 4 << 20
	// doubling is what Go takes for GOGC of its own accord: the heap is collected once it has doubled.
	doubling = 100
)

// heapFloor has a small heap collected less often than each time that it has doubled: under load that would be several times a
// second, for a few MiB. It sets anew after each collection what the next one waits for; a heap of which more is in use than half of
// the floor is collected as ever, and so is one that comes near GOMEMLIMIT.
type heapFloor struct {
	least   uint64
	samples []metrics.Sample

	mu      sync.Mutex
	percent int // what was set last
	stopped bool
}

// floorHeap keeps a floor under the heap until stop is called. Who sets GOGC has decided otherwise.
func floorHeap(least uint64) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	return newHeapFloor(least).stop
}

func newHeapFloor(least uint64) *heapFloor {
	f := &heapFloor{least: least, percent: doubling, samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}}
	f.collected()
	return f
}

// collected sets what the next collection waits for, and has itself called after that one.
func (f *heapFloor) collected() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	metrics.Read(f.samples)
	live := f.samples[0].Value.Uint64()
	f.set(floorPercent(f.least, live, live+f.samples[1].Value.Uint64()+f.samples[2].Value.Uint64()))
	// Nothing refers to what is given first, so the next collection finds it.
	runtime.AddCleanup(&struct{ *heapFloor }{f}, (*heapFloor).collected, f)
}

// floorPercent returns the GOGC by which a heap, of which that much is in use, is collected at the floor, or once it has doubled. It
// is a part of all that a collection looks through.
func floorPercent(least, live, scanned uint64) int {
	if live >= least || scanned == 0 {
		return doubling
	}
	return int(max(doubling, min((least-live)*100/scanned, least*100/smallestHeap)))
}

// set leaves a percentage as it is that is nearly right: to set one stops the program for a moment. f.mu is held.
func (f *heapFloor) set(percent int) {
	if off := percent - f.percent; off > f.percent/8 || off < -f.percent/8 {
		f.percent = percent
		debug.SetGCPercent(percent)
	}
}

func (f *heapFloor) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.set(doubling)
}
