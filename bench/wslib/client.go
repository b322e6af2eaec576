package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	fin, opNext, opText, opClose, opPing, opPong = 0x80, 0x0, 0x1, 0x8, 0x9, 0xA

	request = "GET /ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

// notification is the 300-byte text that rooms send; onWire is its frame, byte for byte.
var (
	notification = []byte(`{"jsonrpc":"2.0","method":"on-broadcast","params":{"message":"` + strings.Repeat("h", 235) + `"}}`)
	onWire       = append([]byte{fin | opText, 126, 300 >> 8, 300 & 0xff}, notification...)
)

// client is a raw connection after the handshake: what it sends is up to the caller, right or wrong.
type client struct {
	*net.TCPConn
	br *bufio.Reader
}

// dial connects and upgrades; early goes out in one write with the request.
func dial(addr string, early []byte) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn.(*net.TCPConn), bufio.NewReaderSize(conn, 4<<10)}
	_ = c.SetLinger(0) // thousands of them: leave no TIME_WAIT behind
	_, _ = c.Write(append([]byte(request), early...))
	if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		_ = c.Close()
		return nil, fmt.Errorf("upgrade: %w (%v)", err, resp)
	}
	return c, nil
}

// expect reads one notification and checks it byte for byte.
func (c *client) expect() error {
	frame := make([]byte, len(onWire))
	_, err := io.ReadFull(c.br, frame)
	if err == nil && !bytes.Equal(frame, onWire) {
		log.Fatalf("a frame arrived changed: %q", frame)
	}
	return err
}

// masked is a client's frame: first is FIN, RSV bits and opcode.
func masked(first byte, payload string) []byte {
	const mask = "\x37\xfa\x21\x3d"
	f := []byte{first, 0x80 | byte(len(payload))}
	if n := len(payload); n >= 1<<16 {
		f = binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, uint64(n))
	} else if n >= 126 {
		f = binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(n))
	}
	f = append(f, mask...)
	for i := range len(payload) {
		f = append(f, payload[i]^mask[i%4])
	}
	return f
}

func closing(code uint16, reason string) []byte {
	return masked(fin|opClose, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

// badCase is what a client sends, some of it valid, and what Hearth wants it to get.
type badCase struct {
	name, want string
	send       [][]byte
}

// early is the name of the case that is sent in one segment with the request.
const early = "text in one segment with the request"

var (
	// normal follows most faults: a server that swallows the fault shows it by answering 1000.
	normal   = closing(1000, "")
	kib40    = strings.Repeat("x", 40<<10)
	badCases = []badCase{
		{"unmasked text", "1002", [][]byte{{fin | opText, 2, 'h', 'i'}, normal}},
		{"RSV1", "1002", [][]byte{masked(fin|0x40|opText, "hi"), normal}},
		{"RSV2", "1002", [][]byte{masked(fin|0x20|opText, "hi"), normal}},
		{"RSV3 on a ping", "1002", [][]byte{masked(fin|0x10|opPing, ""), normal}},
		{"reserved data opcode 3", "1002", [][]byte{masked(fin|0x3, "hi"), normal}},
		{"reserved control opcode 11", "1002", [][]byte{masked(fin|0xB, "hi"), normal}},
		{"fragmented ping", "1002", [][]byte{masked(opPing, "hi"), masked(fin|opNext, ""), normal}},
		{"ping of 126 bytes", "1002", [][]byte{masked(fin|opPing, kib40[:126]), normal}},
		{"continuation without a start", "1002", [][]byte{masked(fin|opNext, "hi"), normal}},
		{"new text inside a fragmented one", "1002", [][]byte{masked(opText, "a"), masked(fin|opText, "b"), normal}},
		{"64-bit length, top bit set", "1002", [][]byte{[]byte("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00mask"), normal}},
		{"16-bit length for 2 bytes", "echo 1000", // forbidden to the sender, and tolerated by all
			[][]byte{[]byte("\x81\xfe\x00\x02\x00\x00\x00\x00hi"), normal}},
		{"invalid UTF-8", "1007", [][]byte{masked(fin|opText, "\xce\xba\xed\xa0\x80"), normal}},
		{"invalid UTF-8 over fragments", "1007", [][]byte{masked(opText, "\xce"), masked(fin|opNext, "\xce"), normal}},
		{"a character over fragments", "echo 1000", [][]byte{masked(opText, "\xce"), masked(fin|opNext, "\xba"), normal}},
		{"ping between fragments", "pong echo 1000", [][]byte{masked(opText, "a"), masked(fin|opPing, "p"), masked(fin|opNext, "b"), normal}},
		{"1 MiB announced, nothing sent", "1009", [][]byte{[]byte("\x81\xff\x00\x00\x00\x00\x00\x10\x00\x00mask")}},
		{"1 MiB announced and sent", "1009", [][]byte{masked(fin|opText, strings.Repeat("x", 1<<20)), normal}},
		{"two fragments of 40 KiB", "1009", [][]byte{masked(opText, kib40), masked(fin|opNext, kib40), normal}},
		{"close without a code", "no code", [][]byte{masked(fin|opClose, "")}},
		{"close with 1 byte", "1002", [][]byte{masked(fin|opClose, "\x03")}},
		{"close 999", "1002", [][]byte{closing(999, "")}},
		{"close 1005", "1002", [][]byte{closing(1005, "")}},
		{"close 1016", "1002", [][]byte{closing(1016, "")}},
		{"close 5000", "1002", [][]byte{closing(5000, "")}},
		{"close 1013", "1013", [][]byte{closing(1013, "")}},
		{"close 4001", "4001", [][]byte{closing(4001, "bye")}},
		{"close, reason not UTF-8", "1002", [][]byte{closing(1000, "\xff")}},
		{early, "echo 1000", [][]byte{masked(fin|opText, "hi"), normal}},
	}
)

// play sends the case and tells what came back, as a list of words: "echo" or "pong" for an answer, the code
// of the close frame, "EOF" or "reset" if there was none, "silence" if nothing came for a second, "left open"
// if the connection stayed open after the close frame.
func (b badCase) play(addr string) (words string) {
	first, rest := []byte(nil), bytes.Join(b.send, nil)
	if b.name == early {
		first, rest = rest, nil
	}
	c, err := dial(addr, first)
	if err != nil {
		return "upgrade fails"
	}
	defer c.Close()
	go func() { _, _ = c.Write(rest) }() // blocks if the server stops reading, until Close
	for ; ; words += " " {
		check(c.SetReadDeadline(time.Now().Add(time.Second)))
		var header [2]byte // the answers are all shorter than 126 bytes
		_, err := io.ReadFull(c.br, header[:])
		payload := make([]byte, header[1])
		if err == nil {
			_, err = io.ReadFull(c.br, payload)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return words + "silence"
		case errors.Is(err, syscall.ECONNRESET):
			return words + "reset"
		case err != nil:
			return words + "EOF"
		case header[0] == fin|opPong:
			words += "pong"
		case header[0] != fin|opClose:
			words += "echo"
		default:
			code := "no code"
			if len(payload) >= 2 {
				code = fmt.Sprint(binary.BigEndian.Uint16(payload))
			}
			if _, err := io.Copy(io.Discard, c.br); errors.Is(err, os.ErrDeadlineExceeded) {
				code += " left open"
			}
			return words + code
		}
	}
}
