package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// settingsOf are the settings that a file gives to flags of which none is set.
func settingsOf(text string) (*config, error) {
	var c config
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.flags(flags)
	return &c, fromFile(flags, []byte(text))
}

func TestFileOfSettings(t *testing.T) {
	c, err := settingsOf(`
# all kinds
addr: :9090
redis: "redis://r:6379"
partitions: 128
accept_rate: 2.5
peer-rate: 20
max_value: 128KiB
max-message: 2048
log_age: 5m
io_uring: false
app-secret: "12345678901234567890123456789012"
allowed_origins: [https://a.example, "https://b.example,c"]
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.addr != ":9090" || c.redis.url != "redis://r:6379" || c.partitions != 128 || c.acceptRate != 2.5 || c.peerRate != 20 ||
		c.maxValue != 128<<10 || c.maxMessage != 2048 || c.logAge.String() != "5m0s" || c.ioURing || c.secret != "12345678901234567890123456789012" ||
		!slices.Equal(c.origins, []string{"https://a.example", "https://b.example,c"}) {
		t.Errorf("%+v", c)
	}
	for _, text := range []string{"", "# nothing", "---\n", "{}", "allowed-origins: []", "allowed-origins: https://a.example,https://b.example", `partitions: "64"`, `io-uring: "true"`} {
		if _, err := settingsOf(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A file may have each setting: every kind of flag has its name for what stands there.
func TestFileKnowsEachKindOfSetting(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(config).flags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if settingKinds[f.Value.Type()] == "" {
			t.Errorf("%s is a %s, of which a file knows nothing", f.Name, f.Value.Type())
		}
	})
}

// What is wrong with a file is said with the setting's name or the line, and with nothing that might be a secret.
func TestBadFileOfSettings(t *testing.T) {
	const secret = "S3CRET"
	for text, want := range map[string]string{
		"nothing-like-it: 1":               `unknown setting "nothing-like-it"`,
		"max_valu: 1KiB":                   `unknown setting "max_valu"`,
		"config: x":                        `unknown setting "config"`,
		"help: true":                       `unknown setting "help"`,
		"1: 2":                             `unknown setting "1"`,
		"true: x":                          `unknown setting "true"`,
		"? {a: b}\n: c":                    "",
		"max-value: 1KiB\nmax_value: 2KiB": "max-value is there twice",
		"addr: a\naddr: b":                 `line 2, column 1: mapping key "addr" already defined`,
		"addr:":                            "addr must be a text",
		"addr: 8080":                       "addr must be a text",
		"addr: true":                       "addr must be a text",
		"addr: [a, b]":                     "addr must be a text",
		"app-secret: {S3CRET: S3CRET}":     "app-secret must be a text",
		"app-secret: [S3CRET]":             "app-secret must be a text",
		"app-secret: 12345678901234567890": "app-secret must be a text, in quotes if it looks like a number",
		"app-secret: 1234567890123456789012345678.0": "app-secret must be a text",
		"partitions: S3CRET":                         "partitions must be a whole number",
		"partitions: 1.5":                            "partitions must be a whole number",
		"partitions: [1]":                            "partitions must be a whole number",
		"partitions: 99999999999999999999":           "partitions must be a whole number",
		"accept-rate: S3CRET":                        "accept-rate must be a number",
		"max-value: S3CRET":                          "max-value must be a size, like 65536, 64KiB or 4MiB",
		"max-value: -1":                              "max-value must be a size",
		"max-value: 1.5":                             "max-value must be a size",
		"drain: 20":                                  "drain must be a time, like 500ms, 20s or 10m",
		"drain: S3CRET":                              "drain must be a time",
		"io-uring: S3CRET":                           "io-uring must be true or false",
		"io-uring: 1":                                "io-uring must be true or false",
		"allowed-origins: [[S3CRET]]":                "allowed-origins must be a list of texts",
		"allowed-origins: {S3CRET: 1}":               "allowed-origins must be a list of texts",
		"allowed-origins: [1]":                       "allowed-origins must be a list of texts",
		"allowed-origins: 7":                         "allowed-origins must be a list of texts",
		"- addr: S3CRET":                             "not the YAML of settings",
		"S3CRET":                                     "not the YAML of settings",
		"app-secret: *S3CRET":                        "not the YAML of settings: line 1, column",
		"app-secret: *S3CRET\"x":                     "not the YAML of settings: line 1, column",
		"app-secret: !!bool S3CRET":                  "not the YAML of settings: line 1, column",
		"app-secret: @S3CRET":                        "not the YAML of settings: line 1, column",
		"app-secret: \"S3CRET\\S3CRET\"":             "not the YAML of settings: line 1, column",
		"app-secret: 'S3CRET":                        "not the YAML of settings: line 1, column",
		"app-secret: S3CRET\n  addr: S3CRET":         "not the YAML of settings: line 1, column",
		"app-secret: [S3CRET":                        "not the YAML of settings: line 1, column",
		"app-secret: S3CRET: S3CRET":                 "not the YAML of settings: line 1, column",
		"\tapp-secret: S3CRET":                       "not the YAML of settings: line 1, column",
		"addr: a\n---\naddr: b":                      "one YAML document is all that is read",
		"addr: a\n---\n- S3CRET":                     "one YAML document is all that is read",
	} {
		_, err := settingsOf(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, not %s", text, err, want)
		}
	}
}

func FuzzSettings(f *testing.F) {
	for _, text := range []string{
		"", "addr: :8080\nredis: redis://r:6379\nallowed_origins: [https://a.example, \"*\"]\nmax_value: 128KiB\nlog_age: 5m\npartitions: 64",
		"accept-rate: .nan", "accept-rate: -.inf", "max-keys: 0x10", "max-keys: 1_000", "drain: -1s", "app-secrets: a=b,c=d", "tls-cert: null",
		"a: &a {b: *a}", "<<: {addr: x}", "addr: |\n  text\n  more\n", "addr: >-\n  x", "addr: !!binary aGk=", "!!map {addr: x}", "? addr\n: x",
		"%YAML 1.2\n---\naddr: x\n...\n", "addr: x\n---\naddr: y", "addr: \"\\u0000\"", "max-value: 9223372036854775808", "log-age: 1h2m3s4ms",
		"\ufeffaddr: x", "addr: 2001-01-01", "{addr: x, max_keys: 1, max-keys: 2}", "peer-rate: 1e400", "[[[[[[", "{{{{{{", "- - - -", "\t", "\x00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := settingsOf(text)
		if err != nil {
			if err.Error() == "" || strings.Contains(err.Error(), "<nil>") {
				t.Errorf("%q: %q", text, err)
			}
			return
		}
		again, err := settingsOf(text)
		if err != nil || again.check() == nil != (c.check() == nil) || again.limits() != c.limits() && c.peerRate == c.peerRate &&
			c.roomRate == c.roomRate && c.joinRate == c.joinRate { // NaN is not itself
			t.Errorf("%q is read as %+v, and then as %+v, %v", text, c, again, err)
		}
	})
}
