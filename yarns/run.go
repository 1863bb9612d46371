package yarns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Runner runs scenarios as yarn does, each in a directory of its own.
type Runner struct {
	Library string   // shell code that stands before that of each step
	Env     []string // NAME=VALUE: what the steps find in their environment besides what every step finds
	Source  string   // absolute path: where steps start, and their SRCDIR
}

// SkippedError says that a scenario was not run since what it assumes does not hold.
type SkippedError struct {
	Step Step
}

func (e *SkippedError) Error() string { return fmt.Sprintf("%q does not hold", e.Step) }

// StepError is a step that failed, and what it printed.
type StepError struct {
	Step           Step
	Err            error // why: an *exec.ExitError, or what kept the step from being run
	Stdout, Stderr string
}

func (e *StepError) Error() string {
	return fmt.Sprintf("%s:%d: %q: %v\nstandard output:\n%s\nstandard error:\n%s",
		e.Step.at.file, e.Step.at.number, e.Step, e.Err, indent(e.Stdout), indent(e.Stderr))
}

func (e *StepError) Unwrap() error { return e.Err }

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

// Run runs a scenario of a parsed suite: what it assumes first, then its steps up to the first that fails, then in any
// case those that clean up. dir is an existing directory for DATADIR, which the caller removes. The error is a
// *SkippedError, or has a *StepError for each step that failed; a context that ends ends the step at work.
func (r Runner) Run(ctx context.Context, s Scenario, dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "HOME"), 0o755); err != nil {
		return fmt.Errorf("run scenario %q: %w", s.Name, err)
	}
	for _, step := range s.of("ASSUMING") {
		var failed *exec.ExitError
		if err := r.step(ctx, step, dir); errors.As(err, &failed) {
			return &SkippedError{step}
		} else if err != nil {
			return err
		}
	}
	err := r.steps(ctx, s.of("GIVEN", "WHEN", "THEN"), dir)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, r.steps(ctx, s.of("FINALLY"), dir))
}

// of returns the steps that begin with one of the keywords.
func (s Scenario) of(keywords ...string) []Step {
	var steps []Step
	for _, step := range s.Steps {
		for _, k := range keywords {
			if step.Keyword == k {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

func (r Runner) steps(ctx context.Context, steps []Step, dir string) error {
	for _, step := range steps {
		if err := r.step(ctx, step, dir); err != nil {
			return err
		}
	}
	return nil
}

// step runs the code of a step by sh -xeu, which prints the commands on standard error.
func (r Runner) step(ctx context.Context, step Step, dir string) error {
	var stdout, stderr strings.Builder
	fail := func(err error) error { return &StepError{step, err, stdout.String(), stderr.String()} }
	// A file, since a shell that reads its code from standard input shares that with the programs it runs.
	script, err := os.CreateTemp("", "yarn-step-")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(script.Name())
	_, err = script.WriteString(r.Library + "\n" + step.Implementation.Shell + "\n")
	if err := errors.Join(err, script.Close()); err != nil {
		return fail(err)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-xeu", script.Name())
	cmd.Dir, cmd.Env = r.Source, r.environment(step, dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second // for what a killed step has left running
	if err := cmd.Run(); err != nil {
		return fail(err)
	}
	return nil
}

// environment is all that a step finds, in yarn's order: what comes later wins.
func (r Runner) environment(step Step, dir string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "TERM=dumb", "SHELL=/bin/sh", "LC_ALL=C",
		"USER=tomjon", "USERNAME=tomjon", "LOGNAME=tomjon",
	}
	env = append(env, r.Env...)
	env = append(env, "DATADIR="+dir, "SRCDIR="+r.Source, "HOME="+filepath.Join(dir, "HOME"))
	for n, match := range step.Matches {
		env = append(env, fmt.Sprintf("MATCH_%d=%s", n+1, match))
	}
	return env
}
