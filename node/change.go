package node

import (
	"sync"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/pubsub"
)

// change is what the node makes of a published change, once for all who read it here. It is encoded for a kind of reader
// when the first of that kind is shown it, so a room pays for the kinds that it has.
type change struct {
	hearth.Event
	method string // that tells clients of it; "" if none does

	encode func(method string, params func(dst []byte) []byte) []byte
	framed sync.Once
	bytes  []byte
	noted  sync.Once
	note   *Notice
}

// Notice is one notification as streams are sent it. Those of changes are shared.
type Notice struct {
	Method string
	Cursor hearth.Cursor // where the reader is after it; its epoch is "" within a snapshot, which is resumed only as a whole
	Params []byte        // JSON, in one line
}

func (n *Node) decode(m *pubsub.Message) error {
	ev, err := hearth.ParseEvent(m.Cursor, m.Prev, m.Text)
	if err != nil {
		return err
	}
	m.Value, m.Last = &change{Event: ev, method: ev.Kind.Method(), encode: n.encode}, ev.Kind == hearth.KindEnd
	return nil
}

// frame returns the whole notification as sockets are sent it.
func (c *change) frame() []byte {
	c.framed.Do(func() {
		c.bytes = c.encode(c.method, func(dst []byte) []byte { return c.AppendParams(dst, nil) })
	})
	return c.bytes
}

// notice returns the whole notification as streams are sent it.
func (c *change) notice() *Notice {
	c.noted.Do(func() { c.note = &Notice{Method: c.method, Cursor: c.Cursor, Params: c.AppendParams(nil, nil)} })
	return c.note
}

// changeOf returns what decode made of a message.
func changeOf(m *pubsub.Message) *change {
	c, _ := m.Value.(*change) // decode makes nothing else
	return c
}
