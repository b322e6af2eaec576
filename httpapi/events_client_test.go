package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// event is one of a stream.
type event struct{ name, id, data string }

// reading is the other end of a stream. A goroutine reads all that comes.
type reading struct {
	testing.TB
	header http.Header
	cut    func() // breaks the connection and waits for the goroutine

	arrivals
	inbox    []event
	seen     []event // all that came
	last     string  // id that a browser would send
	comments int
}

// watch opens a stream on a node. query are pairs.
func (c *cluster) watch(i int, room, token, last string, query ...string) *reading {
	c.Helper()
	q := url.Values{}
	for j := 0; j < len(query); j += 2 {
		q.Add(query[j], query[j+1])
	}
	ctx, cancel := context.WithCancel(context.Background()) // ended by cut
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.nodes[i].addr+"/v1/rooms/"+room+"/events?"+q.Encode(), http.NoBody)
	if err != nil {
		c.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", eventStream)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := (&http.Client{Transport: c.http.Transport}).Do(r) //nolint:bodyclose // by the goroutine that reads it
	if err != nil {
		c.Fatal(err)
	}
	k := &reading{TB: c.TB, header: res.Header, arrivals: newArrivals(), last: last}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != eventStream {
		c.Fatalf("stream: %s %v", res.Status, res.Header)
	}
	done := make(chan struct{})
	go func() { // ends with the response
		defer close(done)
		defer res.Body.Close()
		k.read(bufio.NewReader(res.Body))
	}()
	k.cut = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	c.Cleanup(k.cut)
	return k
}

func (k *reading) read(br *bufio.Reader) {
	defer k.got(func() { k.ended = true })
	var e event
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && e.name != "":
			k.got(func() {
				k.inbox, k.seen = append(k.inbox, e), append(k.seen, e)
				if e.id != "" {
					k.last = e.id
				}
			})
			e = event{}
		case line == ":":
			k.got(func() { k.comments++ })
		case field == "event":
			e.name = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data = value
		case field == "retry", line == "":
		default:
			k.Errorf("the stream has %q", line)
		}
	}
}

// next returns the next event, which must have the name, and takes it off the inbox.
func (k *reading) next(name string, pairs ...string) event {
	k.Helper()
	var e event
	if !k.wait(func() bool { return len(k.inbox) > 0 }) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.Fatalf("no %s came; ended: %v; before: %v", name, k.ended, k.seen)
	}
	k.mu.Lock()
	e, k.inbox = k.inbox[0], k.inbox[1:]
	k.mu.Unlock()
	if e.name != name {
		k.Fatalf("not %s came, but %v", name, e)
	}
	has(k, name, e.data, pairs...)
	return e
}

// begins takes a snapshot off the inbox and returns its last event.
func (k *reading) begins(pairs ...string) event {
	k.Helper()
	if e := k.next("on-session-start", pairs...); e.id != "" {
		k.Errorf("the beginning of a snapshot has the id %s", e.id)
	}
	if e := k.next("peer-list", "snapshot", "true"); e.id != "" {
		k.Errorf("the middle of a snapshot has the id %s", e.id)
	}
	e := k.next("on-metadata-change", "snapshot", "true")
	if e.id == "" {
		k.Error("the end of a snapshot has no id")
	}
	return e
}

// before returns the names of what comes before a mark, and takes all of it off the inbox.
func (k *reading) before(mark string) string {
	k.Helper()
	var names []string
	for {
		var e event
		if !k.wait(func() bool { return len(k.inbox) > 0 }) {
			k.Fatalf("no mark came; before: %v", names)
		}
		k.mu.Lock()
		e, k.inbox = k.inbox[0], k.inbox[1:]
		k.mu.Unlock()
		if strings.Contains(e.data, `"type":"`+mark+`"`) {
			return strings.Join(names, " ")
		}
		names = append(names, e.name)
	}
}

// over waits for the stream's end.
func (k *reading) over() {
	k.Helper()
	k.wait(func() bool { return false })
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ended {
		k.Fatal("the stream does not end")
	}
}

// lastID is what a browser would resume with.
func (k *reading) lastID() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

func (e event) String() string { return fmt.Sprintf("%s %s %s", e.name, e.id, e.data) }
