package httpapi

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
)

// What the contract says each reason becomes: over HTTP, over JSON-RPC, and of a write where that differs.
var contract = map[hearth.Reason][]int{
	"not_json":         {400, -32700},
	"bad_request":      {400, -32600},
	"no_such_method":   {400, -32601},
	"bad_params":       {400, -32602},
	"unauthenticated":  {401, 401},
	"forbidden":        {403, 403},
	"not_found":        {404, 404},
	"no_session":       {404, 404, 409, 409},
	"not_member":       {409, 409},
	"peer_exists":      {409, 409},
	"lock_held":        {409, 409},
	"lock_lost":        {409, 409},
	"session_ended":    {410, 410},
	"room_closed":      {410, 410},
	"version_conflict": {412, 412},
	"too_large":        {413, 413},
	"too_many":         {413, 413},
	"rate_limited":     {429, 429},
	"unavailable":      {503, 503},
	"outcome_unknown":  {504, 424},
	"internal":         {500, -32603},
}

func TestErrorTable(t *testing.T) {
	found := reasons(t)
	for _, r := range found {
		want, ok := contract[r]
		if !ok {
			t.Errorf("%s is not in the contract's table", r)
			continue
		}
		if _, ok := statuses[r]; !ok && r != hearth.ReasonInternal {
			t.Errorf("%s has no row", r)
		}
		for _, write := range []bool{false, true} {
			if write && len(want) == 4 {
				want = want[2:]
			}
			if got := codes(hearth.Errorf(r, "x"), write); got != (status{want[0], want[1]}) {
				t.Errorf("%s (write %v) is %v, not %v", r, write, got, want)
			}
		}
	}
	if len(found) != len(contract) || len(statuses) != len(contract)-1 {
		t.Errorf("%d reasons, %d rows, %d in the contract", len(found), len(statuses), len(contract))
	}
}

// reasons returns every Reason that package hearth declares.
func reasons(t *testing.T) (out []hearth.Reason) {
	t.Helper()
	src, err := os.ReadFile("../error.go")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(gotoken.NewFileSet(), "error.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is not a literal", spec.Names[0].Name)
		}
		s, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, hearth.Reason(s))
		return true
	})
	return out
}

func TestStatusTexts(t *testing.T) {
	for r, s := range statuses {
		if http.StatusText(s.http) == "" {
			t.Errorf("%s: %d has no title", r, s.http)
		}
	}
}

func TestUnavailableAndUnknownOverJSONRPC(t *testing.T) {
	e := &hearth.Error{Reason: hearth.ReasonUnavailable, Detail: "d", RetryAfter: 1500e6}
	has(t, "unavailable", string(rpcError(nil, e, true)), "code", "503", "data.reason", "unavailable", "data.retry_after_ms", "1500")
	e = &hearth.Error{Reason: hearth.ReasonOutcomeUnknown, Detail: `a "quoted" one`}
	has(t, "unknown", string(rpcError(nil, e, true)), "code", "424", "message", `a "quoted" one`, "data.retry_after_ms", absent)
}

// When a rate lets the next call through is known, and was spread below where it has to be.
func TestARatesTimeIsToldAsItIs(t *testing.T) {
	for range 20 {
		if e := spread(&hearth.Error{Reason: hearth.ReasonRateLimited, RetryAfter: time.Second}); e.RetryAfter != time.Second {
			t.Fatalf("told %v", e.RetryAfter)
		}
	}
}

// A body and its header name one time: rounded up, each in its unit.
func TestRetryAfterRoundsUp(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		1:                               {"1", "1"},
		time.Millisecond:                {"1", "1"},
		time.Second - 1:                 {"1000", "1"},
		time.Second:                     {"1000", "1"},
		time.Second + 1:                 {"1001", "2"},
		1500*time.Millisecond + 1:       {"1501", "2"},
		2*time.Second - time.Nanosecond: {"2000", "2"},
	} {
		e := &hearth.Error{Reason: hearth.ReasonUnavailable, RetryAfter: d}
		if got := string(extras(nil, e)); got != `,"retry_after_ms":`+want[0] {
			t.Errorf("%v: %s, not %s", d, got, want[0])
		}
		if got := retryAfter(e); got != want[1] {
			t.Errorf("%v: Retry-After %s, not %s", d, got, want[1])
		}
	}
}
