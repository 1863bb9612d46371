package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"vmbuild/image"
	"vmbuild/image/session"
)

// Exit statuses, as the README documents them.
const (
	statusDone         = 0
	statusFailed       = 1   // a stage of the build failed, or the text that run waited for did not come
	statusUsage        = 2   // the options are wrong, alone or together
	statusHost         = 3   // this host lacks something
	statusVerification = 4   // an archive is not what its keys or hashes say
	statusInterrupted  = 130 // a signal ended the build
)

// usageError marks what is wrong with the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// commandError is an error of a command that has many options of its own.
type commandError struct {
	error
	command string
}

func (e commandError) Unwrap() error { return e.error }

// report prints an error the way a person can use it and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return statusDone
	}
	status := statusOf(err)
	var left *session.LeftoverError
	if status == statusInterrupted && !errors.As(err, &left) {
		fmt.Fprintln(w, "vmbuild: interrupted; nothing was left behind")
		return status
	}
	for _, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(w, "vmbuild: %s\n", line)
	}
	hint := hints[status]
	var of commandError
	if status == statusUsage && errors.As(err, &of) {
		hint = "vmbuild " + of.command + " --help lists all options"
	}
	var own interface{ hint() string }
	if errors.As(err, &own) {
		hint = own.hint()
	}
	if hint != "" {
		fmt.Fprintf(w, "vmbuild: %s\n", hint)
	}
	return status
}

// hints says what to do, where the error itself cannot know.
var hints = map[int]string{
	statusUsage:        "vmbuild --help lists all options",
	statusVerification: "nothing was written: this archive cannot be trusted as it is",
}

func statusOf(err error) int {
	var usage usageError
	var refused *image.RefusedError
	var missing *image.MissingError
	var kind interface{ Kind() string }
	switch {
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	case errors.As(err, &usage), errors.As(err, &refused):
		return statusUsage
	case errors.As(err, &missing):
		return statusHost
	case errors.As(err, &kind) && kind.Kind() == "verification":
		return statusVerification
	}
	return statusFailed
}

// shellQuote writes a word so that a shell reads it back as one.
func shellQuote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=+,@:") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
