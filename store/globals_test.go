package store

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/hearthstore/hearth"
)

// allowed are the globals that a server gives a script, as far as scripts may use them.
var allowed = []string{"redis", "KEYS", "ARGV", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs", "type", "unpack", "select", "next"}

// compiled returns what a script's text is compiled to.
func compiled(t *testing.T, name, text string) *lua.FunctionProto {
	t.Helper()
	chunk, err := parse.Parse(strings.NewReader(text), name)
	if err != nil {
		t.Fatal(err)
	}
	proto, err := lua.Compile(chunk, name)
	if err != nil {
		t.Fatal(err)
	}
	return proto
}

// globals returns the names of all that a function, or one in it, reads or writes that is no local of the script.
func globals(f *lua.FunctionProto) (out []string) {
	for _, code := range f.Code {
		if op := int(code >> 26); op == lua.OP_GETGLOBAL || op == lua.OP_SETGLOBAL {
			name := f.Constants[code&0x3ffff].String()
			if op == lua.OP_SETGLOBAL {
				name += " ="
			}
			out = append(out, name)
		}
	}
	for _, inner := range f.FunctionPrototypes {
		out = append(out, globals(inner)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A name that is defined nowhere, or in another branch, is a global: a script that meets it fails, and others never know.
func TestScriptsUseNothingThatIsNotDefined(t *testing.T) {
	for _, l := range []hearth.Limits{hearth.Limits{}.WithDefaults(), rated} {
		all, err := texts(l, true)
		if err != nil {
			t.Fatal(err)
		}
		for v, text := range all {
			for _, name := range globals(compiled(t, string(v), text)) {
				if !slices.Contains(allowed, name) {
					t.Errorf("%s uses %s, which is not defined there", v, name)
				}
			}
		}
	}
}

func TestGlobalsAreFound(t *testing.T) {
	text := "if ARGV[1] then\n local function inner() return lost end\n inner()\nend\nset = inner(redis)\n"
	if got := strings.Join(globals(compiled(t, "text", text)), ", "); got != "ARGV, inner, lost, redis, set =" {
		t.Errorf("globals are %s", got)
	}
}

var (
	commandCall = regexp.MustCompile(`redis\.p?call\('([A-Z]+)'`)
	granted     = regexp.MustCompile(`\+([a-z]+)`)
)

// The least that a user has to be permitted, as the documentation tells it, is all that scripts need.
func TestTheDocumentedPermissionsAreEnough(t *testing.T) {
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(string(doc), "\nuser hearth on ")
	if !found {
		t.Fatal("no ACL line")
	}
	line, _, _ = strings.Cut(line, "\n")
	may := map[string]bool{}
	for _, m := range granted.FindAllStringSubmatch(line, -1) {
		may[m[1]] = true
	}
	all, err := texts(rated, false)
	if err != nil {
		t.Fatal(err)
	}
	for v, text := range all {
		for _, m := range commandCall.FindAllStringSubmatch(text, -1) {
			if !may[strings.ToLower(m[1])] {
				t.Errorf("%s calls %s, which the ACL line does not permit", v, m[1])
			}
		}
	}
}

// What a closure costs a real server: it may have 60 names from outside, and a function 200 locals.
func TestScriptsStayWithinLuasBounds(t *testing.T) {
	all, err := texts(rated, true)
	if err != nil {
		t.Fatal(err)
	}
	var look func(v verb, f *lua.FunctionProto)
	look = func(v verb, f *lua.FunctionProto) {
		if f.NumUpvalues > 60 || f.NumUsedRegisters > 200 {
			t.Errorf("%s has a function with %d upvalues and %d registers", v, f.NumUpvalues, f.NumUsedRegisters)
		}
		for _, inner := range f.FunctionPrototypes {
			look(v, inner)
		}
	}
	for v, text := range all {
		look(v, compiled(t, string(v), text))
	}
}

// roomKeysOf returns the names of a room's keys and channel, by what scripts call them, as a script makes them.
func roomKeysOf(t *testing.T, k keyspace, rooms ...string) []map[string]string {
	t.Helper()
	var text strings.Builder
	text.WriteString(roomKeys.given + "local all = {S = S}\n")
	for name, made := range roomKeys.made {
		text.WriteString("all." + name + " = " + made + "\n")
	}
	text.WriteString("return all\n")
	vm := lua.NewState()
	defer vm.Close()
	fn, err := vm.LoadString(text.String())
	if err != nil {
		t.Fatal(err)
	}
	out := make([]map[string]string, len(rooms))
	for i, room := range rooms {
		keys := vm.NewTable()
		for _, key := range k.room(room) {
			keys.Append(lua.LString(key))
		}
		vm.SetGlobal("KEYS", keys)
		vm.Push(fn)
		if err := vm.PCall(0, 1, nil); err != nil {
			t.Fatal(err)
		}
		out[i] = map[string]string{}
		all := vm.Get(-1).(*lua.LTable) //nolint:errcheck // as the text has it
		all.ForEach(func(name, key lua.LValue) { out[i][name.String()] = key.String() })
		vm.Pop(1)
	}
	return out
}

// What Go and scripts call by the same name is the same.
func TestGoAndScriptsMakeTheSameKeys(t *testing.T) {
	k := newKeyspace("h_1-x", 4)
	rooms := append(hostile(), legal(200)...)
	for i, keys := range roomKeysOf(t, k, rooms...) {
		room, p := rooms[i], k.partitionOf(rooms[i])
		for name, want := range map[string]string{
			"S": k.state(room), "E": k.channel(room), "DUE": k.due(p), "ROOMS": k.rooms(p), "USERS": k.users(p), "SUMS": k.sums(p), "ENDED": k.ended(p),
		} {
			if keys[name] != want {
				t.Errorf("%s of the room %q is %q, and for Go %q", name, room, keys[name], want)
			}
		}
	}
}

// A branch's part is put into it, with the keys that it alone uses.
func TestABranchDefinesWhatItAloneNeeds(t *testing.T) {
	c := composer{keys: roomKeys}
	text, err := c.block("call(L) -- M\nif x then\n  -- include: _sums _grace\n  call(L, ENDED)\nend\n", map[string]bool{"L": false})
	if err != nil {
		t.Fatal(err)
	}
	head, branch, found := strings.Cut(text, "if x then\n")
	if !found || !strings.Contains(head, "local L = ") || !strings.Contains(head, "local ENDED = ") || strings.Contains(head, "SERVED") ||
		strings.Contains(text, "local M = ") || !strings.Contains(branch, "local SERVED = ") || strings.Contains(branch, "local L =") ||
		!regexp.MustCompile(`(?s)function forget.*function await.*call\(L, ENDED\)\nend\n$`).MatchString(branch) {
		t.Error(text)
	}
	if _, err := c.block("if x then\n  -- include: _no_such\nend\n", nil); err == nil {
		t.Error("no error")
	}
}
