// Command hearth is the product's one binary: the server and the tools around it. It holds configuration, wiring and the
// order of shutdown, and no logic: what a verb does is in package node, what a request looks like in httpapi.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker; see the Makefile.
var version = ""

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		// The first signal asks to stop in order. Before anybody can see that it does, the default applies again: a second one
		// ends at once.
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes a command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "hearth",
		Short: "Session store for real-time rooms",
		Long: "Hearth keeps what a room's peers share while they are together: who is there, a key-value store, messages in one order.\n" +
			"When the last one leaves, all of it is gone.\n\n" + clientHelp + "\n\n" + exitHelp,
		Example: "  hearth serve\n  hearth rooms\n  hearth set demo deck '{\"slide\":3}'\n  hearth get demo deck\n" +
			"  hearth watch demo\n  source <(hearth completion bash)",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	// A line that can't be understood ends before this.
	understood := false
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddGroup(&cobra.Group{ID: serverGroup, Title: "The server:"}, &cobra.Group{ID: clientGroup, Title: "Talk to a running server:"})
	//nolint:contextcheck // cobra hands the context on
	root.AddCommand(serveCommand(), roomsCommand(), watchCommand(), getCommand(), setCommand(), tokenCommand(), revokeCommand(), doctorCommand(), benchCommand(),
		versionCommand())
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !understood {
		err = usageError{err}
	}
	_, _ = fmt.Fprintln(stderr, "hearth:", explain(err))
	if _, isUsage := errors.AsType[usageError](err); isUsage {
		_, _ = fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return exitCode(err)
}

// Groups of commands in the help of the root.
const (
	serverGroup = "server"
	clientGroup = "client"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: serverGroup, Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "hearth", versionText())
			return err
		},
	}
}

// versionText is the linker's version, else what the build recorded.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
