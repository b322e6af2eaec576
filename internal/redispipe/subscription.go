package redispipe

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
)

// Listener is told what a subscription hears. Its methods are called one after the other, by whoever reads, and must not block.
type Listener interface {
	// Message gets what was published in a channel. Both are the caller's: what is kept has to be copied. If it returns false
	// nothing more is told before Resume.
	Message(r *fiber.Round, channel, text []byte) (more bool)
	// Confirmed says that the server has subscribed the connection to a channel, or has ended that, maybe unasked.
	Confirmed(channel string, on bool)
	// Refused says that the server did not do what it was told. It doesn't say what that was.
	Refused(err error)
	// Broken says that nothing more will come.
	Broken(err error)
}

// Subscription is a connection that hears what is published. Start begins to read it; Wait has to be called in the end.
type Subscription struct {
	conn *Conn
	to   Listener
	scan scanner
	said [4][]byte
}

// Subscribe connects to the server of a client, as Dial does.
func Subscribe(ctx context.Context, client redis.UniversalClient, name string) (s *Subscription, named bool, err error) {
	conn, named, err := Dial(ctx, client, name)
	if err != nil {
		return nil, false, err
	}
	return &Subscription{conn: conn}, named, nil
}

// Start has the connection read, as Conn.Start does.
func (s *Subscription) Start(p *netpoll.Poller, to Listener) {
	s.to = to
	s.conn.Start(p, s)
}

// Tell sends a command for channels, one at a time. It waits for the server to take it, not for what it confirms.
func (s *Subscription) Tell(command string, channels ...string) error {
	args := make([]any, 0, 1+len(channels))
	args = append(args, command)
	for _, c := range channels {
		args = append(args, c)
	}
	text, err := AppendCommand(nil, args...)
	if err == nil {
		err = s.conn.Write(text, silence)
	}
	return err
}

// Resume has the subscription tell on; see Conn.
func (s *Subscription) Resume() { s.conn.Resume() }

// Wait closes the subscription and returns when its Listener is told nothing any more. A Listener must not call it.
func (s *Subscription) Wait() { s.conn.Wait() }

// Read implements Reader.
func (s *Subscription) Read(r *fiber.Round, b []byte) (n int, err error) {
	for {
		size, err := s.scan.next(b[n:])
		if size == 0 || err != nil {
			return n, err
		}
		err = s.hear(r, b[n:n+size])
		n += size
		if err != nil {
			return n, err
		}
	}
}

func (s *Subscription) hear(r *fiber.Round, b []byte) error {
	if kind, head, _ := firstLine(b); kind == '-' {
		s.to.Refused(Error(head))
		return nil
	}
	switch n, err := texts(b, s.said[:]); {
	case err != nil:
		return err
	case n < 3:
		return errProtocol
	}
	switch string(s.said[0]) {
	case "message", "smessage":
		if !s.to.Message(r, s.said[1], s.said[2]) {
			return ErrLater
		}
	case "subscribe", "ssubscribe":
		s.to.Confirmed(string(s.said[1]), true)
	case "unsubscribe", "sunsubscribe":
		s.to.Confirmed(string(s.said[1]), false)
	default:
		return errProtocol
	}
	return nil
}

// Broken implements Reader.
func (s *Subscription) Broken(_ *fiber.Round, err error) { s.to.Broken(err) }
