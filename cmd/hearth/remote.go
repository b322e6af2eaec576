package main

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/rest"
)

const clientHelp = `Commands that talk to a server find it by --server or HEARTH_SERVER (default ` + defaultServer + `). Their token is that of
--token or HEARTH_TOKEN; else they make one with HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET, the server's key pair; else a
development server on this machine gives them one.`

const defaultServer = "http://127.0.0.1:8080"

// mintedTTL is how long a token is good that a command makes for itself. A watch that lasts longer makes another.
const mintedTTL = 12 * time.Hour

// remote is the server that a command talks to.
type remote struct {
	server, token string
	timeout       time.Duration
}

func (r *remote) flags(f *pflag.FlagSet) {
	r.serverFlag(f)
	f.StringVar(&r.token, "token", "", "token to call with, most often a management token; better set as HEARTH_TOKEN")
	f.DurationVar(&r.timeout, "timeout", 10*time.Second, "how long a call may take")
}

func (r *remote) serverFlag(f *pflag.FlagSet) {
	f.StringVar(&r.server, "server", defaultServer, "URL of the server")
}

// connect returns a client of the server, which it has not asked anything yet.
func (r *remote) connect(cmd *cobra.Command) (*rest.Client, error) {
	f := cmd.Flags()
	// Not by load: HEARTH_PREFIX and others mean something else to a server than flags of the same name here.
	if err := errors.Join(variable(f, "server"), variable(f, "token")); err != nil {
		return nil, usageError{err}
	}
	if r.timeout <= 0 {
		return nil, usagef("--timeout must be above 0")
	}
	if r.token != "" {
		return rest.New(r.server, rest.Fixed(r.token), r.timeout)
	}
	v, err := signer()
	if err != nil {
		return nil, err
	}
	if v != nil {
		return rest.New(r.server, func(context.Context) (string, error) {
			return v.Mint(auth.Principal{Management: true}, mintedTTL)
		}, r.timeout)
	}
	// A client that needs no token gets the token of the one that does.
	open, err := rest.New(r.server, rest.Fixed(""), r.timeout)
	if err != nil {
		return nil, err
	}
	return rest.New(r.server, func(ctx context.Context) (string, error) {
		defer open.Close()
		return devToken(ctx, open, url.Values{"role": {"management"}})
	}, r.timeout)
}

// devToken asks a server for a token, which only one in development mode gives, and only on its own machine.
func devToken(ctx context.Context, c *rest.Client, q url.Values) (string, error) {
	const advice = "give a token by --token or HEARTH_TOKEN, or set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET, the server's key pair"
	if !c.Loopback() {
		return "", hearth.Errorf(hearth.ReasonUnauthenticated, "no token for %s: %s", c.URL(), advice)
	}
	t, err := c.DevToken(ctx, q)
	if hearth.ReasonOf(err) == hearth.ReasonNotFound {
		return "", hearth.Errorf(hearth.ReasonUnauthenticated, "no token for %s, which is no development server: %s", c.URL(), advice)
	}
	return t, err
}

// with runs a command's call with a client.
func (r *remote) with(cmd *cobra.Command, call func(context.Context, *rest.Client) error) error {
	c, err := r.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	err = call(cmd.Context(), c)
	if err != nil && cmd.Context().Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// completionPatience is how long a shell waits for a server at most when a user presses tab.
const completionPatience = time.Second

// complete offers what the server knows. Whatever fails, nothing is offered and nothing said: it would be written into
// the line that the user is typing.
func (r *remote) complete(cmd *cobra.Command, typed string, ask func(context.Context, *rest.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	c, err := r.connect(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	words, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, typed) }), cobra.ShellCompDirectiveNoFileComp
}

// completeArgs completes ROOM and then, if keys is set, KEY.
func (r *remote) completeArgs(keys bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		return r.complete(cmd, typed, func(ctx context.Context, c *rest.Client) ([]string, error) {
			var words []string
			switch {
			case len(args) == 0:
				rooms, err := c.Rooms(ctx, hearth.MaxPage)
				for i := range rooms {
					words = append(words, rooms[i].ID)
				}
				return words, err
			case len(args) == 1 && keys:
				entries, err := c.Entries(ctx, args[0], typed, hearth.MaxPage)
				for i := range entries.Entries {
					words = append(words, entries.Entries[i].Key)
				}
				return words, err
			}
			return nil, nil
		})
	}
}
