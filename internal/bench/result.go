package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what came of a run. Times are in milliseconds, rates by the second.
type Result struct {
	Scenario    Scenario `json:"scenario"`
	Servers     []string `json:"servers"`
	Rooms       int      `json:"rooms"`
	Peers       int      `json:"peers"`
	Rate        float64  `json:"rate"`
	InFlight    int      `json:"in_flight"`
	Size        int      `json:"size"`
	Connections int64    `json:"connections"`
	Seconds     float64  `json:"seconds"`
	Interrupted bool     `json:"interrupted"`

	Sent         int64 `json:"sent"`
	Acknowledged int64 `json:"acknowledged"`
	Deliveries   int64 `json:"deliveries"`
	Joins        int64 `json:"joins"`
	Leaves       int64 `json:"leaves"`
	// Lost is acknowledged messages that a peer has not heard, whose socket was open all the time; Missed by those whose
	// socket was not. Repeated came twice, or behind one that is newer.
	Lost     int64            `json:"lost"`
	Missed   int64            `json:"missed"`
	Repeated int64            `json:"repeated"`
	Errors   map[string]int64 `json:"errors"`

	SentPerS       float64 `json:"sent_per_s"`
	AckedPerS      float64 `json:"acknowledged_per_s"`
	DeliveriesPerS float64 `json:"deliveries_per_s"`
	JoinsPerS      float64 `json:"joins_per_s"`
	// LateMS is how much later than it was due the client began something, at most: the client's own share in latencies.
	LateMS float64 `json:"client_late_ms"`

	// Main names the latency that the scenario is about.
	Main    string             `json:"main"`
	Latency map[string]Latency `json:"latency_ms"`

	ClientCPU *float64 `json:"client_cpu_s,omitempty"`
	Nodes     []Node   `json:"nodes,omitempty"` // if all of them showed their metrics
	NodesCPU  *float64 `json:"nodes_cpu_s,omitempty"`
}

// Latency is how long something took.
type Latency struct {
	Count   int64    `json:"count"`
	Mean    float64  `json:"mean"`
	P50     float64  `json:"p50"`
	P90     float64  `json:"p90"`
	P99     float64  `json:"p99"`
	P999    float64  `json:"p99_9"`
	Max     float64  `json:"max"`
	Buckets []Bucket `json:"buckets"`
}

// Bucket is how many took longer than the bucket before it says, and no longer than UpTo.
type Bucket struct {
	UpTo  float64 `json:"up_to"`
	Count int64   `json:"count"`
}

var mains = map[Scenario]kind{Fanout: heard, Rooms: heard, Joins: joined, Sets: acked, Idle: joined}

// Failed reports whether messages were lost, missed or told twice, or nothing worked at all.
func (r *Result) Failed() bool {
	return r.Lost > 0 || r.Missed > 0 || r.Repeated > 0 || r.Sent > 0 && r.Acknowledged+r.Joins == 0
}

func (r *Result) fill(of *run, p *phase, n *nodes) {
	o := &of.o
	r.Scenario, r.Servers, r.Rooms, r.Peers, r.Rate, r.InFlight, r.Size = o.Scenario, o.Servers, o.Rooms, o.Peers, o.Rate, o.InFlight, o.Size
	for _, rm := range of.rooms {
		r.Connections += int64(len(rm.members()))
	}
	r.Seconds = p.took.Seconds()
	r.Sent, r.Acknowledged, r.Deliveries, r.Joins, r.Leaves = p.sent.Load(), p.acked.Load(), p.heard.Load(), p.joins.Load(), p.leaves.Load()
	if s := r.Seconds; s > 0 {
		r.SentPerS, r.AckedPerS = float64(r.Sent)/s, float64(r.Acknowledged)/s
		r.DeliveriesPerS, r.JoinsPerS = float64(r.Deliveries)/s, float64(r.Joins)/s
	}
	r.LateMS = float64(p.late.Load()) / float64(time.Millisecond)
	r.Main, r.Latency = kindNames[mains[o.Scenario]], map[string]Latency{}
	for k := range kinds {
		if h := p.of(k); h.TotalCount() > 0 {
			r.Latency[kindNames[k]] = latencyOf(h)
		}
	}
	if list, ok := n.used(); ok {
		sum := 0.0
		for i := range list {
			sum += list[i].CPU
		}
		r.Nodes, r.NodesCPU = list, &sum
	}
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	l := Latency{
		Count: h.TotalCount(), Mean: h.Mean() / 1000, P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)),
		P99: ms(h.ValueAtQuantile(99)), P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()),
	}
	at := int64(1)
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		for ; at < bar.From; at = nextEdge(at) {
			if len(l.Buckets) > 0 && l.Buckets[len(l.Buckets)-1].UpTo < ms(at) { // an empty one between others
				l.Buckets = append(l.Buckets, Bucket{UpTo: ms(at)})
			}
		}
		if last := len(l.Buckets) - 1; last >= 0 && l.Buckets[last].UpTo == ms(at) {
			l.Buckets[last].Count += bar.Count
			continue
		}
		l.Buckets = append(l.Buckets, Bucket{ms(at), bar.Count})
	}
	return l
}

// nextEdge is the bucket's edge after one: they are 1, 2, 5, 10 … microseconds.
func nextEdge(at int64) int64 {
	for f := at; ; f /= 10 {
		switch f {
		case 2:
			return at / 2 * 5
		case 1, 5:
			return at * 2
		}
	}
}
