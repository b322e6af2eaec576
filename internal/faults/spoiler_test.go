package faults

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// spoiler is a proxy to Redis, one server or all of a cluster, that understands what the servers say: it can lose,
// double and hold back what is published, and leave a subscription connected that hears nothing.
type spoiler struct {
	doors []*door
	moved *strings.Replacer // in what a cluster says of itself, the addresses of its servers for the doors; nil without one
	wg    sync.WaitGroup

	mu     sync.Mutex
	turn   sync.Cond // something of these has changed
	closed bool
	paths  map[*path]struct{}
	subs   int              // connections that have subscribed to something, ever
	last   map[string]*path // of them, the last at each server
	stall  string           // the server whose subscriptions are not read from; empty for none
	fate   func(channel string) fate
	count  [held + 1]int // of messages, by their fate
	probes int           // published at doors of deaf subscriptions
}

// door leads to one server.
type door struct {
	l  net.Listener
	to string // guarded by the spoiler's mu
}

// path is a connection of a node and its other half.
type path struct {
	door         *door
	node, server net.Conn
	subscribed   bool
	deaf         bool     // nothing reaches the node any more
	gone         bool     // one of the halves is closed
	left         bool     // by the node first
	late         []*later // guarded by the goroutine that hands on
}

// later is a message that others overtake.
type later struct {
	frame []byte
	after int // as many
}

// fate is what becomes of a message.
type fate int

const (
	passed fate = iota
	dropped
	doubled
	held // until one to three others have passed
)

func newSpoiler(tb testing.TB, addrs ...string) *spoiler {
	tb.Helper()
	s := &spoiler{paths: map[*path]struct{}{}, last: map[string]*path{}}
	s.turn.L = &s.mu
	var moved []string
	for _, addr := range addrs {
		l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		d := &door{l: l, to: addr}
		s.doors = append(s.doors, d)
		// In CLUSTER SLOTS the host is a string and the port a number after it; in MOVED and ASK they are one word at the end.
		for _, form := range []func(host, port string) string{
			func(host, port string) string { return host + "\r\n:" + port + "\r\n" },
			func(host, port string) string { return host + ":" + port + "\r\n" },
		} {
			moved = append(moved, form(hostPort(tb, addr)), form(hostPort(tb, l.Addr().String())))
		}
	}
	if len(addrs) > 1 {
		s.moved = strings.NewReplacer(moved...)
	}
	for _, d := range s.doors {
		s.wg.Go(func() { s.accept(d) }) // ends with the listener
	}
	tb.Cleanup(func() {
		for _, d := range s.doors {
			_ = d.l.Close()
		}
		s.mu.Lock()
		s.closed = true
		s.cut(func(*path) bool { return true })
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func hostPort(tb testing.TB, addr string) (host, port string) {
	tb.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	return host, port
}

// url is how nodes come in.
func (s *spoiler) url() string {
	scheme := "redis"
	if s.moved != nil {
		scheme = "redis-cluster"
	}
	var addrs []string
	for _, d := range s.doors {
		addrs = append(addrs, d.l.Addr().String())
	}
	return scheme + "://" + strings.Join(addrs, ",")
}

func (s *spoiler) accept(d *door) {
	for {
		a, err := d.l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { // ends with its sockets
			s.mu.Lock()
			to := d.to
			s.mu.Unlock()
			b, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = a.Close()
				return
			}
			p := &path{door: d, node: a, server: b}
			s.mu.Lock()
			if s.closed || d.to != to {
				s.mu.Unlock()
				_, _ = a.Close(), b.Close()
				return
			}
			s.paths[p] = struct{}{}
			s.mu.Unlock()
			s.wg.Go(func() { s.ask(p) })
			s.answer(p)
		})
	}
}

// cut ends paths; s.mu is held.
func (s *spoiler) cut(which func(*path) bool) {
	for p := range s.paths {
		if which(p) {
			p.gone = true
			_, _ = p.node.Close(), p.server.Close()
			delete(s.paths, p)
		}
	}
	s.turn.Broadcast()
}

// over ends a path of which one half has ended.
func (s *spoiler) over(p *path, byNode bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.left = p.left || byNode && !p.gone
	s.cut(func(other *path) bool { return other == p })
}

// ask hands on what the node says.
func (s *spoiler) ask(p *path) {
	defer s.over(p, true)
	b := make([]byte, 64<<10)
	for {
		n, err := p.node.Read(b)
		if n > 0 {
			if bytes.Contains(b[:n], []byte("publish")) && bytes.Contains(b[:n], []byte(":probe:")) {
				s.mu.Lock()
				for other := range s.paths {
					if other.deaf && other.door == p.door {
						s.probes++
					}
				}
				s.mu.Unlock()
			}
			if _, err := p.server.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// answer hands on what the server says, one whole reply or push after the other.
func (s *spoiler) answer(p *path) {
	defer s.over(p, false)
	r := bufio.NewReaderSize(p.server, 64<<10)
	for {
		frame, err := readReply(r, nil)
		if err != nil {
			return
		}
		if s.moved != nil && !p.subscribed {
			frame = []byte(s.moved.Replace(string(frame)))
		}
		for _, f := range s.spoilt(p, frame) {
			if _, err := p.node.Write(f); err != nil {
				return
			}
		}
	}
}

// spoilt returns what becomes of what the server said.
func (s *spoiler) spoilt(p *path, frame []byte) (out [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := texts(frame)
	if !p.subscribed && len(told) >= 2 && strings.HasSuffix(told[0], "subscribe") {
		p.subscribed = true
		s.subs++
		s.last[p.door.to] = p
	}
	for p.subscribed && s.stall == p.door.to && !p.gone {
		s.turn.Wait()
	}
	if p.deaf || p.gone {
		return nil
	}
	what := passed
	if len(told) == 3 && strings.HasSuffix(told[0], "message") && s.fate != nil && !strings.Contains(told[1], ":probe:") {
		what = s.fate(told[1])
		s.count[what]++
	}
	switch what {
	case dropped:
	case doubled:
		out = append(out, frame, frame)
	case held:
		p.late = append(p.late, &later{frame, 1 + s.count[held]%3})
	default:
		out = append(out, frame)
	}
	if len(told) == 3 && len(out) > 0 {
		waiting := p.late[:0]
		for _, l := range p.late {
			if l.after--; l.after > 0 {
				waiting = append(waiting, l)
				continue
			}
			out = append(out, l.frame)
		}
		p.late = waiting
	}
	return out
}

// readReply reads one whole reply or push, and appends it to b as it is.
func readReply(r *bufio.Reader, b []byte) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	b = append(b, line...)
	if err != nil || len(line) < 3 {
		return b, err
	}
	n := 0
	if strings.IndexByte("$=!*~>%|", line[0]) >= 0 {
		if n, err = strconv.Atoi(string(line[1 : len(line)-2])); err != nil || n < 0 {
			return b, err
		}
	}
	switch line[0] {
	case '$', '=', '!':
		start := len(b)
		b = append(b, make([]byte, n+2)...)
		_, err = io.ReadFull(r, b[start:])
		return b, err
	case '%':
		n *= 2
	case '|': // belongs to what follows
		n = 2*n + 1
	}
	for range n {
		if b, err = readReply(r, b); err != nil {
			return b, err
		}
	}
	return b, nil
}

// texts returns the strings that an array of three begins with: a kind, a channel and, of a message, its text.
func texts(frame []byte) (out []string) {
	head, rest, _ := bytes.Cut(frame, []byte("\r\n"))
	if h := string(head); h != ">3" && h != "*3" {
		return nil
	}
	for len(rest) > 0 && rest[0] == '$' {
		head, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		n, err := strconv.Atoi(string(head[1:]))
		if err != nil || n < 0 || n+2 > len(rest) {
			return out
		}
		out, rest = append(out, string(rest[:n])), rest[n+2:]
	}
	return out
}

// subscriptions returns how many connections have subscribed, ever.
func (s *spoiler) subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs
}

// deafen leaves the subscriptions that there are at a server connected, and lets nothing reach the node on them any more.
func (s *spoiler) deafen(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.paths {
		p.deaf = p.deaf || p.subscribed && p.door.to == addr
	}
}

// redirect leads to another server from now on, where there is one. Connections to the old one end, but subscriptions stay if they are kept:
// so they are deaf.
func (s *spoiler) redirect(addr string, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doors[0].to = addr
	s.cut(func(p *path) bool { return !keep || !p.subscribed })
	for p := range s.paths {
		p.deaf = true
	}
}

// unheard returns how many probes were published while a subscription was deaf.
func (s *spoiler) unheard() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

// hold stops reading the subscriptions at a server, until release. It returns the newest.
func (s *spoiler) hold(addr string) *path {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = addr
	p := s.last[addr]
	if tcp, ok := p.server.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10) // the less the kernel takes, the less has to be published
	}
	return p
}

func (s *spoiler) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stall = ""
	s.turn.Broadcast()
}

// gaveUp reports whether the node has closed a path by itself.
func (s *spoiler) gaveUp(p *path) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.left
}

// decide says what becomes of messages from now on. f is called with one message after the other.
func (s *spoiler) decide(f func(channel string) fate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fate = f
}

// fates returns how many messages had a fate.
func (s *spoiler) fates(what fate) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[what]
}

// anyFate drops, doubles and holds back one of so many messages each.
func anyFate(rnd *rand.Rand, oneOf int) func(string) fate {
	return func(string) fate {
		if n := rnd.IntN(oneOf); n < int(held) {
			return fate(n + 1)
		}
		return passed
	}
}
