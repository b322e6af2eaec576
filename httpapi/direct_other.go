//go:build !unix

package httpapi

import "net"

// direct writes to a socket without waiting for it, where that can be done.
type direct struct{}

func (*direct) init(net.Conn) {}

func (*direct) write([]byte) (int, error) { return 0, nil }
