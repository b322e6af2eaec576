package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// barWidth is how long the bar of the fullest bucket is.
const barWidth = 40

// Print writes the result for a person: the histogram, then the table.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	r.printHead(&b)
	if main, ok := r.Latency[r.Main]; ok {
		fmt.Fprintf(&b, "\n%s\n\n", titles[r.Main])
		main.bars(&b)
		b.WriteByte('\n')
		r.printQuantiles(&b)
	}
	r.printCounts(&b)
	r.printCPU(&b)
	if len(r.Errors) > 0 {
		b.WriteString("\nerrors\n")
		for _, name := range slices.SortedFunc(maps.Keys(r.Errors), func(a, b string) int {
			return cmp.Or(cmp.Compare(r.Errors[b], r.Errors[a]), cmp.Compare(a, b))
		}) {
			fmt.Fprintf(&b, "  %-34s %14s\n", name, grouped(r.Errors[name]))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var titles = map[string]string{
	"heard":        "From when a message was due until a peer heard it:",
	"acknowledged": "From when a write was due until it was acknowledged:",
	"joined":       "From when a peer was due until it had joined, its connection included:",
}

func (r *Result) printHead(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s, %s of %s", r.Scenario, plural(len(r.Servers), "server"), plural(r.Rooms, "room"), plural(r.Peers, "peer"))
	switch {
	case r.Scenario == Idle:
	case r.Rate > 0:
		fmt.Fprintf(b, ", %s a second", strconv.FormatFloat(r.Rate, 'f', -1, 64))
	default:
		fmt.Fprintf(b, ", %d in flight", r.InFlight)
	}
	if r.Scenario != Idle && r.Scenario != Joins {
		fmt.Fprintf(b, ", %d bytes", r.Size)
	}
	fmt.Fprintf(b, "; %.1f s", r.Seconds)
	if r.Interrupted {
		b.WriteString(", interrupted")
	}
	b.WriteByte('\n')
}

// bars draws the buckets.
func (l *Latency) bars(b *strings.Builder) {
	most := int64(0)
	for _, k := range l.Buckets {
		most = max(most, k.Count)
	}
	from := 0.0
	for _, k := range l.Buckets {
		n := int(k.Count * barWidth * 2 / max(most, 1)) // in halves
		bar := strings.Repeat("█", n/2) + strings.Repeat("▌", n%2)
		if bar == "" && k.Count > 0 {
			bar = "▏"
		}
		line := fmt.Sprintf("  %8s – %-8s %6.2f%%  %s", short(from), short(k.UpTo), float64(k.Count)*100/float64(l.Count), bar)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		from = k.UpTo
	}
}

func (r *Result) printQuantiles(b *strings.Builder) {
	fmt.Fprintf(b, "%-14s %10s %10s %10s %10s %10s %14s\n", "", "p50", "p90", "p99", "p99.9", "max", "count")
	for k := range kinds {
		if l, ok := r.Latency[kindNames[k]]; ok {
			fmt.Fprintf(b, "%-14s %10s %10s %10s %10s %10s %14s\n", kindNames[k], short(l.P50), short(l.P90), short(l.P99), short(l.P999), short(l.Max), grouped(l.Count))
		}
	}
}

func (r *Result) printCounts(b *strings.Builder) {
	fmt.Fprintf(b, "\n%-36s %14s %14s\n", "", "count", "a second")
	row := func(name string, n int64, rate float64) {
		text := ""
		if rate > 0 {
			text = grouped(int64(rate + 0.5))
		}
		fmt.Fprintf(b, "%s\n", strings.TrimRight(fmt.Sprintf("%-36s %14s %14s", name, grouped(n), text), " "))
	}
	row("connections that stayed", r.Connections, 0)
	switch r.Scenario {
	case Joins:
		row("joins", r.Joins, r.JoinsPerS)
		row("leaves", r.Leaves, 0)
		row("joins and leaves told to others", r.Deliveries, r.DeliveriesPerS)
	case Idle:
	case Fanout, Rooms, Sets:
		row("sent", r.Sent, r.SentPerS)
		row("acknowledged", r.Acknowledged, r.AckedPerS)
		row("deliveries", r.Deliveries, r.DeliveriesPerS)
		row("lost", r.Lost, 0)
		if r.Missed > 0 {
			row("missed by sockets that had ended", r.Missed, 0)
		}
		if r.Repeated > 0 {
			row("told twice, or out of order", r.Repeated, 0)
		}
	}
	sum := int64(0)
	for _, n := range r.Errors {
		sum += n
	}
	row("errors", sum, 0)
	if r.LateMS >= 5 {
		fmt.Fprintf(b, "\nThe client itself was up to %s late: its machine was busy, and latencies are in part its own.\n", short(r.LateMS))
	}
}

// unit is what processor time is told by.
func (r *Result) unit() (name string, n float64) {
	switch {
	case r.Deliveries > 0 && r.Scenario != Joins && r.Scenario != Sets:
		return "a million deliveries", float64(r.Deliveries) / 1e6
	case r.Scenario == Joins:
		return "a million joins", float64(r.Joins) / 1e6
	case r.Scenario == Sets:
		return "a million writes", float64(r.Acknowledged) / 1e6
	}
	return "1,000 peers an hour", float64(r.Connections) / 1000 * r.Seconds / 3600
}

func (r *Result) printCPU(b *strings.Builder) {
	name, n := r.unit()
	fmt.Fprintf(b, "\n%-36s %14s %24s %14s\n", "", "CPU seconds", name, "memory")
	row := func(who string, s float64, memory string) {
		per := ""
		if n > 0 {
			per = fmt.Sprintf("%.2f", s/n)
		}
		fmt.Fprintf(b, "%s\n", strings.TrimRight(fmt.Sprintf("%-36s %14.2f %24s %14s", who, s, per, memory), " "))
	}
	if r.ClientCPU != nil {
		row("client", *r.ClientCPU, "")
	}
	if r.NodesCPU == nil {
		b.WriteString("nodes: unknown, since not all of them show their /metrics here\n")
		return
	}
	grown := int64(0)
	for i := range r.Nodes {
		node := &r.Nodes[i]
		grown += node.Grown
		row("node "+node.Node, node.CPU, fmt.Sprintf("%.1f MiB", float64(node.RSS)/(1<<20)))
	}
	if len(r.Nodes) > 1 {
		row("nodes", *r.NodesCPU, "")
	}
	if r.Scenario == Idle && r.Connections > 0 {
		fmt.Fprintf(b, "memory of the nodes grew by %.1f KiB a connection\n", float64(grown)/1024/float64(r.Connections))
	}
}

// short is a time in milliseconds as a person reads it.
func short(ms float64) string {
	switch {
	case ms == 0:
		return "0"
	case ms < 1:
		return trim(ms*1000) + " µs"
	case ms < 1000:
		return trim(ms) + " ms"
	}
	return trim(ms/1000) + " s"
}

// trim is a number by three digits.
func trim(f float64) string {
	prec := 2
	switch {
	case f >= 100:
		prec = 0
	case f >= 10:
		prec = 1
	}
	s := strconv.FormatFloat(f, 'f', prec, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// grouped is a number with its thousands apart.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
