package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"vmbuild/image/session"
)

// execJob is the name of the job that runs a command.
const execJob = "exec"

// Exec runs a command as root of a build's namespaces: there, files of a directory that was made by an ordinary user have
// the owners that the system says, and can be changed and removed.
func Exec(ctx context.Context, args []string, h session.Host) error {
	return h.Run(ctx, execJob, args, os.Stdin, os.Stdout, os.Stderr)
}

func execInside(ctx context.Context, _ *session.Session, payload json.RawMessage, files []*os.File) error {
	var args []string
	if err := json.Unmarshal(payload, &args); err != nil {
		return fmt.Errorf("read the command: %w", err)
	}
	if len(args) == 0 {
		return errors.New("no command is given")
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", args[0], err)
	}
	return nil
}
