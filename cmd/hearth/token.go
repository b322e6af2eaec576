package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/rest"
)

func tokenCommand() *cobra.Command {
	var key, secret, audience, issuer, room, user, role, peer, name string
	var permissions []string
	var management bool
	var ttl time.Duration
	var asJSON bool
	var r remote
	cmd := &cobra.Command{
		Use:     "token",
		GroupID: clientGroup,
		Short:   "Print a signed token",
		Long: "Print a token for a peer, or with --management for a server, signed with HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET.\n" +
			"With neither, a development server on this machine is asked for one, which is good for 12 hours.\n" +
			"Each flag can also be given as a HEARTH_* variable of its name.\n\n" +
			"--json prints {\"token\", \"expires_at\"}, the latter in milliseconds since 1970.",
		Example: "  hearth token --room-id demo --user-id ann --role host\n  hearth token --management --ttl 1h\n" +
			"  export HEARTH_TOKEN=$(hearth token --management --room-id demo --permissions read)",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE:           func(cmd *cobra.Command, _ []string) error { return load(cmd) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := auth.Principal{Management: management, Room: room, User: user, Role: role, Peer: peer, Name: name}
			for _, one := range permissions {
				p.Permissions = append(p.Permissions, auth.Permission(one))
			}
			if management && !cmd.Flags().Changed("role") {
				p.Role = ""
			}
			var t string
			var err error
			switch {
			case key != "" && secret != "":
				var v *auth.Verifier
				if v, err = auth.NewVerifier(auth.Config{AccessKey: key, Secret: secret, Audience: audience, Issuer: issuer}); err == nil {
					t, err = v.Mint(p, ttl)
				}
			case key != "" || secret != "":
				err = usagef("set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET, the pair that the server verifies with; " +
					"with neither a development server is asked")
			case permissions != nil || cmd.Flags().Changed("ttl"):
				err = usagef("--ttl and --permissions need a key pair: set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET")
			default:
				t, err = r.askToken(cmd.Context(), &p)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					Token     string `json:"token"`
					ExpiresAt int64  `json:"expires_at"`
				}{t, rest.Expiry(t).UnixMilli()})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "app-access-key", "", "access key of the pair that signs tokens")
	f.StringVar(&secret, "app-secret", "", "secret of that pair; better set as HEARTH_APP_SECRET")
	f.StringVar(&audience, "token-audience", "", "the token's aud")
	f.StringVar(&issuer, "token-issuer", "", "the token's iss")
	f.BoolVar(&management, "management", false, "a server's token, for all rooms unless --room-id narrows it")
	f.StringVar(&room, "room-id", "", "the room")
	f.StringVar(&user, "user-id", "", "the peer's user")
	f.StringVar(&role, "role", "guest", "the peer's role")
	f.StringVar(&peer, "peer-id", "", "the only peer_id that the token may take (default: any)")
	f.StringVar(&name, "name", "", "display name of a peer that gives none when it joins")
	f.StringSliceVar(&permissions, "permissions", nil, "narrow a server's token to these")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	r.serverFlag(f)
	f.DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good")
	return cmd
}

// askToken asks a development server for a token that says what p says.
func (r *remote) askToken(ctx context.Context, p *auth.Principal) (string, error) {
	c, err := rest.New(r.server, rest.Fixed(""), 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	q := url.Values{"room_id": {p.Room}}
	if p.Management {
		q.Set("role", "management")
	} else {
		for name, v := range map[string]string{"role": p.Role, "user_id": p.User, "peer_id": p.Peer, "name": p.Name} {
			q.Set(name, v)
		}
	}
	t, err := devToken(ctx, c, q)
	switch hearth.ReasonOf(err) {
	case hearth.ReasonUnauthenticated, hearth.ReasonUnavailable:
		err = hearth.Errorf(hearth.ReasonOf(err), "set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET, the pair that the server verifies with; "+
			"no development server hands out tokens at %s", c.URL())
	}
	return t, err
}
