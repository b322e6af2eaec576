package store

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A script's text is put together from files. A line "-- include: a b" is replaced by the files of those names, in that
// order. In the first line of a verb it gives the verb what it always needs. Inside a branch it gives the branch what that
// alone needs: a script pays for each function that it defines, every time it runs, so what most runs don't need is defined
// only where it is needed.
//
// The names of keys that a text uses are defined before it, those that only a branch uses in the branch: see keyNames.

const includes = "-- include: "

var (
	comment = regexp.MustCompile(`--[^\n]*`)
	word    = regexp.MustCompile(`[A-Za-z_]+`)
)

// composer puts one verb's script together.
type composer struct {
	keys keyNames // none for a verb that is given all its keys
}

// composed are the texts of all verbs, without the limits: the same for every store, so they are put together once.
var composed = sync.OnceValues(func() (map[verb]string, error) {
	out := make(map[verb]string, len(verbs))
	for _, v := range verbs {
		text, err := compose(v)
		if err != nil {
			return nil, err
		}
		out[v] = text
	}
	return out, nil
})

// compose returns the text of a verb without the limits.
func compose(v verb) (string, error) {
	text, err := source(string(v))
	if err != nil {
		return "", err
	}
	var c composer
	line, _, _ := strings.Cut(text, "\n")
	for part := range strings.FieldsSeq(strings.TrimPrefix(line, includes)) {
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
	return c.keys.given + out, nil
}

// block returns a text, which may begin with an include, with all that it includes. known are the names of keys that are
// defined already.
func (c *composer) block(text string, known map[string]bool) (string, error) {
	line, rest, _ := strings.Cut(text, "\n")
	list, ok := strings.CutPrefix(strings.TrimSpace(line), includes)
	if !ok {
		list, rest = "", text
	}
	var body, out strings.Builder
	for name := range strings.FieldsSeq(list) {
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
		if strings.HasPrefix(strings.TrimSpace(line), includes) {
			branch, err := c.block(line, known)
			if err != nil {
				return "", err
			}
			line = branch
		}
		out.WriteString(line)
	}
	return out.String(), nil
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
