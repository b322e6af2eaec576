//go:build amd64 || arm64

package netsend

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// What is used of Linux's io_uring(7), by the names that it has there.
const (
	sysSetup, sysEnter = 425, 426

	opSend     = 26
	offSQRing  = 0
	offSQEs    = 0x10000000
	enterGet   = 1      // IORING_ENTER_GETEVENTS
	featOneMap = 1 << 0 // IORING_FEAT_SINGLE_MMAP
	featNoDrop = 1 << 1 // IORING_FEAT_NODROP
	featNative = 1 << 9 // IORING_FEAT_NATIVE_WORKERS, of Linux 5.12: rings don't count as locked memory since
	featNeeded = featOneMap | featNoDrop | featNative
	sendFlags  = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
)

type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// sqe asks for something.
type sqe struct {
	op, flags uint8
	_         uint16
	fd        int32
	_         uint64
	addr      uint64
	size      uint32
	opFlags   uint32
	data      uint64
	_         [3]uint64
}

// cqe answers.
type cqe struct {
	data  uint64
	res   int32
	flags uint32
}

// ring is a pair of queues that are shared with the kernel.
type ring struct {
	fd             int
	rings, entries []byte // what is mapped
	sqTail         *uint32
	sqMask         uint32
	array          []uint32
	sqes           []sqe
	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe
}

// newRing returns nil where there is none to be had.
func newRing() *ring {
	var p params
	fd, _, errno := syscall.Syscall(sysSetup, Most, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil
	}
	r := &ring{fd: int(fd)}
	_, _, errno = syscall.RawSyscall6(sysEnter, fd, 0, 0, 0, 0, 0) // which may be forbidden by itself
	if p.features&featNeeded != featNeeded || errno != 0 {
		r.close()
		return nil
	}
	size := max(p.sq.array+p.sqEntries*4, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	var err error
	if r.rings, err = syscall.Mmap(r.fd, offSQRing, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE); err == nil {
		r.entries, err = syscall.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE)
	}
	if err != nil {
		r.close()
		return nil
	}
	at := func(offset uint32) unsafe.Pointer { return unsafe.Pointer(&r.rings[offset]) }
	r.sqTail, r.sqMask = (*uint32)(at(p.sq.tail)), *(*uint32)(at(p.sq.mask))
	r.array = unsafe.Slice((*uint32)(at(p.sq.array)), p.sqEntries)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqHead, r.cqTail, r.cqMask = (*uint32)(at(p.cq.head)), (*uint32)(at(p.cq.tail)), *(*uint32)(at(p.cq.mask))
	r.cqes = unsafe.Slice((*cqe)(at(p.cq.cqes)), p.cqEntries)
	return r
}

func (r *ring) close() {
	if r.entries != nil {
		_ = syscall.Munmap(r.entries)
	}
	if r.rings != nil {
		_ = syscall.Munmap(r.rings)
	}
	_ = syscall.Close(r.fd)
}

// send makes writes together; there are no more of them than entries. If the ring fails it reports how many of them have been made
// and must not be made again, and the ring is of no more use.
func (r *ring) send(fds []int32, texts [][]byte, results []int32) (done int, ok bool) {
	tail := *r.sqTail // nobody else changes it
	for i, text := range texts {
		at := (tail + uint32(i)) & r.sqMask
		r.array[at] = at
		r.sqes[at] = sqe{
			op: opSend, fd: fds[i], addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(text)))), size: uint32(len(text)), opFlags: sendFlags, data: uint64(i),
		}
	}
	atomic.StoreUint32(r.sqTail, tail+uint32(len(texts)))
	begun, done := 0, 0
	for done < len(texts) {
		n, _, errno := syscall.RawSyscall6(sysEnter, uintptr(r.fd), uintptr(len(texts)-begun), uintptr(begun-done), enterGet, 0, 0)
		switch errno {
		case 0:
			begun += int(n)
		case syscall.EINTR:
		default: // what is under way can't be taken back
			if done += r.reap(results); begun == done {
				return done, false
			}
		}
		done += r.reap(results)
	}
	return done, true
}

// reap takes the answers that are there.
func (r *ring) reap(results []int32) (n int) {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	for ; head != tail; head++ {
		answer := &r.cqes[head&r.cqMask]
		results[answer.data] = answer.res
		n++
	}
	atomic.StoreUint32(r.cqHead, head)
	return n
}
