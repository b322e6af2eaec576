package redisurl

import (
	"cmp"
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// Error is what a command of a [Target]'s client fails with that the server did not answer. If it was not sent, it was
// not executed, and may be repeated whatever it is; if it was, nobody knows.
type Error struct {
	cmd  redis.Cmder
	err  error
	sent bool
}

func (e *Error) Error() string {
	if e.sent {
		return "sent and not answered: " + e.err.Error()
	}
	return "not sent: " + e.err.Error()
}

// Sent reports whether the command may have reached the server.
func (e *Error) Sent() bool { return e.sent }

// Unwrap gives the cause of what was not sent. That of what was sent is kept back, or else the cluster's client, which
// repeats commands by the kind of error, whatever it is told about retries, would find an EOF or a timeout in it.
func (e *Error) Unwrap() error {
	if e.sent {
		return nil
	}
	return e.err
}

// Is lets a caller who gave up be recognized.
func (e *Error) Is(target error) bool {
	return (target == context.Canceled || target == context.DeadlineExceeded) && errors.Is(e.err, target)
}

// answered reports whether there is nothing to find out: the server has answered, maybe with an error.
func answered(err error) bool {
	if err == nil {
		return true
	}
	var e redis.Error
	return errors.As(err, &e)
}

// known reports whether err is of a hook below, by which the command went another way than by the client's connections, and says
// itself whether it was sent. (An Error is of another command, on the way there.)
func known(err error) bool {
	_, says := err.(interface{ Sent() bool })
	_, ours := err.(*Error) //nolint:errorlint // itself
	return says && !ours
}

// mark stands in the place of a command's argument and notes that it was written to a connection. That alone tells what
// was sent: an EOF or a timeout may as well be of a connection that was being made.
type mark struct {
	arg     any // a string, whose place it has
	written bool
}

// MarshalBinary is called when the command is written.
func (m *mark) MarshalBinary() ([]byte, error) {
	text, _ := m.arg.(string)
	m.written = true
	return []byte(text), nil
}

// put puts the mark into a command, which has to have an argument that is a string; else it counts as sent.
func (m *mark) put(cmd redis.Cmder) {
	args := cmd.Args()
	if len(args) < 2 {
		m.written = true
		return
	}
	if _, ok := args[1].(string); !ok {
		m.written = true
		return
	}
	m.arg, args[1] = args[1], m
}

// take puts the argument back.
func (m *mark) take(cmd redis.Cmder) {
	if args := cmd.Args(); len(args) > 1 && args[1] == any(m) {
		args[1] = m.arg
	}
}

// watcher is a hook of the client of one server: its errors say whether a command was sent. That client repeats nothing.
type watcher struct {
	// clusterNode leaves as it is what a cluster's client has to recognize: what it may send again, since it was not sent.
	clusterNode bool
	moves       *moves // nil for a cluster's node
}

// DialHook dials once more, and no more, if the master was replaced meanwhile.
func (w watcher) DialHook(next redis.DialHook) redis.DialHook {
	if w.moves == nil {
		return next
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		for range 2 {
			times, _ := w.moves.Moved()
			conn, err := next(ctx, network, addr)
			if err != nil || w.moves.dialed(conn.RemoteAddr().String(), times) {
				return conn, err
			}
			_ = conn.Close()
		}
		return nil, errMoved
	}
}

func (w watcher) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		var m mark
		m.put(cmd)
		err := next(ctx, cmd)
		m.take(cmd)
		w.moved(err)
		if answered(err) || w.clusterNode && !m.written || known(err) {
			return err
		}
		return &Error{cmd, err, m.written}
	}
}

func (w watcher) moved(err error) {
	if w.moves != nil {
		w.moves.answered(err)
	}
}

func (w watcher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		marks := make([]mark, len(cmds))
		for i, cmd := range cmds {
			marks[i].put(cmd)
		}
		first := next(ctx, cmds)
		for i, cmd := range cmds {
			marks[i].take(cmd)
			w.moved(cmd.Err())
			if err := cmd.Err(); !answered(err) {
				cmd.SetErr(&Error{cmd, err, marks[i].written})
			}
		}
		if answered(first) {
			return first
		}
		return cmp.Or(cmds[len(cmds)-1].Err(), first) // after an ASKING comes the command that matters
	}
}

// router is a hook of a cluster's client, which sends commands to its nodes' clients as often as it takes.
type router struct{}

func (router) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook: what may have been executed was found by the node's watcher. All else is of the way there: nodes that
// can't be dialed, a cluster that nobody tells anything of (asked by commands of the client's own), a caller who gave up
// while the next attempt was waited for.
func (router) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if answered(err) {
			return err
		}
		if e, ok := found(err); ok && e.sent && e.cmd == cmd {
			return err
		}
		return &Error{cmd, err, false}
	}
}

// found returns what a watcher has found out, maybe about another command.
func found(err error) (e *Error, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}

// ProcessPipelineHook: a pipeline is sent again from inside, where no hook sees it, unless a command of it forbids that.
// Then only commands that a node sends elsewhere are. What no watcher has seen stays as it is: it may be of a caller who
// gave up while those were waited for, by which the others are said to have failed as well.
func (router) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		firm := make([]redis.Cmder, len(cmds))
		for i, cmd := range cmds {
			firm[i] = once{cmd}
		}
		first := next(ctx, firm)
		for i, cmd := range cmds {
			err := cmd.Err()
			if e, ok := found(err); ok && e.cmd != firm[i] { // of a command of the client's own, on the way there
				cmd.SetErr(&Error{cmd, err, false})
			}
			if first == err { //nolint:errorlint // that very one
				first = cmd.Err()
			}
		}
		return first
	}
}

// once is a command that must not be repeated.
type once struct{ redis.Cmder }

// NoRetry is asked by the client.
func (once) NoRetry() bool { return true }
