//go:build !unix

package httpapi

import "net"

const noFD = -1

// fdOf returns noFD: a goroutine writes.
func fdOf(net.Conn) int { return noFD }
