// Package rawio makes system calls on sockets that don't block, without telling Go's scheduler of each. A call that it is told
// of wakes its supervising thread, which then looks after the processors every 20 µs; on a node that has a little to do all the
// time that thread takes a tenth and more of the processor time. The scheduler can't use the processor for something else during
// a call: so it is for calls that return at once, and for none other.
//
// Elsewhere than on Linux, and for the race detector, which learns from such calls what comes before what, it makes the ordinary
// ones.
package rawio
