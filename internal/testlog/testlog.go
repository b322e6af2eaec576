// Package testlog keeps what something under test says, so that the test can read it meanwhile. It is for tests only, and
// not for what is compared line by line: see the golden files for that.
package testlog

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer is an io.Writer of which several goroutines may write and read. The zero value is empty.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Has reports whether a text was written.
func (b *Buffer) Has(text string) bool { return strings.Contains(b.String(), text) }
