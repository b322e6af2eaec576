package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth/auth"
)

func tokenCommand() *cobra.Command {
	var key, secret, room, user, role, peer, name string
	var permissions []string
	var management bool
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a signed token",
		Long: "Print a token for a peer, or with --management for a server, signed with HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET.\n" +
			"Each flag can also be given as a HEARTH_* variable of its name.",
		Example: "  hearth token --room-id demo --user-id ann --role host\n  hearth token --management --ttl 1h",
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return load(cmd) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if key == "" || secret == "" {
				return errors.New("set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET, the pair that the server verifies with; " +
					"a development server hands out tokens at POST /dev/token")
			}
			v, err := auth.NewVerifier(auth.Config{AccessKey: key, Secret: secret})
			if err != nil {
				return err
			}
			p := auth.Principal{Management: management, Room: room, User: user, Role: role, Peer: peer, Name: name}
			for _, one := range permissions {
				p.Permissions = append(p.Permissions, auth.Permission(one))
			}
			if management && !cmd.Flags().Changed("role") {
				p.Role = ""
			}
			t, err := v.Mint(p, ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "app-access-key", "", "access key of the pair that signs tokens")
	f.StringVar(&secret, "app-secret", "", "secret of that pair; better set as HEARTH_APP_SECRET")
	f.BoolVar(&management, "management", false, "a server's token, for all rooms unless --room-id narrows it")
	f.StringVar(&room, "room-id", "", "the room")
	f.StringVar(&user, "user-id", "", "the peer's user")
	f.StringVar(&role, "role", "guest", "the peer's role")
	f.StringVar(&peer, "peer-id", "", "the only peer_id that the token may take (default: any)")
	f.StringVar(&name, "name", "", "display name of a peer that gives none when it joins")
	f.StringSliceVar(&permissions, "permissions", nil, "narrow a server's token to these")
	f.DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good")
	return cmd
}
