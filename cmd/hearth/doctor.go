package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/doctor"
	"github.com/hearthstore/hearth/internal/rest"
)

func doctorCommand() *cobra.Command {
	var r remote
	var asJSON bool
	var o doctor.Options
	var at redisPlace
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: clientGroup,
		Short:   "Check a server, and the way to it",
		Long: "Check, from where you are, that a server works: that it answers and is ready, that the clocks agree, that the token is\n" +
			"accepted, that a session begins, takes writes and ends, and that WebSockets and event streams come through whatever is\n" +
			"in between. With --redis or HEARTH_REDIS also the Redis behind it: version, memory, persistence;\n" +
			"of a cluster those of each master, and whether all slots are served.\n\n" +
			"Each check is ok, warn, fail, or skip if one before it failed. The exit code is 1 if any failed.\n" +
			"A room of a random name is used, for a second or two; --room names one, for tokens that are good for one only.",
		Example: "  hearth doctor\n  hearth doctor --server https://rooms.example.com --json | jq '.checks[] | select(.status != \"ok\")'\n" +
			"  hearth doctor --redis redis://redis.internal:6379",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Room != "" {
				if err := hearth.CheckName("--room", o.Room); err != nil {
					return err
				}
			}
			for _, name := range []string{"redis", "redis-ca", "redis-password-file"} {
				if err := variable(cmd.Flags(), name); err != nil {
					return err
				}
			}
			if at.url != "" && at.url != embedded {
				target, err := at.target()
				if err != nil {
					return usageError{err}
				}
				client := target.Client()
				defer func() { _ = client.Close() }()
				o.Redis = client
			}
			out := cmd.OutOrStdout()
			if !asJSON {
				o.Each = func(c doctor.Check) { printCheck(out, c) }
			}
			return r.with(cmd, func(ctx context.Context, c *rest.Client) error {
				o.Client = c
				checks := doctor.Run(ctx, o)
				failed := doctor.Failed(checks)
				if asJSON {
					if err := printJSON(out, map[string]any{"server": c.URL(), "ok": !failed, "checks": checks}); err != nil {
						return err
					}
				}
				if failed {
					return errFailed
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringVar(&o.Room, "room", "", "the room to make a session in (default one of a random name)")
	f.StringVar(&at.url, "redis", "", "Redis to check as well: what the nodes have as HEARTH_REDIS")
	at.flags(f)
	_ = cmd.RegisterFlagCompletionFunc("room", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return r.completeArgs(false)(cmd, nil, typed)
	})
	return cmd
}

func printCheck(w io.Writer, c doctor.Check) {
	_, _ = fmt.Fprintf(w, "%-4s  %-17s  %s\n", c.Status, c.Name, printable(c.Detail))
	if c.Advice != "" {
		_, _ = fmt.Fprintf(w, "%25s%s\n", "", c.Advice)
	}
}
