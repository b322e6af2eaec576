package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/rest"
)

func watchCommand() *cobra.Command {
	var r remote
	var asJSON bool
	var w rest.Watch
	cmd := &cobra.Command{
		Use:     "watch ROOM",
		GroupID: clientGroup,
		Short:   "Print what happens in a room, as it happens",
		Long: "Print what is in a room and then every change, until Ctrl-C. A room without a session is watched until one begins, and\n" +
			"on into the next. A stream that breaks is resumed where it was, and nothing is missed; standard error tells.\n\n" +
			"--json prints one object a line: {\"event\", \"id\", \"data\"}. event is the notification's name in the protocol, data its\n" +
			"content, id the cursor to resume from by --after.",
		Example: "  hearth watch demo\n  hearth watch demo --keys 'poll/*,deck'\n" +
			"  hearth watch demo --json | jq -c 'select(.event == \"on-peer-leave\").data'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.completeArgs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkArgs(args); err != nil {
				return err
			}
			if _, err := hearth.ParsePatterns(w.Keys); err != nil {
				return err
			}
			if w.After != "" {
				if _, err := hearth.ParseCursor(w.After); err != nil {
					return usagef("--after: %w", err)
				}
			}
			w.Room = args[0]
			out, tell := cmd.OutOrStdout(), cmd.ErrOrStderr()
			broken := false
			w.Broken = func(err error, pause time.Duration) {
				broken = true
				_, _ = fmt.Fprintf(tell, "hearth: %s; again in %s\n", explain(err), pause.Round(10*time.Millisecond))
			}
			w.Opened = func() {
				if broken {
					_, _ = fmt.Fprintln(tell, "hearth: watching again")
				}
			}
			return r.with(cmd, func(ctx context.Context, c *rest.Client) error {
				err := c.Watch(ctx, w, func(e rest.Event) error {
					if asJSON {
						return printJSON(out, e)
					}
					_, err := fmt.Fprint(out, describe(e))
					return err
				})
				if hearth.ReasonOf(err) == hearth.ReasonNotFound {
					err = errors.New("this server has no event streams: it is older than this command")
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	f.StringSliceVar(&w.Keys, "keys", nil, "only metadata of these keys, with commas; poll/* are all that begin so (default all)")
	f.StringVar(&w.After, "after", "", "resume after this cursor")
	_ = cmd.RegisterFlagCompletionFunc("keys", cobra.NoFileCompletions)
	return cmd
}

// happening is what the lines show of a notification's params, whichever it is.
type happening struct {
	Seq      uint64       `json:"seq"`
	Snapshot bool         `json:"snapshot"`
	Values   []rest.Entry `json:"values"`
	PeerID   string       `json:"peer_id"`
	Role     string       `json:"role"`
	Groups   []string     `json:"groups"`
	Reason   string       `json:"reason"`
	Info     struct {
		Name    string          `json:"name"`
		Data    string          `json:"data"`
		UserID  string          `json:"user_id"`
		Message json.RawMessage `json:"message"`
		Type    string          `json:"type"`
	} `json:"info"`
	Peer *struct {
		PeerID string `json:"peer_id"`
	} `json:"peer"`
	Private   bool                       `json:"private"`
	Roles     []string                   `json:"roles"`
	Name      string                     `json:"name"`
	State     string                     `json:"state"`
	Token     uint64                     `json:"token"`
	Peers     map[string]json.RawMessage `json:"peers"`
	Total     int                        `json:"total"`
	SessionID string                     `json:"session_id"`
	Recovered *bool                      `json:"recovered"`
}

// describe is an event as lines for a person: seq, what it is, and what it is about. What is not known here, or not of
// the form that it should have, is shown as it came.
func describe(e rest.Event) string {
	name := strings.TrimPrefix(e.Name, "on-")
	var h happening
	if err := json.Unmarshal(e.Data, &h); err != nil {
		return line(0, name, compact(e.Data))
	}
	switch name {
	case "metadata-change":
		var b strings.Builder
		if h.Snapshot {
			name = "metadata"
		}
		for i := range h.Values {
			if v := &h.Values[i]; !h.Snapshot || v.ChangeVersion > 0 {
				b.WriteString(line(h.Seq, name, entryLine(v)))
			}
		}
		return b.String()
	case "cursor":
		return "" // for who resumes
	case "peer-join", "peer-update":
		return line(h.Seq, name, peerLine(&h))
	case "peer-list":
		var b strings.Builder
		for _, id := range sortedKeys(h.Peers) {
			var p happening
			if err := json.Unmarshal(h.Peers[id], &p); err != nil {
				return line(h.Seq, name, compact(e.Data))
			}
			b.WriteString(line(h.Seq, "peer", peerLine(&p)))
		}
		if more := h.Total - len(h.Peers); more > 0 {
			b.WriteString(line(h.Seq, "peer", fmt.Sprintf("… and %d more", more)))
		}
		return b.String()
	case "peer-leave":
		return line(h.Seq, name, words(h.PeerID, "("+h.Reason+")"))
	case "broadcast":
		from := "server"
		if h.Peer != nil {
			from = h.Peer.PeerID
		}
		to := ""
		switch {
		case len(h.Roles) > 0:
			to = "to " + strings.Join(h.Roles, ",")
		case h.Private:
			to = "in private"
		}
		return line(h.Seq, name, words(from, "("+h.Info.Type+")", to, compact(h.Info.Message)))
	case "lock-change":
		by, token := "", ""
		if h.PeerID != "" {
			by = "by " + h.PeerID
		}
		if h.Token > 0 {
			token = "token=" + strconv.FormatUint(h.Token, 10)
		}
		return line(h.Seq, name, words(h.Name, h.State, by, token))
	case "session-start", "session-end":
		lost := ""
		if h.Recovered != nil && !*h.Recovered {
			lost = "(what happened in between is not known)"
		}
		if h.Reason != "" {
			h.Reason = "(" + h.Reason + ")"
		}
		return line(h.Seq, name, words(h.SessionID, h.Reason, lost))
	}
	return line(h.Seq, name, compact(e.Data))
}

func line(seq uint64, name, text string) string {
	n := ""
	if seq > 0 {
		n = strconv.FormatUint(seq, 10)
	}
	return fmt.Sprintf("%6s  %-15s  %s\n", n, printable(name), printable(text))
}

func entryLine(v *rest.Entry) string {
	text := v.Key + " = " + compact(v.Data)
	if v.Deleted || hearth.IsNull(v.Data) {
		text = v.Key + " deleted"
	}
	by, life := "", ""
	if v.UpdatedBy != "" {
		by = "by " + v.UpdatedBy
	}
	switch {
	case v.Reason != "":
		life = "(" + v.Reason + ")"
	case v.Owner != "":
		life = "(goes with " + v.Owner + ")"
	case v.ExpiresAt > 0:
		life = "(until " + time.UnixMilli(v.ExpiresAt).Format(time.TimeOnly) + ")"
	}
	return words(text, by, life)
}

func peerLine(h *happening) string {
	name, user, groups := "", "", ""
	if h.Info.Name != "" {
		name = strconv.Quote(h.Info.Name)
	}
	if h.Info.UserID != h.PeerID {
		user = "user=" + h.Info.UserID
	}
	if len(h.Groups) > 0 {
		groups = "groups=" + strings.Join(h.Groups, ",")
	}
	return words(h.PeerID, "("+h.Role+")", name, user, groups)
}

// words joins those that are not empty.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" || s == "()" }), " ")
}
