package main

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/rest"
)

func roomsCommand() *cobra.Command {
	var r remote
	var asJSON, bare bool
	var limit int
	cmd := &cobra.Command{
		Use:     "rooms [ROOM]",
		GroupID: clientGroup,
		Short:   "List the rooms that have a session, or show one",
		Long: "List the rooms that have a session: its id, how many peers are in it, how many changes it has had, how old it is.\n" +
			"With ROOM that room alone; it is not found (exit code 3) if it has no session.\n\n" +
			"--json prints {\"rooms\": [...]}, or the one room, as the server shows them.",
		Example: "  hearth rooms\n  hearth rooms --json | jq -r '.rooms[].room_id'\n" +
			"  hearth rooms demo >/dev/null && echo somebody is there",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeArgs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit must not be below 0")
			}
			rows := [][]string{{"ROOM", "SESSION", "PEERS", "SEQ", "AGE"}}
			if bare {
				rows = nil
			}
			return r.with(cmd, func(ctx context.Context, c *rest.Client) error {
				var rooms []rest.Room
				var document any
				var missing error
				if len(args) == 1 {
					if err := hearth.CheckName("ROOM", args[0]); err != nil {
						return err
					}
					room, err := c.Room(ctx, args[0])
					if err != nil {
						return err
					}
					rooms, document = []rest.Room{room}, room.Raw
					if room.Session == nil {
						rooms, missing = nil, hearth.Errorf(hearth.ReasonNoSession, "room %s has no session", args[0])
					}
				} else {
					var err error
					if rooms, err = c.Rooms(ctx, limit); err != nil {
						return err
					}
					raw := make([]json.RawMessage, len(rooms))
					for i := range rooms {
						raw[i] = rooms[i].Raw
					}
					document = map[string]any{"rooms": raw}
				}
				if asJSON {
					if err := printJSON(cmd.OutOrStdout(), document); err != nil {
						return err
					}
					return missing
				}
				if missing != nil {
					return missing
				}
				now := time.Now()
				for i := range rooms {
					if s := rooms[i].Session; s != nil {
						rows = append(rows, []string{
							rooms[i].ID, s.ID, strconv.Itoa(s.PeerCount), strconv.FormatUint(s.Seq, 10), age(s.StartedAt, now),
						})
					}
				}
				return table(cmd.OutOrStdout(), rows)
			})
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&bare, "no-headers", false, "print no line of headings")
	f.IntVar(&limit, "limit", 0, "list so many at most (0: all)")
	return cmd
}
