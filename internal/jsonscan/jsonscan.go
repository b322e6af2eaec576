// Package jsonscan finds values in JSON texts without decoding them, and checks the text on the way. What is JSON is what
// encoding/json takes: its tests hold both against each other.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// MaxDepth is how deep arrays and objects may be nested: as deep as encoding/json takes them.
const MaxDepth = 10_000

// Space returns where the white space ends that begins at text[i], if there is any.
func Space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// nest is what arrays and objects one is in: bits, of which the last is the innermost, 1 for an object.
type nest struct {
	depth int
	last  uint64   // up to 64 of them
	rest  []uint64 // those further out
}

func (n *nest) enter(object uint64) {
	if n.depth%64 == 0 && n.depth > 0 {
		n.rest = append(n.rest, n.last)
	}
	n.last = n.last<<1 | object
	n.depth++
}

func (n *nest) leave() {
	n.last >>= 1
	n.depth--
	if n.depth%64 == 0 && n.depth > 0 {
		n.last = n.rest[len(n.rest)-1]
		n.rest = n.rest[:len(n.rest)-1]
	}
}

// Value returns where the value ends that begins at text[i], and whether there is white space in it; -1 if it is no value.
// What follows it is not looked at. outside is how many arrays and objects it is in.
func Value(text []byte, i, outside int) (end int, spaced bool) {
	var in nest
	skip := func() {
		if at := Space(text, i); at > i {
			i, spaced = at, true
		}
	}
	for {
		if i >= len(text) {
			return -1, false
		}
		switch c := text[i]; c {
		case '{', '[':
			if in.depth+outside >= MaxDepth {
				return -1, false
			}
			i++
			skip()
			if i < len(text) && text[i] == c+2 { // the brace that closes it
				i++
				break
			}
			if c == '[' {
				in.enter(0)
				continue
			}
			in.enter(1)
			if i = key(text, i, &spaced); i < 0 {
				return -1, false
			}
			continue
		case '"':
			i = String(text, i)
		case 't':
			i = literal(text, i, "true")
		case 'f':
			i = literal(text, i, "false")
		case 'n':
			i = literal(text, i, "null")
		default:
			i = number(text, i)
		}
		if i < 0 {
			return -1, false
		}
		// A value has ended, and perhaps with it what it is in.
		for in.depth > 0 {
			skip()
			if i >= len(text) {
				return -1, false
			}
			object := in.last&1 == 1
			switch c := text[i]; {
			case c == ',':
				i++
				skip()
				if object {
					if i = key(text, i, &spaced); i < 0 {
						return -1, false
					}
				}
			case c == '}' && object, c == ']' && !object:
				i++
				in.leave()
				continue
			default:
				return -1, false
			}
			break
		}
		if in.depth == 0 {
			return i, spaced
		}
	}
}

// key returns where the value begins after the key at text[i] and its colon.
func key(text []byte, i int, spaced *bool) int {
	end := String(text, i)
	if end < 0 {
		return -1
	}
	colon := Space(text, end)
	if colon >= len(text) || text[colon] != ':' {
		return -1
	}
	at := Space(text, colon+1)
	if colon > end || at > colon+1 {
		*spaced = true
	}
	return at
}

// String returns where the string ends that begins at text[i]; -1 if it is none.
func String(text []byte, i int) int {
	if i >= len(text) || text[i] != '"' {
		return -1
	}
	i++
	for {
		i = special(text, i)
		if i >= len(text) || text[i] < ' ' {
			return -1
		}
		if text[i] == '"' {
			return i + 1
		}
		if i++; i >= len(text) {
			return -1
		}
		switch text[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i++
		case 'u':
			i++
			for range 4 {
				if i >= len(text) || !hex(text[i]) {
					return -1
				}
				i++
			}
		default:
			return -1
		}
	}
}

func hex(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// special returns where from text[i] on the next quote, backslash or control character is.
func special(text []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(text); i += 8 {
		// Eight bytes at a time: the top bit of a byte is set if it is such a one. A borrow can set it falsely, but only
		// behind one that is.
		x := binary.LittleEndian.Uint64(text[i:])
		quote, back := x^ones*'"', x^ones*'\\'
		found := ((quote-ones)&^quote | (back-ones)&^back | (x-ones*' ')&^x) & tops
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' {
		i++
	}
	return i
}

func literal(text []byte, i int, word string) int {
	if len(text)-i < len(word) || string(text[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func number(text []byte, i int) int {
	if i < len(text) && text[i] == '-' {
		i++
	}
	if i < len(text) && text[i] == '0' {
		i++
	} else if i = digits(text, i); i < 0 {
		return -1
	}
	if i < len(text) && text[i] == '.' {
		if i = digits(text, i+1); i < 0 {
			return -1
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		return digits(text, i)
	}
	return i
}

// digits returns where the digits end of which there is at least one at text[i]; -1 if there is none.
func digits(text []byte, i int) int {
	begin := i
	for i < len(text) && digit(text[i]) {
		i++
	}
	if i == begin {
		return -1
	}
	return i
}

// Count returns how many elements the array has that begins at text[i]; most+1 if there are more, and then the rest is not
// looked at; -1 if it is no array.
func Count(text []byte, i, most int) int {
	if i >= len(text) || text[i] != '[' {
		return -1
	}
	n := 0
	for i = Space(text, i+1); i < len(text) && (text[i] != ']' || n > 0); i = Space(text, i+1) {
		if n++; n > most {
			return n
		}
		if i, _ = Value(text, i, 1); i < 0 {
			return -1
		}
		i = Space(text, i)
		if i < len(text) && text[i] == ']' {
			return n
		}
		if i >= len(text) || text[i] != ',' {
			return -1
		}
	}
	if i < len(text) && n == 0 {
		return 0
	}
	return -1
}

// AppendCompact appends a value, which is JSON, without the white space in it.
func AppendCompact(dst, value []byte) []byte {
	for i := 0; i < len(value); {
		switch value[i] {
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			end := String(value, i)
			dst = append(dst, value[i:end]...)
			i = end
		default:
			dst = append(dst, value[i])
			i++
		}
	}
	return dst
}

// Members walks through an object's members. Text holds the object; what follows it is not looked at.
type Members struct {
	Text []byte
	// Outside is how many arrays and objects the object is in.
	Outside int
	// At is where it stands: at first at the object's brace, in the end behind its other one; -1 if the text is no JSON.
	At    int
	begun bool
}

// Next returns the next member: its key with its quotes, and its value. There is none when ok is false: then At tells why.
func (m *Members) Next() (name, value []byte, ok bool) {
	text, i := m.Text, m.At
	if i < 0 || i >= len(text) {
		m.At = -1
		return nil, nil, false
	}
	switch {
	case !m.begun && text[i] == '{':
		if i = Space(text, i+1); i < len(text) && text[i] == '}' {
			m.At = i + 1
			return nil, nil, false
		}
		m.begun = true
	default:
		i = Space(text, i)
		if i < len(text) && text[i] == '}' && m.begun {
			m.At = i + 1
			return nil, nil, false
		}
		if !m.begun || i >= len(text) || text[i] != ',' {
			m.At = -1
			return nil, nil, false
		}
		i = Space(text, i+1)
	}
	var spaced bool
	end := String(text, i)
	at := key(text, i, &spaced)
	if at < 0 {
		m.At = -1
		return nil, nil, false
	}
	if m.At, _ = Value(text, at, m.Outside+1); m.At < 0 {
		return nil, nil, false
	}
	return text[i:end], text[at:m.At], true
}
