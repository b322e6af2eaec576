package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/jwks"
)

// verifier returns what verifies a server's tokens, and what ends it. In development mode keys are made up.
func (c *config) verifier(ctx context.Context, log *slog.Logger) (v *auth.Verifier, stop func(), err error) {
	secrets, err := keySecrets(c.secrets)
	if err != nil {
		return nil, nil, err
	}
	conf := auth.Config{AccessKey: c.accessKey, Secret: c.secret, Secrets: secrets, Audience: c.audience, Issuer: c.issuer}
	stop = func() {}
	if c.jwks != "" {
		source, err := jwks.Open(ctx, c.jwks, log)
		if err != nil {
			return nil, nil, fmt.Errorf("HEARTH_JWKS: %w", err)
		}
		conf.Keys, stop = source, source.Close
	}
	if v, err = auth.NewVerifier(conf); err != nil {
		stop()
		return nil, nil, err
	}
	if c.secret != "" && len(c.secret) < auth.GoodSecretLen {
		log.Warn("HEARTH_APP_SECRET is short", "bytes", len(c.secret), "recommended", auth.GoodSecretLen)
	}
	for kid, secret := range secrets {
		if len(secret) < auth.GoodSecretLen {
			log.Warn("a secret of HEARTH_APP_SECRETS is short", "kid", kid, "bytes", len(secret), "recommended", auth.GoodSecretLen)
		}
	}
	return v, stop, nil
}

// keySecrets reads secrets by their kid. What is wrong with them is said without them: it is printed.
func keySecrets(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	out := map[string]string{}
	for one := range strings.SplitSeq(text, ",") {
		kid, secret, ok := strings.Cut(strings.TrimSpace(one), "=")
		if _, twice := out[kid]; !ok || twice {
			return nil, errors.New("HEARTH_APP_SECRETS must be like kid=secret,kid=secret, each kid once")
		}
		out[kid] = secret
	}
	return out, nil
}

// signer returns what signs tokens with the server's key pair, as the environment has it; nil if it has none.
func signer() (*auth.Verifier, error) {
	key, secret := os.Getenv("HEARTH_APP_ACCESS_KEY"), os.Getenv("HEARTH_APP_SECRET")
	switch {
	case (key == "") != (secret == ""):
		return nil, usagef("HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET go together: set both, or give a token by --token or HEARTH_TOKEN")
	case key == "":
		return nil, nil
	}
	return auth.NewVerifier(auth.Config{
		AccessKey: key, Secret: secret, Audience: os.Getenv("HEARTH_TOKEN_AUDIENCE"), Issuer: os.Getenv("HEARTH_TOKEN_ISSUER"),
	})
}
