package redistest

import (
	"os"
	"strings"
	"testing"
)

// LeastUser gives a server the user that a document tells operators to make, and returns its name and password. The document
// has it as an ACL line, for the prefix hearth.
func LeastUser(tb testing.TB, s *Server, document string) (name, password string) {
	tb.Helper()
	text, err := os.ReadFile(document) //nolint:gosec // the test's own
	if err != nil {
		tb.Fatal(err)
	}
	_, line, found := strings.Cut(string(text), "\nuser ")
	line, _, _ = strings.Cut(line, "\n")
	rules := strings.Fields(line)
	if !found || len(rules) < 3 {
		tb.Fatalf("redistest: no ACL line in %s", document)
	}
	args := []any{"ACL", "SETUSER"}
	for _, rule := range rules {
		args = append(args, rule)
		if p, ok := strings.CutPrefix(rule, ">"); ok {
			password = p
		}
	}
	if err := s.Client(tb).Do(tb.Context(), args...).Err(); err != nil {
		tb.Fatalf("redistest: the ACL line in %s: %v", document, err)
	}
	return rules[0], password
}
