package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/bench"
	"github.com/hearthstore/hearth/internal/rest"
)

const benchHelp = `Put load on a deployment, and tell how it bears it: latencies, counts, errors, and what it costs.

Scenarios, with what they do if nothing else is asked for:
  fanout  1 room of 1000 peers who hear what one more sends (8 in flight)
  rooms   100 rooms of 5 peers, all of whom send (each 1 in flight)
  joins   100 rooms of 4 peers who see others connect, join and leave (64 in flight)
  sets    100 rooms of 1 peer who hears acknowledged writes of 32 others (each 1 in flight)
  idle    100 rooms of 10 peers who do nothing

With --rate that many messages, writes or joins a second are begun, whether or not those before them are through, and
latencies count from when each was due: what waits behind something slow counts as slow (no coordinated omission).
Without it the next one is begun when one is through: a message when it is acknowledged and everybody has heard it.

Every message is accounted for at each peer that has to hear it. One that was acknowledged and not heard is lost; what
the peers of a socket that ended did not hear is missed: they do not come back. The exit code is 1 if there was any, or
one was told twice or out of order. Refusals are counted by reason and do not change it, unless nothing succeeded.

Tokens of peers are made with HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET, the server's key pair; without them a
development server on this machine gives them. The rooms' names begin with bench- and a random number. At the end, also
after Ctrl-C, they are ended; nothing stays but what the server remembers of any session that is over. A second Ctrl-C
ends at once, and leaves the peers to the grace time.

The processor time of nodes is that of their /metrics, if each --server is one node that shows them. --json prints one
object, with times in milliseconds. Progress is written to standard error.`

const benchExample = `  hearth bench
  hearth bench --scenario rooms --rooms 500 --rate 2000 --duration 1m
  hearth bench --scenario fanout --rate 40 --server http://10.0.0.1:8080 --server http://10.0.0.2:8080
  hearth bench --scenario sets --in-flight 64 --json | jq '.latency_ms.acknowledged.p99'
  hearth bench --scenario idle --rooms 1000 --duration 1m`

func benchCommand() *cobra.Command {
	var o bench.Options
	var b benchmark
	scenario := string(bench.Fanout)
	cmd := &cobra.Command{
		Use: "bench", GroupID: clientGroup, Short: "Put load on a deployment and measure it", Long: benchHelp, Example: benchExample,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Scenario = bench.Scenario(scenario)
			return b.run(cmd, o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&scenario, "scenario", scenario, "what is done: fanout, rooms, joins, sets or idle")
	f.IntVar(&o.Rooms, "rooms", 0, "rooms (default: the scenario's)")
	f.IntVar(&o.Peers, "peers", 0, "peers of each room, besides those who only send or come and go (default: the scenario's)")
	f.Float64Var(&o.Rate, "rate", 0, "messages, writes or joins a second in all; 0: as many as go")
	f.IntVar(&o.InFlight, "in-flight", 0, "without --rate, how many are under way: of each sender of messages, in all of writes and\njoins (default: the scenario's). With --rate, how many may write, or be joining, at a time")
	size := byteSize(256)
	f.Var(&size, "size", "bytes of a message or value")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "how long it is measured")
	f.DurationVar(&o.Warmup, "warmup", time.Second, "how long the same is done before, and not counted")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Second, "how long an answer may take")
	f.StringSliceVar(&b.servers, "server", []string{defaultServer}, "URL of a node; give several to spread the peers of each room over them")
	f.StringVar(&b.role, "role", "host", "role of the peers: it has to permit what they do, and end_room for a quick end")
	f.BoolVar(&b.asJSON, "json", false, "print JSON")
	f.BoolVar(&b.quiet, "quiet", false, "write no progress")
	cmd.PreRun = func(*cobra.Command, []string) { o.Size = int(size) }
	_ = cmd.RegisterFlagCompletionFunc("scenario", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, s := range bench.Scenarios {
			names = append(names, string(s))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// benchmark is what the command is told beside what is done.
type benchmark struct {
	servers       []string
	role          string
	asJSON, quiet bool
}

func (b *benchmark) run(cmd *cobra.Command, o bench.Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	if !hearth.ValidName(b.role) {
		return hearth.CheckName("--role", b.role)
	}
	if err := b.reach(cmd.Flags(), &o); err != nil {
		return err
	}
	var err error
	if o.Token, err = b.tokens(); err != nil {
		return err
	}
	wipe := func() {}
	if !b.quiet {
		o.Progress, wipe = progress(cmd.ErrOrStderr(), o.Scenario)
	}
	res, err := bench.Run(cmd.Context(), o)
	wipe()
	if err != nil {
		return err
	}
	if b.asJSON {
		err = printJSON(cmd.OutOrStdout(), res)
	} else {
		err = res.Print(cmd.OutOrStdout())
	}
	switch {
	case err != nil:
		return err
	case res.Lost > 0 || res.Missed > 0:
		return fmt.Errorf("%d acknowledged messages were not heard by a peer that had to, %d of them since its socket had ended", res.Lost+res.Missed, res.Missed)
	case res.Repeated > 0:
		return fmt.Errorf("%d messages came twice or out of order", res.Repeated)
	case res.Failed():
		return fmt.Errorf("nothing succeeded; of %d tries all failed", res.Sent)
	}
	return nil
}

// reach makes URLs of what --server and HEARTH_SERVER say.
func (b *benchmark) reach(f *pflag.FlagSet, o *bench.Options) error {
	if err := variable(f, "server"); err != nil {
		return usageError{err}
	}
	for _, s := range b.servers {
		c, err := rest.New(s, rest.Fixed(""), o.Timeout)
		if err != nil {
			return err
		}
		o.Servers = append(o.Servers, c.URL())
		c.Close()
	}
	if len(o.Servers) == 0 {
		return usagef("--server is empty")
	}
	return nil
}

// tokens returns what makes a token for a room.
func (b *benchmark) tokens() (func(ctx context.Context, room string) (string, error), error) {
	of := func(room string) auth.Principal { return auth.Principal{Room: room, User: "bench", Role: b.role} }
	v, err := signer()
	if err != nil {
		return nil, err
	}
	if v == nil {
		return func(ctx context.Context, room string) (string, error) {
			p := of(room)
			return (&remote{server: b.servers[0]}).askToken(ctx, &p)
		}, nil
	}
	return func(_ context.Context, room string) (string, error) { return v.Mint(of(room), mintedTTL) }, nil
}

// linesEvery is how often a line tells of the progress where there is no terminal.
const linesEvery = 5 * time.Second

// progress returns what shows how a run goes, by a line that is written over on a terminal and now and then a line elsewhere,
// and what takes the line away.
func progress(w io.Writer, what bench.Scenario) (show func(bench.Progress), wipe func()) {
	file, isFile := w.(*os.File)
	terminal := isFile && isatty.IsTerminal(file.Fd())
	began, last := time.Now(), time.Time{}
	stage, rate := "", rates{}
	show = func(p bench.Progress) {
		now := time.Now()
		if p.Stage != stage {
			stage, rate, last = p.Stage, rates{}, time.Time{}
		}
		if !terminal && now.Sub(last) < linesEvery {
			return
		}
		last = now
		line := fmt.Sprintf("%s  %-10s %s", what, p.Stage, bar(p.Part))
		if p.Stage == "connecting" {
			line += fmt.Sprintf("  %d joined", p.Done)
		} else if p.Deliveries > 0 || p.Done > 0 {
			line += "  " + rate.of(now, p)
		}
		if p.Errors > 0 {
			line += fmt.Sprintf("  %d errors", p.Errors)
		}
		if terminal {
			_, _ = fmt.Fprintf(w, "\r%s\x1b[K", line)
			return
		}
		_, _ = fmt.Fprintf(w, "%4.0fs  %s\n", now.Sub(began).Seconds(), line)
	}
	return show, func() {
		if terminal {
			_, _ = io.WriteString(w, "\r\x1b[K")
		}
	}
}

// rates makes rates of counts.
type rates struct {
	at               time.Time
	done, deliveries int64
}

func (r *rates) of(now time.Time, p bench.Progress) string {
	text := fmt.Sprintf("%d done", p.Done)
	if s := now.Sub(r.at).Seconds(); !r.at.IsZero() && s > 0 {
		text = fmt.Sprintf("%.0f/s", max(0, float64(p.Done-r.done)/s))
		if p.Deliveries > 0 {
			text += fmt.Sprintf("  %.0f deliveries/s", max(0, float64(p.Deliveries-r.deliveries)/s))
		}
	}
	r.at, r.done, r.deliveries = now, p.Done, p.Deliveries
	return text
}

const barLength = 24

func bar(part float64) string {
	n := int(part*barLength + 0.5)
	return "[" + strings.Repeat("#", n) + strings.Repeat("·", barLength-n) + fmt.Sprintf("] %3.0f%%", part*100)
}
