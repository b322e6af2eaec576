package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"
)

// Event is one event of a stream. ID is the last cursor that the stream has named, so to resume from it repeats nothing
// that came with a cursor of its own and loses nothing that came without.
type Event struct {
	Name string          `json:"event"`
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data"`
}

// maxEvent bounds one event: a snapshot's frame has 256 KiB, or the one value that is larger.
const maxEvent = 16 << 20

// parser reads the text/event-stream format as the HTML standard has it.
type parser struct {
	r     *bufio.Reader
	id    string        // of the last event
	retry time.Duration // what the server wants to be waited; 0: it has not said
	heard func()        // called for each line, comments included
}

// next returns the next event that has data. A stream that ends within an event has not sent it.
func (p *parser) next() (Event, error) {
	e := Event{ID: p.id}
	var data []byte
	has := false
	for {
		line, err := p.line()
		if err != nil {
			return Event{}, err
		}
		p.heard()
		if len(line) == 0 {
			p.id = e.ID
			if !has {
				e.Name = ""
				continue
			}
			e.Data = data
			if !json.Valid(data) {
				return Event{}, errors.New("an event's data is not JSON")
			}
			return e, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.Name = string(value)
		case "data":
			if has {
				data = append(data, '\n')
			}
			if len(data)+len(value) > maxEvent {
				return Event{}, errors.New("an event is too long")
			}
			data, has = append(data, value...), true
		case "id":
			if !bytes.ContainsRune(value, 0) {
				e.ID = string(value)
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				p.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line returns the next line without its end: \n or \r\n. A lone \r, which the standard takes as well, ends no line of
// ours: to see it is none of \r\n, the next byte would have to be waited for.
func (p *parser) line() ([]byte, error) {
	var whole []byte
	for {
		part, err := p.r.ReadSlice('\n')
		if whole == nil && err == nil {
			return bytes.TrimSuffix(part[:len(part)-1], []byte("\r")), nil
		}
		whole = append(whole, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(whole[:len(whole)-1], []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(whole) > maxEvent:
			return nil, errors.New("a line is too long")
		}
	}
}

func newParser(r io.Reader, id string, heard func()) *parser {
	return &parser{r: bufio.NewReaderSize(r, 16<<10), id: id, heard: heard}
}
