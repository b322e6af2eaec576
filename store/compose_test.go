package store

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

// What nothing uses is left out, also in a branch; a name that another branch uses is another one.
func TestWhatNothingUsesIsLeftOut(t *testing.T) {
	text := prune(`local A = 1 -- lost
local function one() return 1 end -- lost
local function two()

  return 2
end
local function lost()
  return one(A)
end
if x then
  local function three()
    if x then
      local function lost() return 4 end
    end

    return two()
  end
  three()
end
if y then
  local function three() return 5 end
end
`)
	for _, name := range []string{"A", "one", "lost"} {
		if regexp.MustCompile(`(?m)^[^-\n]*\b` + name + `\b`).MatchString(text) {
			t.Errorf("%s is not left out:\n%s", name, text)
		}
	}
	if strings.Count(text, "function two") != 1 || strings.Count(text, "function three") != 1 || strings.Contains(text, "return 5") {
		t.Error(text)
	}
}

func TestOnlyFieldsThatAreUsedAreRead(t *testing.T) {
	got := stateFields("local state = redis.call('HMGET', S, state) -- state.x\nuse(state.seq, state.ep)\nstate.seq = 1\n")
	if want := "local state = redis.call('HMGET', S, 'ep', 'seq') -- state[0]\nuse(state[2], state[1])\nstate[2] = 1\n"; got != want {
		t.Errorf("%s", got)
	}
}

func TestAnIncludeHandsArgumentsOn(t *testing.T) {
	for line, want := range map[string]string{
		"  -- include: _commit('a', f(b))\n": "'lb', num(logbytes), 'a', f(b))\n  end\n",
		"  -- include: _commit()\n":          "'lb', num(logbytes))\n  end\n",
	} {
		c := composer{keys: roomKeys}
		text, err := c.block("if x then\n"+line+"end\n", map[string]bool{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "if x then\n  do\n  local DUE") || !strings.HasSuffix(text, want+"end\n") {
			t.Error(text)
		}
	}
	c := composer{keys: roomKeys}
	if _, err := c.block("if x then\n  -- include: _no_such()\nend\n", nil); err == nil {
		t.Error("no error")
	}
}

// What a part is handed is evaluated in it: a local of the part that comes before would stand in for one of the script.
func TestPartsTakeWhatTheyAreHandedFirst(t *testing.T) {
	handedTo := map[string]bool{}
	files, err := luaFiles.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := source(strings.TrimSuffix(file.Name(), ".lua"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if parts, _, call := included(line); call {
				handedTo[parts[0]] = true
			}
		}
	}
	if len(handedTo) < 5 {
		t.Fatalf("parts that are handed something are %v", handedTo)
	}
	for part := range handedTo {
		text, err := source(part)
		if err != nil {
			t.Fatal(err)
		}
		head, _, found := strings.Cut(text, "...")
		lines := strings.Split(head, "\n")
		if !found || slices.ContainsFunc(lines[:len(lines)-1], func(line string) bool { return strings.HasPrefix(line, "local ") }) {
			t.Errorf("%s has locals before it takes what it is handed", part)
		}
	}
}

// A function costs a script more than what it does, if it does that once: what each run of these does is in no function.
func TestHotScriptsDefineNoFunctionsThatShareNames(t *testing.T) {
	all, err := composed(hearth.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for v, most := range map[verb]int{verbBroadcast: 0, verbRenew: 1, verbSet: 2, verbGet: 0} {
		text := strings.Join(all[v], "")
		if n := strings.Count(text, "\nlocal function "); n > most {
			t.Errorf("%s defines %d functions", v, n)
		}
	}
}
