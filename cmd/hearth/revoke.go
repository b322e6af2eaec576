package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/rest"
)

// revoking is what a `hearth revoke` is to do.
type revoking struct {
	jti, user, undo          string
	keep                     time.Duration
	list, asJSON, noHeadings bool
	limit                    int
}

func revokeCommand() *cobra.Command {
	var r remote
	var q revoking
	cmd := &cobra.Command{
		Use:     "revoke",
		GroupID: clientGroup,
		Short:   "Revoke a token or a user's, list what is revoked, take it back",
		Long: "Refuse a token before it expires (--jti), or all tokens that a user was given until now (--user-id), and print the\n" +
			"revocation's id. What is open by one of them ends on all nodes. A user who gets a new token may come back.\n" +
			"It is kept for --for, which has to be no shorter than the tokens are good.\n\n" +
			"--list prints what is revoked; --undo takes a revocation back, by its id. It takes a management token that is not\n" +
			"narrowed to a room.\n\n" +
			"--json prints the revocation, or {\"revocations\": [...]}, as the server shows them.",
		Example: "  hearth revoke --user-id ann\n  hearth revoke --jti 5f3c2e1a9d --for 24h\n" +
			"  hearth revoke --list\n  hearth revoke --undo 8f14e45fceea167a5a36dedd4bea2543",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := q.check(); err != nil {
				return err
			}
			return r.with(cmd, func(ctx context.Context, c *rest.Client) error { return q.run(ctx, cmd, c) })
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.StringVar(&q.jti, "jti", "", "revoke the token with this jti")
	f.StringVar(&q.user, "user-id", "", "revoke all tokens that this user was given until now")
	f.DurationVar(&q.keep, "for", 0, "how long the revocation is kept, at most 8784h (default 720h)")
	f.BoolVar(&q.list, "list", false, "list what is revoked")
	f.StringVar(&q.undo, "undo", "", "take the revocation of this id back")
	f.BoolVar(&q.asJSON, "json", false, "print JSON")
	f.BoolVar(&q.noHeadings, "no-headers", false, "print no line of headings")
	f.IntVar(&q.limit, "limit", 0, "list so many at most (0: all)")
	return cmd
}

// check returns an error unless exactly one thing is to be done.
func (q *revoking) check() error {
	wishes := 0
	for _, wished := range []bool{q.jti != "", q.user != "", q.undo != "", q.list} {
		if wished {
			wishes++
		}
	}
	switch {
	case wishes != 1:
		return usagef("give one of --jti, --user-id, --undo and --list")
	case q.keep < 0 || q.keep > hearth.MaxRevocationTime:
		return usagef("--for must be above 0 and at most %s", hearth.MaxRevocationTime)
	case q.keep > 0 && (q.list || q.undo != ""):
		return usagef("--for is for --jti and --user-id")
	case q.limit < 0:
		return usagef("--limit must not be below 0")
	case q.undo != "":
		return hearth.CheckName("--undo", q.undo)
	case q.list:
		return nil
	}
	return (&hearth.Revocation{TokenID: q.jti, User: q.user}).Check()
}

func (q *revoking) run(ctx context.Context, cmd *cobra.Command, c *rest.Client) error {
	out := cmd.OutOrStdout()
	switch {
	case q.list:
		all, err := c.Revocations(ctx, q.limit)
		if err != nil {
			return err
		}
		if q.asJSON {
			return printJSON(out, map[string]any{"revocations": all})
		}
		rows := [][]string{{"ID", "WHAT", "REVOKED", "UNTIL"}}
		if q.noHeadings {
			rows = nil
		}
		for i := range all {
			what := "user " + all[i].UserID
			if all[i].JTI != "" {
				what = "jti " + all[i].JTI
			}
			rows = append(rows, []string{
				all[i].ID, short(what), age(all[i].RevokedAt, time.Now()), time.UnixMilli(all[i].Until).UTC().Format(time.RFC3339),
			})
		}
		return table(out, rows)
	case q.undo != "":
		if err := c.Unrevoke(ctx, q.undo); err != nil || !q.asJSON {
			return err
		}
		return printJSON(out, struct{}{})
	}
	until := int64(0)
	if q.keep > 0 {
		until = time.Now().Add(q.keep).UnixMilli()
	}
	made, err := c.Revoke(ctx, q.jti, q.user, until)
	if err != nil {
		return err
	}
	if q.asJSON {
		return printJSON(out, made)
	}
	_, err = fmt.Fprintln(out, made.ID)
	return err
}
