package store

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hearthstore/hearth"
)

// A script's text is put together from files. A line "-- include: a b" is replaced by the files of those names, in that
// order. In the first line of a verb it gives the verb what it always needs. Inside a branch it gives the branch what that
// alone needs: a script pays for each function that it defines, every time it runs, so what most runs don't need is defined
// only where it is needed.
//
// A line "-- include: a(x, y)" looks like a call and is replaced by what the file a says, with x, y in the place of "..." and
// in a block of its own. So what happens once in a run has one text for all scripts and is no function: one that shares ten
// names with its script costs as much as a command.
//
// The names of keys that a text uses are defined before it, those that only a branch uses in the branch: see keyNames. What
// of all that nothing uses in the end is left out: see prune. Limits are put in as the numbers that they are, and of the
// session's state a script reads the fields that it names: see stateFields. A part that only a limit needs which may be off is
// left out while that is off: see optional.

const includes = "-- include: "

var (
	comment  = regexp.MustCompile(`--[^\n]*`)
	word     = regexp.MustCompile(`[A-Za-z_]+`)
	called   = regexp.MustCompile(`^(_[a-z_]+)\((.*)\)$`)
	defined  = regexp.MustCompile(`^( *)local (?:(function) ([a-z_]+)\(|([A-Z_]+) = )`)
	field    = regexp.MustCompile(`\bstate\.([a-z]+)`)
	toNumber = regexp.MustCompile(`\bnum\(`)
)

// number is what scripts call num: the one way by which a number becomes text, for a real server prints 14 digits otherwise.
const number = "string.format('%d', "

// included returns the parts that a line includes, none if it is no include, and what it hands to one that it "calls".
func included(line string) (parts []string, given string, call bool) {
	list, ok := strings.CutPrefix(strings.TrimSpace(line), includes)
	if !ok {
		return nil, "", false
	}
	if m := called.FindStringSubmatch(list); m != nil {
		return m[1:2], m[2], true
	}
	return strings.Fields(list), "", false
}

// optional are the parts that only some limits need, which are off by default: what is off costs nothing, so no script has
// anything of it. Such a part is included by itself, or looks like a call.
var optional = map[string]func(hearth.Limits) bool{
	"_rate":      func(l hearth.Limits) bool { return len(ratesOf(l)) > 0 },
	"_user_most": func(l hearth.Limits) bool { return l.MaxUserPeers > 0 },
}

// composer puts one verb's script together.
type composer struct {
	keys    keyNames // none for a verb that is given all its keys
	without []string // parts that are left out
}

// made are the texts that were put together already, by the parts that are left out of them: there are few such sets.
var made struct {
	sync.Mutex
	texts map[string]map[verb][]string
}

// composed returns the texts of all verbs, each in pieces of which every second one is the name of a limit: the same for every
// store that needs the same parts, so they are put together once.
func composed(l hearth.Limits) (map[verb][]string, error) {
	var without []string
	for _, part := range slices.Sorted(maps.Keys(optional)) {
		if !optional[part](l) {
			without = append(without, part)
		}
	}
	made.Lock()
	defer made.Unlock()
	id := strings.Join(without, " ")
	if out := made.texts[id]; out != nil {
		return out, nil
	}
	out, err := composeAll(without)
	if err != nil {
		return nil, err
	}
	if made.texts == nil {
		made.texts = map[string]map[verb][]string{}
	}
	made.texts[id] = out
	return out, nil
}

func composeAll(without []string) (map[verb][]string, error) {
	limits := limitsOf(hearth.Limits{}, false)
	out := make(map[verb][]string, len(verbs))
	for _, v := range verbs {
		text, err := compose(v, without)
		if err != nil {
			return nil, err
		}
		from := 0
		for _, at := range word.FindAllStringIndex(text, -1) {
			name := text[at[0]:at[1]]
			if _, ok := limits[name]; ok {
				out[v] = append(out[v], text[from:at[0]], name)
				from = at[1]
			}
		}
		out[v] = append(out[v], text[from:])
	}
	return out, nil
}

// compose returns the text of a verb without some parts, and without the limits.
func compose(v verb, without []string) (string, error) {
	text, err := source(string(v))
	if err != nil {
		return "", err
	}
	c := composer{without: without}
	line, _, _ := strings.Cut(text, "\n")
	parts, _, _ := included(line)
	for _, part := range parts {
		switch part {
		case "_keys":
			c.keys = roomKeys
		case "_partition":
			c.keys = partitionKeys
		}
	}
	out, err := c.block(text, map[string]bool{})
	if err != nil {
		return "", fmt.Errorf("%s: %w", v, err)
	}
	out = stateFields(prune(c.keys.given + out))
	return toNumber.ReplaceAllLiteralString(out, number), nil
}

// block returns a text, which may begin with an include, with all that it includes. known are the names of keys that are
// defined already.
func (c *composer) block(text string, known map[string]bool) (string, error) {
	line, rest, _ := strings.Cut(text, "\n")
	parts, _, _ := included(line)
	if parts == nil {
		rest = text
	}
	var body, out strings.Builder
	for _, name := range parts {
		part, err := source(name)
		if err != nil {
			return "", err
		}
		body.WriteString(part)
	}
	body.WriteString(rest)
	known = maps.Clone(known)
	for name := range c.used(body.String()) {
		if !known[name] {
			known[name] = true
			fmt.Fprintf(&out, "local %s = %s\n", name, c.keys.made[name])
		}
	}
	for line := range strings.Lines(body.String()) {
		if err := c.line(&out, line, known); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// line writes a line of a text, or all that it includes, as far in as the line is.
func (c *composer) line(out *strings.Builder, line string, known map[string]bool) error {
	parts, given, call := included(line)
	switch {
	case parts == nil:
		out.WriteString(line)
		return nil
	case slices.Contains(c.without, parts[0]):
		return nil
	}
	text := line
	if call {
		part, err := source(parts[0])
		if err != nil {
			return err
		}
		text = handed(part, given)
	}
	text, err := c.block(text, known)
	if err != nil {
		return err
	}
	if call {
		text = "do\n" + text + "end\n"
	}
	in := line[:len(line)-len(strings.TrimLeft(line, " "))]
	for line := range strings.Lines(text) {
		if line != "\n" {
			out.WriteString(in)
		}
		out.WriteString(line)
	}
	return nil
}

// handed is a part's text with what it is given.
func handed(text, given string) string {
	if given == "" {
		text = strings.ReplaceAll(text, ", ...", "")
	}
	return strings.ReplaceAll(text, "...", given)
}

// used are the names of keys in a text, in order. A word that only looks like one costs a definition and does no harm.
func (c *composer) used(text string) iter.Seq[string] {
	found := map[string]bool{}
	for _, name := range word.FindAllString(comment.ReplaceAllString(text, ""), -1) {
		if c.keys.made[name] != "" {
			found[name] = true
		}
	}
	return slices.Values(slices.Sorted(maps.Keys(found)))
}

// prune leaves out the functions and the constants (whose names are in capitals) that nothing after them uses, as far as they
// are seen. Where they end is told by how far in a line is.
func prune(text string) string {
	lines := slices.Collect(strings.Lines(text))
	words := make([][]string, len(lines))
	for i, line := range lines {
		words[i] = word.FindAllString(comment.ReplaceAllString(line, ""), -1)
	}
	for i, line := range slices.Backward(lines) { // from the end: what is left out uses nothing before it any more
		m := defined.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		end := i + 1
		if m[2] != "" && words[i][len(words[i])-1] != "end" {
			end += slices.Index(lines[i:], m[1]+"end\n")
		}
		if !uses(lines[end:], words[end:], m[1], m[3]+m[4]) {
			lines, words = slices.Delete(lines, i, end), slices.Delete(words, i, end)
		}
	}
	return strings.Join(lines, "")
}

// uses reports whether lines use a name, before one that is less far in.
func uses(lines []string, words [][]string, in, name string) bool {
	for i, line := range lines {
		if !strings.HasPrefix(line, in) && line != "\n" {
			return false
		}
		if slices.Contains(words[i], name) {
			return true
		}
	}
	return false
}

// stateFields makes of each state.x in a text the place of the field x in the reply to the one command that reads the session's
// state, and has that command ask for all that is named so: `redis.call('HMGET', S, state)`.
func stateFields(text string) string {
	var names []string
	for _, m := range field.FindAllStringSubmatch(comment.ReplaceAllString(text, ""), -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	text = field.ReplaceAllStringFunc(text, func(s string) string {
		return fmt.Sprintf("state[%d]", slices.Index(names, strings.TrimPrefix(s, "state."))+1)
	})
	return strings.Replace(text, "'HMGET', S, state)", "'HMGET', S, '"+strings.Join(names, "', '")+"')", 1)
}
