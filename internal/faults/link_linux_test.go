package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace with a veth pair to ours. Its addresses are two pairs, so that the path of clients and
// the path to Redis can be cut by themselves: clients reach the node at one of them; 127.0.0.0/8 in the namespace, which
// has no loopback of its own, is routed to *our* loopback by the other. So every server on it is there, at its own address:
// sentinels and clusters, which tell addresses, as well.
type namespace struct {
	tb   testing.TB
	fd   *os.File // keeps the namespace alive; nothing of it has a name, so nothing is left of it
	veth string   // our end
	net  string   // first three bytes of the addresses
	base int      // of the fourth
}

var namespaces atomic.Int64

func newNamespace(tb testing.TB) (*namespace, error) {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil, errors.New("not root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, err
	}
	fd, err := unshare()
	if err != nil {
		return nil, err
	}
	// Test binaries of other packages may make theirs at the same time.
	i := namespaces.Add(1)
	ns := &namespace{
		tb: tb, fd: fd, veth: fmt.Sprintf("hf%x-%x", os.Getpid(), i),
		net: fmt.Sprintf("10.%d.%d", 200+rand.IntN(50), rand.IntN(256)), base: int(i*8) % 256,
	}
	tb.Cleanup(func() {
		_ = run("ip", "link", "del", ns.veth) // goes with the namespace anyway, some time later
		_ = fd.Close()
	})
	for _, err := range []error{
		ns.inside("ip", "link", "add", "up0", "type", "veth", "peer", "name", ns.veth, "netns", strconv.Itoa(os.Getpid())),
		run("ip", "addr", "add", ns.addr(1)+"/30", "dev", ns.veth),
		run("ip", "addr", "add", ns.addr(5)+"/30", "dev", ns.veth),
		run("ip", "link", "set", ns.veth, "up"),
		// Packets from and to 127.0.0.0/8 may travel by this interface.
		os.WriteFile("/proc/sys/net/ipv4/conf/"+ns.veth+"/route_localnet", []byte("1"), 0),
		ns.inside("ip", "addr", "add", ns.addr(2)+"/30", "dev", "up0"),
		ns.inside("ip", "addr", "add", ns.addr(6)+"/30", "dev", "up0"),
		ns.inside("ip", "link", "set", "up0", "up"),
		ns.inside("sysctl", "-qw", "net.ipv4.conf.up0.route_localnet=1"),
		ns.inside("ip", "route", "add", "127.0.0.0/8", "via", ns.addr(5), "src", ns.addr(6)),
	} {
		if err != nil {
			return nil, err
		}
	}
	return ns, nil
}

// The main thread stays where it is: a thread that was in another namespace ends with its goroutine, but the main one can't
// end, and the process's own namespace is that of its main thread. Nothing but the main goroutine runs on it from here on.
func init() { runtime.LockOSThread() } //nolint:gochecknoinits // it has to be before the first test

// unshare makes a network namespace and returns what keeps it.
func unshare() (fd *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is no good for anything else
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			fd, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	return fd, err
}

// enter takes the calling thread into the namespace, for good.
func (ns *namespace) enter() error { return unix.Setns(int(ns.fd.Fd()), unix.CLONE_NEWNET) }

// inside runs a command in the namespace.
func (ns *namespace) inside(name string, args ...string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // see unshare
		if err := ns.enter(); err != nil {
			done <- err
			return
		}
		done <- run(name, args...)
	}()
	return <-done
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil { //nolint:noctx // takes no time
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (ns *namespace) addr(i int) string { return fmt.Sprintf("%s.%d", ns.net, ns.base+i) }

func (ns *namespace) means() string                { return "a network namespace" }
func (ns *namespace) listenAddr() string           { return ns.addr(2) + ":0" }
func (ns *namespace) redisAddr(addr string) string { return addr }

// nowhere is a hardware address that nobody has: a frame to it is sent, and dropped where it arrives.
const nowhere = "02:00:00:00:00:01"

func (ns *namespace) must(err error) {
	ns.tb.Helper()
	if err != nil {
		ns.tb.Error(err)
	}
}

func (ns *namespace) Cut() {
	ns.tb.Helper()
	ns.must(ns.inside("ip", "neigh", "replace", ns.addr(5), "lladdr", nowhere, "dev", "up0", "nud", "permanent"))
	ns.must(run("ip", "neigh", "replace", ns.addr(6), "lladdr", nowhere, "dev", ns.veth, "nud", "permanent"))
}

func (ns *namespace) Heal() {
	ns.tb.Helper()
	ns.must(ns.inside("ip", "neigh", "del", ns.addr(5), "dev", "up0"))
	ns.must(run("ip", "neigh", "del", ns.addr(6), "dev", ns.veth))
}

func (ns *namespace) Reset() {
	ns.tb.Helper()
	ns.must(ns.inside("ss", "-K", "dst", "127.0.0.0/8"))
}
