package httpapi

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// allocated returns how many bytes this process allocates while f runs, freed or not: the clients' are among them.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// inflates is what some bytes become that fit into a frame.
const inflates = 8 << 20

// deflated returns a compressed message of zeros, as permessage-deflate has them.
func deflated(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, inflates)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

func gzipped(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(make([]byte, inflates)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Bombs are what is small on the way and large in memory: compressed, or of many small values. Whatever they are, they take no
// more than some times what came.
func TestBombs(t *testing.T) {
	const times, size = 3, 64 << 10
	c := newCluster(t, setup{nodes: 1, limits: hearth.Limits{MaxFrame: size, MaxValue: 16 << 10}})
	deflate, gz := deflated(t), gzipped(t)
	if len(deflate) > size || len(gz) > size {
		t.Fatalf("the bombs have %d and %d bytes: they are refused for that", len(deflate), len(gz))
	}
	took := func(what string, most int, f func()) {
		t.Helper()
		f() // what is made once
		// The least of some: the node's other work is counted too, and sync.Pool drops by chance under the race detector.
		got := allocated(f)
		for range times - 1 {
			got = min(got, allocated(f))
		}
		if got > most {
			t.Errorf("%s: %d KiB are allocated for %d", what, got>>10, size>>10)
		}
	}
	k := c.join(0, "r", "ann", "host", nil)
	fill := func(begin, with, end string) string {
		return begin + strings.Repeat(with, (size-len(begin)-len(end))/len(with)) + end
	}
	call := func(method, begin, with, end string) string {
		return fill(`{"id":1,"method":"`+method+`","params":`+begin, with, end+"}")
	}
	for name, text := range map[string]string{
		"a batch of nothing":       fill("[", "0,", "0]"),
		"a batch of objects":       fill("[", "{},", "{}]"),
		"a batch that has no end":  fill("[", "0,", ""),
		"deep arrays":              fill("", "[", ""),
		"deep objects":             fill("", `{"a":`, ""),
		"many members":             fill(`{"id":1`, `,"x":0`, "}"),
		"many params":              call("set-metadata", `{"key":"k"`, `,"x":0`, "}"),
		"ops of nothing":           call("update-metadata", `{"ops":[{}`, ",{}", "]}"),
		"ops by a name in escapes": call("update-metadata", `{"\u006FPS":[{}`, ",{}", "]}"),
		"keys of nothing":          call("listen-metadata-change", `{"keys":[""`, `,""`, "]}"),
		"peers of nothing":         call("find-peer", `{"peers":[""`, `,""`, "]}"),
		"roles of nothing":         call("broadcast", `{"info":{"message":1},"roles":[""`, `,""`, "]}"),
		"groups of nothing":        call("join", `{"groups":[""`, `,""`, "]}"),
		"escapes":                  call("peer-update", `{"name":"`, `\u0000`, `"}`),
		"a value of nothing":       call("set-metadata", `{"key":"k","data":[0`, ",0", "]}"),
		"a long number":            call("set-metadata", `{"key":"k","data":`, "9", "}"),
	} {
		took(name, 12*size, func() { // of which the client's own are two
			k.send(text)
			k.first()
		})
	}
	compressed := part(ws.OpText, true, string(deflate))
	compressed[0] |= 0x40 // RSV1
	took("a compressed frame", 16*size, func() {
		k := c.dial(0, []string{"token", c.token("r", "bob", "host")}, "Sec-WebSocket-Extensions", "permessage-deflate")
		if _, err := k.nc.Write(compressed); err != nil {
			t.Error(err)
		}
		k.closed(closeProtocol)
	})
	for _, encoding := range []string{"gzip", "deflate"} {
		took(encoding, 16*size, func() {
			text := gz
			if encoding == "deflate" {
				text = string(deflate)
			}
			c.do("PATCH", "/v1/rooms/r/metadata", c.server(), text, "Content-Encoding", encoding).problem(http.StatusBadRequest, "not_json")
		})
	}
	ops := fill(`{"ops":[{}`, ",{}", "]}")
	took("ops in a body", 12*size, func() {
		c.do("PATCH", "/v1/rooms/r/metadata", c.server(), ops).problem(http.StatusRequestEntityTooLarge, "too_many")
	})
	// What is not decoded may be as long as it likes.
	list := "[0" + strings.Repeat(",0", 3*maxList) + "]"
	k.ok("set-metadata", object{"key": "k", "data": json.RawMessage(list)})
	k.ok("broadcast", object{"info": object{"message": json.RawMessage(list)}})
	c.do("POST", "/v1/rooms/r/messages", c.server(), `{"message":`+list+`}`).is(http.StatusAccepted)
}

// What a frame says that it has is not held for it before it comes.
func TestWhatIsAnnouncedIsNotHeld(t *testing.T) {
	n := newCluster(t, setup{nodes: 1}).nodes[0]
	size := n.node.Limits().MaxFrame
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		c := newConn(n.Server, ours, bufio.NewReaderSize(ours, readBuffer), &auth.Principal{}, "")
		defer c.cancel()
		ended := make(chan int)
		go func() { // ends with the pipe
			_, got, _, _ := c.message()
			ended <- got
		}()
		sent := 0
		for _, b := range [][]byte{header(int64(size)), make([]byte, 1), make([]byte, 2*readStep), make([]byte, 5*readStep)} {
			if _, err := theirs.Write(b); err != nil {
				t.Fatal(err)
			}
			sent += len(b)
			synctest.Wait()
			if held := cap(c.text); held > 2*sent+2*readStep {
				t.Errorf("%d bytes are held after %d of %d", held, sent, size)
			}
		}
		_ = theirs.Close()
		if got := <-ended; got != gotEnd {
			t.Errorf("a part is taken for a message: %d", got)
		}
	})
}
