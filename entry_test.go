package hearth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
)

func TestEntriesAreWrittenAsClientsSeeThem(t *testing.T) {
	for _, tt := range []struct {
		entry hearth.Entry
		want  string
	}{
		{
			hearth.Entry{Key: `a "b"`, Data: []byte(`{"x":1.0}`), ChangeVersion: 7, UpdatedBy: "ann", UpdatedAt: 1700000000000},
			`{"key":"a \"b\"","data":{"x":1.0},"change_version":7,"updated_by":"ann","updated_at":1700000000000}`,
		},
		{
			hearth.Entry{Key: "k", Data: []byte(`0`), ChangeVersion: 9007199254740991, UpdatedAt: 1},
			`{"key":"k","data":0,"change_version":9007199254740991,"updated_at":1}`,
		},
		{hearth.Entry{Key: "k"}, `{"key":"k","data":null,"change_version":0}`},
		{
			hearth.Entry{Key: "k", Deleted: true, ChangeVersion: 8, UpdatedBy: "ann", UpdatedAt: 1},
			`{"key":"k","data":null,"deleted":true,"change_version":8,"updated_by":"ann","updated_at":1}`,
		},
	} {
		if got := string(tt.entry.AppendJSON([]byte("x"))); got != "x"+tt.want {
			t.Errorf("written as %s", got)
		}
		if got, err := json.Marshal(&tt.entry); err != nil || string(got) != tt.want {
			t.Errorf("encoded as %s, %v", got, err)
		}
	}
}

func TestOpsAreChecked(t *testing.T) {
	zero := uint64(0)
	l := hearth.Limits{MaxValue: 10}.WithDefaults()
	set := func(data string) hearth.Op { return hearth.Op{Kind: hearth.OpSet, Key: "k", Data: []byte(data)} }
	by := func(n json.Number) hearth.Op { return hearth.Op{Kind: hearth.OpIncrement, Key: "k", By: n} }
	for _, tt := range []struct {
		name string
		op   hearth.Op
		want hearth.Reason
	}{
		{"a set", set(`"12345678"`), ""},
		{"a set that is too large", set(`"123456789"`), hearth.ReasonTooLarge},
		{"a set of null", set(`null`), hearth.ReasonBadParams},
		{"a set of nothing", set(``), hearth.ReasonBadParams},
		{"a set of false", set(`false`), ""},
		{"a delete", hearth.Op{Kind: hearth.OpDelete, Key: "k"}, ""},
		{"a check", hearth.Op{Kind: hearth.OpCheck, Key: "k", IfVersion: &zero}, ""},
		{"a check of nothing", hearth.Op{Kind: hearth.OpCheck, Key: "k"}, hearth.ReasonBadParams},
		{"an increment", by("1"), ""},
		{"a fraction", by("-0.5"), ""},
		{"an exponent", by("1e3"), ""},
		{"the most", by("9007199254740991"), ""},
		{"the least", by("-9007199254740991"), ""},
		{"more than the most", by("9007199254740992"), hearth.ReasonBadParams},
		{"less than the least", by("-9007199254740992"), hearth.ReasonBadParams},
		{"far too much", by("1e400"), hearth.ReasonBadParams},
		{"no number", by(""), hearth.ReasonBadParams},
		{"not a number", by("NaN"), hearth.ReasonBadParams},
		{"infinity", by("Inf"), hearth.ReasonBadParams},
		{"hexadecimal", by("0x10"), hearth.ReasonBadParams},
		{"hexadecimal with an exponent", by("0x1p4"), hearth.ReasonBadParams},
		{"no digits after the point", by("1."), hearth.ReasonBadParams},
		{"a plus", by("+1"), hearth.ReasonBadParams},
		{"a leading zero", by("01"), hearth.ReasonBadParams},
		{"an unknown op", hearth.Op{Kind: "append", Key: "k"}, hearth.ReasonBadParams},
		{"no op", hearth.Op{Key: "k"}, hearth.ReasonBadParams},
		{"a key that is none", hearth.Op{Kind: hearth.OpDelete, Key: "k*"}, hearth.ReasonBadParams},
	} {
		if err := tt.op.Check(l); hearth.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestMessagesAreChecked(t *testing.T) {
	l := hearth.Limits{MaxMessage: 10}.WithDefaults()
	good := hearth.Message{ID: "1", Type: "t", Message: []byte(`"12345678"`)}
	for _, tt := range []struct {
		name   string
		change func(*hearth.Message)
		want   hearth.Reason
	}{
		{"a message", func(*hearth.Message) {}, ""},
		{"null", func(m *hearth.Message) { m.Message = []byte("null") }, ""},
		{"to roles", func(m *hearth.Message) { m.Roles = []string{"host", "guest"} }, ""},
		{"to a peer", func(m *hearth.Message) { m.Peer = "bob" }, ""},
		{"as many roles as there may be", func(m *hearth.Message) { m.Roles = strings.Split(strings.Repeat("r ", 31)+"r", " ") }, ""},
		{"no message", func(m *hearth.Message) { m.Message = nil }, hearth.ReasonBadParams},
		{"too large", func(m *hearth.Message) { m.Message = []byte(`"123456789"`) }, hearth.ReasonTooLarge},
		{"to roles and a peer", func(m *hearth.Message) { m.Peer, m.Roles = "bob", []string{"host"} }, hearth.ReasonBadParams},
		{"to a peer that is no name", func(m *hearth.Message) { m.Peer = "b b" }, hearth.ReasonBadParams},
		{"to a role that is no name", func(m *hearth.Message) { m.Roles = []string{"host", "a,b"} }, hearth.ReasonBadParams},
		{"to too many roles", func(m *hearth.Message) { m.Roles = strings.Split(strings.Repeat("r ", 32)+"r", " ") }, hearth.ReasonTooMany},
		{"a long type", func(m *hearth.Message) { m.Type = strings.Repeat("t", 65) }, hearth.ReasonBadParams},
		{"a type with a control character", func(m *hearth.Message) { m.Type = "t\n" }, hearth.ReasonBadParams},
		{"a long id", func(m *hearth.Message) { m.ID = strings.Repeat("i", 65) }, hearth.ReasonBadParams},
	} {
		m := good
		tt.change(&m)
		if err := m.Check(l); hearth.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	m := hearth.Message{Message: []byte("1")}
	if err := m.Check(l); err != nil || m.Type != "chat" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestErrorsCarryReasonAndCause(t *testing.T) {
	cause := fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
	e := &hearth.Error{Reason: hearth.ReasonUnavailable, Detail: "try again", Cause: cause}
	wrapped := fmt.Errorf("join: %w", e)
	if hearth.ReasonOf(wrapped) != hearth.ReasonUnavailable || hearth.AsError(wrapped) != e {
		t.Errorf("%v", hearth.AsError(wrapped))
	}
	if !errors.Is(wrapped, &hearth.Error{Reason: hearth.ReasonUnavailable}) || errors.Is(wrapped, &hearth.Error{Reason: hearth.ReasonNotFound}) {
		t.Error("errors.Is doesn't go by the reason")
	}
	if !errors.Is(wrapped, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got := e.Error(); got != "unavailable: try again: read: unexpected EOF" {
		t.Error(got)
	}
	if got := (&hearth.Error{Reason: hearth.ReasonNotFound}).Error(); got != "not_found" {
		t.Error(got)
	}
	other := hearth.AsError(cause)
	if other.Reason != hearth.ReasonInternal || !errors.Is(other, io.ErrUnexpectedEOF) || strings.Contains(other.Detail, "EOF") {
		t.Errorf("an error of another kind becomes %#v", other)
	}
	if hearth.ReasonOf(nil) != "" {
		t.Error("nil has a reason")
	}
	if err := hearth.BadParams("%d is %s", 1, "odd"); err.Reason != hearth.ReasonBadParams || err.Detail != "1 is odd" {
		t.Errorf("%v", err)
	}
}
