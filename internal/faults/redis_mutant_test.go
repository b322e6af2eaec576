package faults

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// overlaid returns a list for -overlay of one file in which something is another way. The file itself stays as it is.
func overlaid(tb testing.TB, file, old, changed string) (list string) {
	tb.Helper()
	file = filepath.Join(sources(tb), file)
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if strings.Count(string(text), old) != 1 {
		tb.Fatalf("%s does not have %q once: say what is to be switched off now", file, old)
	}
	dir := tb.TempDir()
	other := filepath.Join(dir, "mutant"+filepath.Ext(file))
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), old, changed, 1)), 0o600); err != nil {
		tb.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: other}})
	if err != nil {
		tb.Fatal(err)
	}
	list = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		tb.Fatal(err)
	}
	return list
}

func sources(tb testing.TB) (root string) {
	tb.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// mutated builds the product with such a file.
func mutated(tb testing.TB, file, old, changed string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "hearth")
	build := exec.CommandContext(tb.Context(), "go", "build", "-overlay", overlaid(tb, file, old, changed), "-o", path,
		"github.com/hearthstore/hearth/cmd/hearth")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build a mutant: %v: %s", err, out)
	}
	return path
}
