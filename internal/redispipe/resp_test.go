package redispipe

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// answer appends a reply as a server sends it.
func answer(b []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(b, "$-1\r\n"...)
	case Error:
		return append(append(append(b, '-'), v...), "\r\n"...)
	case int64:
		return appendHead(b, ':', int(v))
	case string:
		return appendBulk(b, v)
	case []any:
		b = appendHead(b, '*', len(v))
		for _, item := range v {
			b = answer(b, item)
		}
		return b
	}
	panic("no reply")
}

// replies draws what a server may say, lists of lists too.
func replies(depth int) *rapid.Generator[any] {
	word := rapid.StringMatching(`[A-Z]{1,9}( [a-z]{0,5}){0,3}`)
	kinds := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Custom(func(t *rapid.T) any { return Error(word.Draw(t, "error")) }),
		rapid.Custom(func(t *rapid.T) any { return rapid.Int64Range(-1<<40, 1<<40).Draw(t, "number") }),
		rapid.Custom(func(t *rapid.T) any { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")) }),
	}
	if depth > 0 {
		kinds = append(kinds, rapid.Custom(func(t *rapid.T) any {
			list := rapid.SliceOfN(replies(depth-1), 0, 4).Draw(t, "list")
			if list == nil {
				list = []any{}
			}
			return list
		}))
	}
	return rapid.OneOf(kinds...)
}

// Replies are found and read whatever the pieces are in which they come.
func TestRepliesInPieces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(replies(3), 1, 6).Draw(t, "replies")
		var all []byte
		for _, v := range want {
			all = answer(all, v)
		}
		var s scanner
		var got []any
		begins := 0
		for end := 0; ; {
			n, err := s.next(all[begins:end])
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				v, rest, err := parse(all[begins : begins+n])
				if err != nil || len(rest) > 0 {
					t.Fatalf("%q: %v, %q is left", all[begins:begins+n], err, rest)
				}
				got = append(got, v)
				begins += n
				continue
			}
			if end == len(all) {
				break
			}
			end = rapid.IntRange(end+1, len(all)).Draw(t, "end")
		}
		if !reflect.DeepEqual(got, want) || begins != len(all) {
			t.Errorf("%d bytes of %d: %v, want %v", begins, len(all), got, want)
		}
	})
}

// What is published is a list of texts; and so is a command.
func TestTexts(t *testing.T) {
	t.Parallel()
	marshaled := marshaler("m")
	text := "pointed at"
	b, err := AppendCommand([]byte("before"), "a", &text, []byte("b\r\n"), 12, int64(-3), uint64(1<<63), marshaled, "")
	if err != nil {
		t.Fatal(err)
	}
	b = b[len("before"):]
	var s scanner
	if n, err := s.next(b); n != len(b) || err != nil {
		t.Fatalf("%d of %d: %v", n, len(b), err)
	}
	to := make([][]byte, 8)
	n, err := texts(b, to)
	if want := "a|pointed at|b\r\n|12|-3|9223372036854775808|m|"; err != nil || n != 8 || string(bytes.Join(to, []byte("|"))) != want {
		t.Errorf("%q, %v", bytes.Join(to[:n], []byte("|")), err)
	}
	if n, err = texts([]byte("*3\r\n$-1\r\n:5\r\n+ok\r\n"), to); err != nil || n != 3 || to[0] != nil || string(to[1]) != "5" || string(to[2]) != "ok" {
		t.Errorf("%d: %q, %v", n, to[:n], err)
	}
	if _, err := texts(b, make([][]byte, 7)); !errors.Is(err, errProtocol) {
		t.Errorf("more than there is space for: %v", err)
	}
	if _, err := AppendCommand(nil, 1.5); err == nil {
		t.Error("a fraction")
	}
	if _, err := AppendCommand(nil, marshaler("")); !errors.Is(err, errEmpty) {
		t.Errorf("what can't be marshaled: %v", err)
	}
}

type marshaler string

var errEmpty = errors.New("empty")

func (m marshaler) MarshalBinary() ([]byte, error) {
	if m == "" {
		return nil, errEmpty
	}
	return []byte(m), nil
}

// What is no reply is told before it is waited for.
func TestNoReplies(t *testing.T) {
	t.Parallel()
	for _, b := range []string{
		"\n", "\r\n", "x\n", "HTTP/1.1 400 Bad Request\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n", "$99999999999\r\n", "$\r\n", "*1\r\n!\r\n", "+\n",
	} {
		var s scanner
		if n, err := s.next([]byte(b)); !errors.Is(err, errProtocol) {
			t.Errorf("%q: %d, %v", b, n, err)
		}
	}
	for _, b := range []string{"", "+", "+ok", "+ok\r", "$3\r\nab", "$3\r\nabc\r", "*2\r\n:1\r\n", "*1\r\n"} {
		var s scanner
		if n, err := s.next([]byte(b)); n != 0 || err != nil {
			t.Errorf("%q: %d, %v", b, n, err)
		}
	}
}

// Whatever comes, nothing panics, and what is found whole is read whole or refused.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nabc\r\n:7\r\n"))
	f.Add([]byte("-ERR no\r\n*-1\r\n"))
	f.Add([]byte(strings.Repeat("*1\r\n", 50)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s scanner
		n, err := s.next(b)
		if n == 0 || err != nil {
			return
		}
		if _, rest, err := parse(b[:n]); err == nil && len(rest) > 0 {
			t.Errorf("%q is left of %q", rest, b[:n])
		}
		_, _ = texts(b[:n], make([][]byte, 4))
	})
}
