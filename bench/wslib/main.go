// Command wslib measures WebSocket libraries as the server side of Hearth: the memory of an idle connection,
// the processor time of a frame that goes to a whole room, and what a peer is told that sends bad frames.
//
// It compares libraries with each other on one machine. It is no benchmark of Hearth, says nothing about TLS
// or compression, and its absolute numbers do not carry over to other machines.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	rounds      = 3 // odd, so that there is a median
	idleConns   = 3000
	fanoutConns = 500
	framesEach  = 1000 // frames to each connection in one fan-out measurement
)

func main() {
	log.SetFlags(log.Lshortfile)
	var files syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	files.Cur = files.Max
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files))
	if files.Cur < idleConns+100 {
		log.Fatalf("%d connections need more open files than the %d allowed", idleConns, files.Cur)
	}
	measurements := map[string][]func(lib string) []figure{
		"idle": {measureIdle}, "fanout": {measureFanout}, "badframes": {measureBadFrames},
		"all": {measureIdle, measureFanout, measureBadFrames},
	}
	args := append(os.Args[1:], "all")
	if args[0] == "server" { // how the program starts itself, once for each server
		serve(libraries[slices.IndexFunc(libraries, func(l library) bool { return l.name == args[1] })])
		return
	}
	if measurements[args[0]] == nil {
		log.Fatal("usage: wslib [idle|fanout|badframes|all]")
	}
	for _, measure := range measurements[args[0]] {
		table(measure)
	}
}

// check ends the program when something fails that has to work. Servers end when their input does.
func check(err error) {
	if err != nil {
		_ = log.Output(2, err.Error())
		os.Exit(1)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

// figure is one line of a table, as measured once for one library: a number, or an outcome and the wanted one.
type figure struct {
	name      string
	number    float64
	got, want string
}

// table measures all libraries in turn, in rounds, and prints the medians. A number is also shown against the
// first library's, with half the distance from its least to its greatest; an outcome that varies is shown whole.
func table(measure func(lib string) []figure) {
	seen := make([][][]figure, len(libraries)) // library, round, line
	for range rounds {
		for i, lib := range libraries {
			seen[i] = append(seen[i], measure(lib.name))
		}
	}
	head := "|"
	for _, lib := range libraries {
		head += " | " + lib.name
	}
	fmt.Println(head + " |\n|---|" + strings.Repeat("---:|", len(libraries)))
	for line, f := range seen[0][0] {
		fmt.Print("| ", f.name)
		var first float64
		for i := range libraries {
			var numbers []float64
			var outcomes []string
			for _, figures := range seen[i] {
				numbers, outcomes = append(numbers, figures[line].number), append(outcomes, figures[line].got)
			}
			slices.Sort(numbers)
			slices.Sort(outcomes)
			median, got := numbers[rounds/2], strings.Join(slices.Compact(outcomes), " or ")
			if i == 0 {
				first = median
			}
			switch {
			case f.want == "":
				fmt.Printf(" | %.3g (%.2f×) ±%.0f %%", median, median/first, 50*(numbers[rounds-1]-numbers[0])/median)
			case got == f.want:
				fmt.Print(" | ", got)
			default:
				fmt.Printf(" | **%s**", got)
			}
		}
		fmt.Println(" |")
	}
	fmt.Println()
}

// process is a library's server in a process of its own, so that what it uses is told apart from the client's.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	addr  string
	conns []*client
}

// start runs a server and opens n connections to it. Each has one message echoed: what a library allocates with
// the first message is part of an idle connection. The stats are those before.
func start(lib string, n int) (p *process, before stats) {
	cmd := exec.Command(must(os.Executable()), "server", lib)
	p = &process{cmd: cmd, in: must(cmd.StdinPipe()), out: bufio.NewReader(must(cmd.StdoutPipe())), conns: make([]*client, n)}
	check(cmd.Start())
	p.addr = strings.TrimSpace(must(p.out.ReadString('\n')))
	before = p.ask("gc")
	hello := masked(fin|opText, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	for i := range p.conns {
		p.conns[i] = must(dial(p.addr, nil))
		must(p.conns[i].Write(hello))
		must(io.ReadFull(p.conns[i].br, make([]byte, len(hello)-4))) // the echo bears no mask
	}
	return p, before
}

// stop ends the process. The error says that it had died before.
func (p *process) stop() error {
	for _, c := range p.conns {
		_ = c.Close()
	}
	_ = p.in.Close()
	return p.cmd.Wait()
}

func (p *process) ask(cmd string) (st stats) {
	must(fmt.Fprintln(p.in, cmd))
	check(json.Unmarshal(must(p.out.ReadBytes('\n')), &st))
	return st
}

// measureIdle compares a server with idleConns quiet connections to itself with none.
func measureIdle(lib string) []figure {
	p, before := start(lib, idleConns)
	must(fmt.Fprintln(p.in, "cast 1")) // a room has written to each as well
	for _, c := range p.conns {
		check(c.expect())
	}
	after := p.ask("gc")
	check(p.stop())
	return []figure{
		{name: "heap + stacks, KiB/connection", number: (after.HeapStack - before.HeapStack) / idleConns / 1024},
		{name: "RSS, KiB/connection", number: (after.RSS - before.RSS) / idleConns / 1024},
		{name: "goroutines/connection", number: (after.Goroutines - before.Goroutines) / idleConns},
	}
}

// measureFanout sends to a room of fanoutConns: frames one at a time, then eight at once to each socket. The
// next ones are sent when all have arrived, so nothing piles up beyond that.
func measureFanout(lib string) (figures []figure) {
	p, _ := start(lib, fanoutConns)
	var missing atomic.Int64 // frames that have still to arrive
	arrived := make(chan struct{})
	for _, c := range p.conns {
		go func() {
			for c.expect() == nil { // until stop
				if missing.Add(-1) == 0 {
					arrived <- struct{}{}
				}
			}
		}()
	}
	for _, burst := range []int{1, 8} {
		cast := func(frames int) {
			for range frames / burst {
				missing.Store(int64(burst * fanoutConns))
				must(fmt.Fprintln(p.in, "cast", burst))
				<-arrived
			}
		}
		cast(10 * burst) // let pools fill and stacks grow
		before := p.ask("stats")
		cast(framesEach)
		after := p.ask("stats")
		const frames = framesEach * fanoutConns
		at := fmt.Sprintf("/frame, %d at once", burst)
		figures = append(figures, figure{name: "µs CPU" + at, number: (after.CPU - before.CPU) / frames},
			figure{name: "writes" + at, number: (after.Writes - before.Writes) / frames},
			figure{name: "allocations" + at, number: (after.Mallocs - before.Mallocs) / frames})
	}
	check(p.stop())
	return figures
}

// measureBadFrames plays each case against a server of its own: a single frame can end the process.
func measureBadFrames(lib string) []figure {
	figures := make([]figure, len(badCases))
	var all sync.WaitGroup
	for i, b := range badCases {
		all.Go(func() {
			p, _ := start(lib, 0)
			figures[i] = figure{name: b.name + " → " + b.want, want: b.want, got: b.play(p.addr)}
			if p.stop() != nil {
				figures[i].got = "process dies"
			}
		})
	}
	all.Wait()
	return figures
}
