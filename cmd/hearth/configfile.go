package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
)

// fromFile gives flags that were not set what a YAML file says; names may be written with - or _. Its errors name the setting
// and quote none of the file's values, since there are secrets among them.
func fromFile(flags *pflag.FlagSet, text []byte) error {
	var raw map[string]any
	d := yaml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return errors.New("not the YAML of settings: " + where(err))
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the settings: one YAML document is all that is read")
	}
	seen := map[string]bool{}
	for _, written := range slices.Sorted(maps.Keys(raw)) {
		name := strings.ReplaceAll(written, "_", "-")
		f := flags.Lookup(name)
		switch {
		case f == nil, name == "config", name == "help":
			return fmt.Errorf("unknown setting %q; hearth serve --help lists them", written)
		case seen[name]:
			return fmt.Errorf("%s is there twice, with - and with _", name)
		}
		seen[name] = true
		value, ok := settingText(f.Value.Type(), raw[written])
		if !ok {
			return fmt.Errorf("%s must be %s", name, settingKinds[f.Value.Type()])
		}
		if f.Changed {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("%s must be %s", name, settingKinds[f.Value.Type()])
		}
	}
	return nil
}

// quoted is what YAML's errors quote of a text: a value that begins with * is a name that is not there, for one.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// where says what is wrong with a text and in which line of it, without a word of it but names of settings.
func where(err error) string {
	message, at := err.Error(), ""
	if e, ok := errors.AsType[yaml.Error](err); ok {
		message = e.GetMessage()
		if tk := e.GetToken(); tk != nil && tk.Position != nil {
			at = fmt.Sprintf("line %d, column %d: ", tk.Position.Line, tk.Position.Column)
		}
	}
	if !strings.HasPrefix(message, "mapping key ") {
		message = quoted.ReplaceAllString(message, "…")
	}
	return at + message
}

// settingKinds says of the types of flags what a file has for them.
var settingKinds = map[string]string{
	"string":      "a text, in quotes if it looks like a number",
	"int":         "a whole number",
	"float64":     "a number",
	"size":        "a size, like 65536, 64KiB or 4MiB",
	"duration":    "a time, like 500ms, 20s or 10m",
	"stringSlice": "a list of texts",
	"bool":        "true or false",
}

// settingText returns a value of a file as a flag of a type takes it, if it is of that type.
func settingText(kind string, value any) (text string, ok bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int64, uint64, int:
		return fmt.Sprint(v), kind == "int" || kind == "float64" || kind == "size"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), kind == "float64"
	case bool:
		return strconv.FormatBool(v), kind == "bool"
	case []any:
		var list []string
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return "", false
			}
			list = append(list, s)
		}
		var b strings.Builder
		w := csv.NewWriter(&b) // as the flag reads it
		if len(list) > 0 {
			_ = w.Write(list) // a builder takes all
			w.Flush()
		}
		return strings.TrimSuffix(b.String(), "\n"), kind == "stringSlice"
	}
	return "", false
}
