package node

import (
	"fmt"
	"testing"
)

// TestOwner: every node comes to the same choice whatever the order, the work is spread, and when a node goes only its
// own partitions move.
func TestOwner(t *testing.T) {
	const partitions = 1024
	nodes := []string{"a", "b", "c", "d"}
	count := map[string]int{}
	for p := range partitions {
		o := owner(p, nodes)
		count[o]++
		if other := owner(p, []string{"d", "b", "a", "c"}); other != o {
			t.Fatalf("partition %d is %s's and %s's", p, o, other)
		}
		if after := owner(p, []string{"a", "b", "d"}); o != "c" && after != o {
			t.Errorf("partition %d moved from %s to %s when c went", p, o, after)
		}
	}
	for _, n := range nodes {
		if count[n] < partitions/len(nodes)/2 {
			t.Errorf("%s has %d of %d partitions: %s", n, count[n], partitions, fmt.Sprint(count))
		}
	}
	if o := owner(0, nil); o != "" {
		t.Errorf("of no nodes %q is chosen", o)
	}
}
