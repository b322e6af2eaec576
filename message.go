package hearth

import "encoding/json"

// Message is one broadcast.
type Message struct {
	ID      string          // message_id: the op_id under which a repeat does nothing
	Type    string          // "chat" by default
	Message json.RawMessage // any JSON, compact
	Roles   []string        // only to peers of these roles
	Peer    string          // only to this peer: a private message
}

// Check returns an error if the message can't be sent, and fills in the default type.
func (m *Message) Check(l Limits) error {
	if m.Type == "" {
		m.Type = "chat"
	}
	if err := CheckText("type", m.Type, MaxTypeLen); err != nil {
		return err
	}
	if err := CheckText("message_id", m.ID, MaxOpIDLen); err != nil {
		return err
	}
	if len(m.Message) == 0 {
		return BadParams("message is missing")
	}
	if len(m.Message) > l.MaxMessage {
		return Errorf(ReasonTooLarge, "message has %d bytes; at most %d are allowed", len(m.Message), l.MaxMessage)
	}
	if m.Peer != "" && len(m.Roles) > 0 {
		return BadParams("a message goes to roles or to a peer_id, not to both")
	}
	if m.Peer != "" {
		return CheckName("peer_id", m.Peer)
	}
	if len(m.Roles) > MaxGroups {
		return Errorf(ReasonTooMany, "at most %d roles can be addressed", MaxGroups)
	}
	for _, r := range m.Roles {
		if err := CheckName("role", r); err != nil {
			return err
		}
	}
	return nil
}
