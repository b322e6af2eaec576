package archtest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// anything lifts a restriction of a row.
const anything = "*"

// row is what the non-test files of one package may import beside the standard
// library.
type row struct {
	module   []string // packages of this module, by directory
	others   []string // other modules or parts of them, by import path
	testOnly bool     // no part of the product: only tests import it
}

// directions is the plan of the house: who may know whom. A new package is given
// its place here, or the test fails.
var directions = map[string]row{
	// The glossary: whoever reads it needs nothing else.
	".": {module: []string{"internal/jsonscan"}},
	// Knows what a JSON text is, and not what it says.
	"internal/jsonscan": {},
	"internal/warm":     {},
	"internal/fiber":    {module: []string{"internal/warm"}},
	"internal/rawio":    {},
	// Keys and scripts, and nothing else.
	"store": {module: []string{".", "internal/fiber", "internal/netpoll", "internal/redispipe"}, others: []string{"github.com/redis/go-redis/v9", "github.com/cespare/xxhash/v2"}},
	// Carries bytes and seq and knows no domain.
	// Of the module it needs the glossary alone: a position in a log is hearth.Cursor.
	"pubsub": {module: []string{".", "internal/fiber", "internal/netpoll", "internal/redispipe", "internal/warm"}, others: []string{"github.com/redis/go-redis/v9"}},
	"auth":   {module: []string{".", "internal/jsonscan"}, others: []string{anything}},
	// The public keys of other minters, read from where they are.
	"internal/jwks": {module: []string{"auth"}, others: []string{"github.com/MicahParks/jwkset", "github.com/golang-jwt/jwt/v5"}},
	// The verbs, written once below the transports. It brings store and pubsub
	// together, which never import each other.
	"node": {module: []string{".", "store", "pubsub", "auth", "internal/fiber", "internal/netpoll"}, others: []string{anything}},
	// A transport decodes, calls node and encodes.
	"httpapi": {module: []string{".", "node", "auth", "internal/fiber", "internal/netpoll", "internal/netsend", "internal/jsonscan", "internal/warm"}, others: []string{anything}},
	// Knows sockets, and nothing of what they carry.
	"internal/netpoll": {module: []string{"internal/fiber", "internal/rawio"}},
	"internal/netsend": {module: []string{"internal/rawio"}},
	// A connection that many share; what goes over it is its callers'.
	"internal/redispipe": {module: []string{"internal/fiber", "internal/netpoll"}, others: []string{"github.com/redis/go-redis/v9"}},
	// Connects with what HEARTH_REDIS names.
	"internal/redisurl": {module: []string{"internal/rawio"}, others: []string{"github.com/redis/go-redis/v9"}},
	"internal/devredis": {others: []string{"github.com/alicebob/miniredis/v2"}},
	// What the command line knows of a server is what the wire says.
	"internal/rest":   {module: []string{"."}},
	"internal/doctor": {module: []string{".", "internal/rest"}, others: []string{anything}},
	"internal/bench":  {module: []string{"."}, others: []string{"github.com/gobwas/ws", "github.com/HdrHistogram/hdrhistogram-go"}},
	// Wires all of it.
	"cmd/hearth": {module: []string{anything}, others: []string{anything}},
	// A client of a running cluster: only the wire may connect it with the rest.
	"deploy/composetest": {others: []string{anything}},

	"store/storetest":    {module: []string{".", "store", "internal/netpoll", "internal/redistest"}, others: []string{anything}, testOnly: true},
	"internal/redistest": {module: []string{"internal/netpoll"}, others: []string{anything}, testOnly: true},
	"internal/archtest":  {testOnly: true},
	"internal/testlog":   {testOnly: true},
	"internal/tcptest":   {others: []string{"golang.org/x/sys/unix"}, testOnly: true},
	"internal/check":     {testOnly: true},
	"internal/faults":    {testOnly: true},
	"internal/perf":      {testOnly: true},
	// What a test's client knows of a server is what the wire says.
	"internal/wire": {module: []string{"."}, others: []string{"github.com/gobwas/ws"}, testOnly: true},
}

// keepers are the packages that alone may import something, so that to replace
// it is one package's work. Nobody else's row can allow it.
var keepers = map[string][]string{
	"github.com/labstack": {"httpapi"},
	// The cluster's smoke test, the doctor and the load tool are the other end of the wire.
	"github.com/gobwas":             {"httpapi", "deploy/composetest", "internal/doctor", "internal/bench", "internal/wire"},
	"github.com/alicebob/miniredis": {"internal/devredis", "internal/redistest", "store/storetest"},
	"go.uber.org/goleak":            {"internal/redistest", "store/storetest"},
	"github.com/google/go-cmp":      {"internal/redistest", "store/storetest"},
	"testing":                       {"internal/redistest", "internal/tcptest", "store/storetest"},
	// Reads openapi.yaml and holds answers against it, in tests; the server only hands the file out.
	"github.com/getkin": nil,
}

func TestImportDirections(t *testing.T) {
	report(t, checkDirections(loadHere(t), directions, keepers))
}

func checkDirections(all packages, table map[string]row, keepers map[string][]string) []string {
	var breaches []string
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		r, ok := table[dir]
		if !ok {
			breaches = append(breaches, fmt.Sprintf("%s: a package without a row in internal/archtest's table of directions", dir))
			continue
		}
		for _, s := range all[dir] {
			if s.isTest() {
				continue
			}
			for _, imported := range s.imports {
				if why := r.objection(dir, imported, table, keepers); why != "" {
					breaches = append(breaches, fmt.Sprintf("%s imports %s: %s", s.path, imported, why))
				}
			}
		}
	}
	return breaches
}

// objection tells why the package in dir may not import something; it is empty
// if it may.
func (r row) objection(dir, imported string, table map[string]row, keepers map[string][]string) string {
	for kept, by := range keepers {
		switch {
		case !within(imported, kept) || slices.Contains(by, dir):
		case by == nil:
			return "only tests may"
		default:
			return "only " + strings.Join(by, ", ") + " may"
		}
	}
	if within(imported, module) {
		target := strings.TrimPrefix(path.Clean("./"+strings.TrimPrefix(imported, module)), "/")
		if target == "" {
			target = "."
		}
		switch {
		case table[target].testOnly && !r.testOnly:
			return "that is for tests only"
		case !slices.Contains(r.module, target) && !slices.Contains(r.module, anything):
			return "the table of directions does not allow it"
		}
		return ""
	}
	if host, _, _ := strings.Cut(imported, "/"); !strings.Contains(host, ".") {
		return "" // the standard library
	}
	for _, other := range r.others {
		if other == anything || within(imported, other) {
			return ""
		}
	}
	return "the table of directions allows no such module there"
}

// within reports whether an import path is that of tree or of something in it.
func within(imported, tree string) bool {
	return imported == tree || strings.HasPrefix(imported, tree+"/")
}

func TestDirectionsAreHeld(t *testing.T) {
	table := map[string]row{
		".":         {},
		"low":       {module: []string{"."}, others: []string{"example.org/db"}},
		"high":      {module: []string{".", "low"}, others: []string{anything}},
		"cmd/all":   {module: []string{anything}, others: []string{anything}},
		"low/check": {module: []string{"low"}, testOnly: true},
		"not/yet":   {},
	}
	kept := map[string][]string{"example.org/web": {"high"}, "testing": {"low/check"}, "example.org/tool": nil}
	const m = module
	for name, tt := range map[string]struct {
		file, src string
		want      []string
	}{
		"downwards":                     {"high/a.go", `import ("fmt"; "` + m + `"; "` + m + `/low"; "example.org/web/sub")`, nil},
		"upwards":                       {"low/a.go", `import "` + m + `/high"`, []string{"does not allow it"}},
		"to a package not yet there":    {"low/a.go", "import \"" + m + "/not/yet\"", []string{"does not allow it"}},
		"the root imports its own":      {"a.go", `import "` + m + `/low"`, []string{"does not allow it"}},
		"the root imports a module":     {"a.go", `import "example.org/db"`, []string{"no such module"}},
		"part of an allowed module":     {"low/a.go", `import "example.org/db/sub"`, nil},
		"a module with a like name":     {"low/a.go", `import "example.org/dbx"`, []string{"no such module"}},
		"another's keep":                {"low/a.go", `import "example.org/web"`, []string{"only high may"}},
		"another's keep, from the top":  {"cmd/all/a.go", `import "example.org/web"`, []string{"only high may"}},
		"everything from the top":       {"cmd/all/a.go", `import ("` + m + `/low"; "` + m + `/high"; "example.org/x")`, nil},
		"a test package in the product": {"cmd/all/a.go", `import "` + m + `/low/check"`, []string{"for tests only"}},
		"testing in the product":        {"cmd/all/a.go", `import "testing"`, []string{"only low/check may"}},
		"testing in a test package":     {"low/check/a.go", `import "testing"`, nil},
		"a tool of tests":               {"high/a.go", `import "example.org/tool/sub"`, []string{"only tests may"}},
		"a test may":                    {"low/a_test.go", `import ("testing"; "` + m + `/high"; "example.org/web"; "example.org/tool")`, nil},
		"a package without a row":       {"new/a.go", "", []string{"new: a package without a row"}},
		"a module of its own":           {"other/a.go", `import "` + m + `/high"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := load(fstest.MapFS{
				tt.file:        {Data: []byte("//go:build sometimes\n\npackage p\n" + tt.src)},
				"other/go.mod": {Data: []byte("module other")},
			})
			if err != nil {
				t.Fatal(err)
			}
			objects(t, checkDirections(all, table, kept), tt.want...)
		})
	}
}
