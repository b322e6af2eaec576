package hearth

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/hearthstore/hearth/internal/jsonscan"
)

// AppendString appends s as a JSON string in its one canonical form: only '"', '\\' and control characters are escaped.
// Two equal strings have equal forms, so the form itself can be stored and compared. Invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// QuoteString returns s as AppendString writes it.
func QuoteString(s string) string { return string(AppendString(make([]byte, 0, len(s)+2), s)) }

// UnquoteString reverses QuoteString; what is not a JSON string gives "".
func UnquoteString(q string) string {
	if plain(q) {
		return q[1 : len(q)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(q), &s) // "" is what the comment promises
	return s
}

// plain reports whether q is a JSON string of ASCII without escapes, which most are.
func plain(q string) bool {
	if len(q) < 2 || q[0] != '"' || q[len(q)-1] != '"' {
		return false
	}
	for i := 1; i < len(q)-1; i++ {
		if c := q[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// CompactJSON returns v without insignificant white space, otherwise as it was written: numbers keep their digits,
// objects their order, strings their escapes. What has none is returned as it is, not copied. A v that is not JSON, or nested
// deeper than MaxDepth, is a bad_params error that names what.
func CompactJSON(what string, v []byte) ([]byte, error) {
	if !utf8.Valid(v) {
		return nil, BadParams("%s must be UTF-8", what)
	}
	begin := jsonscan.Space(v, 0)
	end, spaced := jsonscan.Value(v, begin, jsonscan.MaxDepth-MaxDepth)
	switch {
	case end >= 0 && jsonscan.Space(v, end) == len(v):
	case end < 0 && json.Valid(v):
		return nil, BadParams("%s is nested deeper than %d arrays and objects", what, MaxDepth)
	default:
		return nil, BadParams("%s must be JSON", what)
	}
	if v = v[begin:end:end]; !spaced {
		return v, nil
	}
	return jsonscan.AppendCompact(make([]byte, 0, len(v)), v), nil
}

// IsNull reports whether a raw JSON value is absent or null.
func IsNull(v []byte) bool { return len(v) == 0 || string(bytes.TrimSpace(v)) == "null" }
