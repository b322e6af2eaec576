package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/rest"
)

func getCommand() *cobra.Command {
	var r remote
	var asJSON, bare, asText bool
	var prefix string
	var limit int
	cmd := &cobra.Command{
		Use:     "get ROOM [KEY]",
		GroupID: clientGroup,
		Short:   "Print an entry of a room's metadata, or list them all",
		Long: "Print the value of one entry, as it was written; without KEY list all entries of the session, long values cut.\n" +
			"A key that is absent, and a room without a session, are not found (exit code 3).\n\n" +
			"--json prints the whole entry, or {\"session_id\", \"seq\", \"entries\": [...]}.",
		Example: "  hearth get demo deck\n  hearth get demo deck --json | jq .change_version\n" +
			"  hearth get demo --prefix poll/\n  title=$(hearth get demo title --string)",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: r.completeArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 2 && (cmd.Flags().Changed("prefix") || cmd.Flags().Changed("limit")):
				return usagef("--prefix and --limit are for a list: leave KEY out")
			case asText && (asJSON || len(args) == 1):
				return usagef("--string is for the value of one KEY")
			case limit < 0:
				return usagef("--limit must not be below 0")
			}
			if err := checkArgs(args); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return r.with(cmd, func(ctx context.Context, c *rest.Client) error {
				if len(args) == 1 {
					all, err := c.Entries(ctx, args[0], prefix, limit)
					if err != nil {
						return err
					}
					return printEntries(out, all, asJSON, bare)
				}
				e, err := c.Entry(ctx, args[0], args[1])
				switch {
				case err != nil:
					return err
				case asJSON:
					return printJSON(out, e.Raw)
				case asText:
					var text string
					if err := json.Unmarshal(e.Data, &text); err != nil {
						return fmt.Errorf("the value of %q is no string; leave --string out", args[1])
					}
					_, err = fmt.Fprintln(out, text)
				default:
					_, err = fmt.Fprintf(out, "%s\n", e.Data)
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&bare, "no-headers", false, "print no line of headings")
	f.BoolVar(&asText, "string", false, "print the text of a value that is a string")
	f.StringVar(&prefix, "prefix", "", "list the keys that begin so")
	f.IntVar(&limit, "limit", 0, "list so many at most (0: all)")
	return cmd
}

// checkArgs checks ROOM and KEY before the server is asked.
func checkArgs(args []string) error {
	if err := hearth.CheckName("ROOM", args[0]); err != nil {
		return err
	}
	if len(args) > 1 {
		return hearth.CheckKey(args[1])
	}
	return nil
}

func printEntries(w io.Writer, all rest.Entries, asJSON, bare bool) error {
	if asJSON {
		raw := make([]json.RawMessage, len(all.Entries))
		for i := range all.Entries {
			raw[i] = all.Entries[i].Raw
		}
		return printJSON(w, struct {
			SessionID string            `json:"session_id"`
			Seq       uint64            `json:"seq"`
			Entries   []json.RawMessage `json:"entries"`
		}{all.SessionID, all.Seq, raw})
	}
	rows := [][]string{{"KEY", "VERSION", "BY", "EXPIRES", "VALUE"}}
	if bare {
		rows = nil
	}
	for i := range all.Entries {
		e := &all.Entries[i]
		by, expires := e.UpdatedBy, "-"
		if by == "" {
			by = "-"
		}
		if e.ExpiresAt > 0 {
			expires = time.Until(time.UnixMilli(e.ExpiresAt)).Round(time.Second).String()
		}
		rows = append(rows, []string{e.Key, strconv.FormatUint(e.ChangeVersion, 10), by, expires, short(string(e.Data))})
	}
	return table(w, rows)
}

func setCommand() *cobra.Command {
	var r remote
	var asJSON, asText, remove bool
	var version uint64
	w := rest.Write{}
	cmd := &cobra.Command{
		Use:     "set ROOM KEY [VALUE|-]",
		GroupID: clientGroup,
		Short:   "Write an entry of a room's metadata",
		Long: "Write an entry of the room's session, and print the version that it has got. VALUE is JSON; - reads it from standard\n" +
			"input. The room has to have a session (else exit code 3), and with --if-version the entry that version (else 4).\n\n" +
			"A write that got no answer is repeated under the same --op-id, which the server executes once.",
		Example: "  hearth set demo deck '{\"slide\":3}'\n  hearth set demo title --string 'Hello there'\n  hearth set demo state - <state.json\n" +
			"  v=$(hearth get demo deck --json | jq .change_version)\n  hearth set demo deck '{\"slide\":4}' --if-version $v\n" +
			"  hearth set demo leader '\"me\"' --if-version 0 --ttl 30s     # only if nobody is\n" +
			"  hearth set demo deck --delete\n  hearth set demo temperature -- -5",
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: r.completeArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := cmd.Flags()
			if err := checkArgs(args); err != nil {
				return err
			}
			w.Room, w.Key = args[0], args[1]
			switch {
			case remove && (len(args) == 3 || asText || f.Changed("ttl")):
				return usagef("--delete takes no value, --string or --ttl")
			case remove:
			case len(args) < 3:
				return usagef("a VALUE is missing: JSON, or - to read it from standard input; --delete removes the entry")
			case f.Changed("ttl") && w.TTL < time.Millisecond:
				return usagef("--ttl must be above 0, such as 30s")
			default:
				var err error
				if w.Value, err = value(cmd.InOrStdin(), args[2], asText); err != nil {
					return err
				}
			}
			if f.Changed("if-version") {
				w.IfVersion = &version
			}
			if w.OpID == "" {
				w.OpID = hearth.NewMessageID()
			}
			return r.with(cmd, func(ctx context.Context, c *rest.Client) error {
				e, err := c.Set(ctx, w)
				if err != nil {
					return toSet(err, &w)
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), e.Raw)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), e.ChangeVersion)
				return err
			})
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&asJSON, "json", false, "print the entry as it is then")
	f.BoolVar(&asText, "string", false, "take VALUE for a text instead of JSON")
	f.BoolVar(&remove, "delete", false, "remove the entry; it is no error if it is absent")
	f.Uint64Var(&version, "if-version", 0, "only if the entry is at this version; 0: only if it is absent")
	f.DurationVar(&w.TTL, "ttl", 0, "let the entry end after this time")
	f.StringVar(&w.OpID, "op-id", "", "name of this write: another of the same name does nothing (default random)")
	f.StringVar(&w.Conn, "conn", "", "conn_id of the peer whose token is used; a management token needs none")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "unknown shorthand flag") {
			return fmt.Errorf("%w: before a value that begins with -, write --", err)
		}
		return err
	})
	return cmd
}

// toSet adds to a write's error what its user can do.
func toSet(err error, w *rest.Write) error {
	switch e := hearth.AsError(err); e.Reason {
	case hearth.ReasonNoSession:
		return hearth.Errorf(e.Reason, "room %s has no session to write to: it begins when a peer joins", w.Room)
	case hearth.ReasonOutcomeUnknown:
		return hearth.Errorf(e.Reason, "%s; again with --op-id %s it is done once", e.Detail, w.OpID)
	}
	return err
}

// maxInput bounds what is read of standard input; how much a value may have is the server's to say.
const maxInput = 64 << 20

// value is VALUE as JSON.
func value(stdin io.Reader, arg string, asText bool) ([]byte, error) {
	text := []byte(arg)
	if arg == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(stdin, maxInput+1)); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		if len(text) > maxInput {
			return nil, hearth.Errorf(hearth.ReasonTooLarge, "standard input is over %d bytes", maxInput)
		}
	}
	switch {
	case asText:
		return hearth.AppendString(nil, string(text)), nil
	case !json.Valid(text):
		shown := short(strings.TrimSpace(string(text)))
		return nil, usagef("%q is not JSON: a text is written with --string, or in quotes of its own: '%s'", shown, hearth.QuoteString(shown))
	case hearth.IsNull(text):
		return nil, usagef("null is no value: --delete removes the entry")
	}
	return text, nil
}
