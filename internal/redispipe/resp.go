package redispipe

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"strconv"
)

// Error is an error that the server answered with.
type Error string

func (e Error) Error() string { return string(e) }

// RedisError implements redis.Error.
func (Error) RedisError() {}

// AppendCommand appends a command as it is sent. Its arguments are texts and integers.
func AppendCommand(b []byte, args ...any) ([]byte, error) {
	b = appendHead(b, '*', len(args))
	for _, arg := range args {
		var digits [20]byte
		switch arg := arg.(type) {
		case string:
			b = appendBulk(b, arg)
		case *string:
			b = appendBulk(b, *arg)
		case []byte:
			b = appendBulk(b, arg)
		case int:
			b = appendBulk(b, strconv.AppendInt(digits[:0], int64(arg), 10))
		case int64:
			b = appendBulk(b, strconv.AppendInt(digits[:0], arg, 10))
		case uint64:
			b = appendBulk(b, strconv.AppendUint(digits[:0], arg, 10))
		case encoding.BinaryMarshaler:
			text, err := arg.MarshalBinary()
			if err != nil {
				return nil, err //nolint:wrapcheck // its own
			}
			b = appendBulk(b, text)
		default:
			return nil, fmt.Errorf("redispipe: can't send a %T", arg)
		}
	}
	return b, nil
}

func appendHead(b []byte, kind byte, n int) []byte {
	b = append(b, kind)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, '\r', '\n')
}

func appendBulk[T string | []byte](b []byte, text T) []byte {
	b = appendHead(b, '$', len(text))
	b = append(b, text...)
	return append(b, '\r', '\n')
}

// errProtocol is of what no server says.
var errProtocol = errors.New("redispipe: the server does not speak RESP2")

// scanner finds where replies end. What has been looked at is not looked at again when more has come.
type scanner struct {
	pos  int // in the reply that is looked at
	left int // values that are still to come in it; 0 before it
}

// next returns the length of the reply that b begins with; 0 if it isn't there whole.
func (s *scanner) next(b []byte) (int, error) {
	if s.left == 0 {
		s.pos, s.left = 0, 1
	}
	for s.left > 0 {
		kind, head, size := firstLine(b[s.pos:])
		if size == 0 {
			return 0, nil
		}
		switch kind {
		case '+', '-', ':':
		case '$', '*':
			n, err := length(head)
			if err != nil {
				return 0, err
			}
			if kind == '*' {
				s.left += max(n, 0)
			} else if n >= 0 {
				size += n + 2
			}
			if len(b)-s.pos < size {
				return 0, nil
			}
		default:
			return 0, errProtocol
		}
		s.pos += size
		s.left--
	}
	return s.pos, nil
}

// firstLine returns what b's first line says, and how long it is with its end; 0 if it isn't there whole. One that no server sends has
// no kind.
func firstLine(b []byte) (kind byte, head []byte, size int) {
	switch end := bytes.IndexByte(b, '\n'); {
	case end < 0:
		return 0, nil, 0
	case end < 2 || b[end-1] != '\r':
		return 0, nil, end + 1
	default:
		return b[0], b[1 : end-1], end + 1
	}
}

// length reads that of a text or a list; -1 for one that is not there.
func length(head []byte) (int, error) {
	n, err := strconv.Atoi(string(head))
	if err != nil || n < -1 || n > 1<<29 {
		return 0, errProtocol
	}
	return n, nil
}

// parse reads one whole reply: a string, an int64, an Error, nil, or a list of these. It returns what follows.
func parse(b []byte) (value any, rest []byte, err error) {
	kind, head, size := firstLine(b)
	b = b[size:]
	switch kind {
	case '+':
		return string(head), b, nil
	case '-':
		return Error(head), b, nil
	case ':':
		n, err := strconv.ParseInt(string(head), 10, 64)
		if err != nil {
			return nil, nil, errProtocol
		}
		return n, b, nil
	}
	n, err := length(head)
	switch {
	case err != nil:
		return nil, nil, err
	case n < 0:
		return nil, b, nil
	case kind == '$':
		return string(b[:n]), b[n+2:], nil
	}
	list := make([]any, n)
	for i := range list {
		if list[i], b, err = parse(b); err != nil {
			return nil, nil, err
		}
	}
	return list, b, nil
}

// texts reads a whole reply that is a list of texts and numbers, as they are in b, into at most len(to); what is nil becomes empty.
func texts(b []byte, to [][]byte) (int, error) {
	kind, head, size := firstLine(b)
	n, err := length(head)
	if kind != '*' || err != nil || n > len(to) {
		return 0, errProtocol
	}
	b = b[size:]
	for i := range n {
		kind, head, size := firstLine(b)
		b = b[size:]
		to[i] = head
		if kind != '$' {
			continue
		}
		n, err := length(head)
		if err != nil {
			return 0, err
		}
		if to[i] = nil; n >= 0 {
			to[i], b = b[:n], b[n+2:]
		}
	}
	return max(n, 0), nil
}
