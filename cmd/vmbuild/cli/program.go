package cli

import (
	"context"
	"errors"

	"github.com/alecthomas/kong"

	"vmbuild/image/session"
)

// programOptions are about the program itself, whatever it makes.
type programOptions struct {
	outputOptions
	configOptions
	logOptions
	profileOptions
	timingOptions
}

// surroundings are what a command works in.
type surroundings struct {
	Streams
	log     *journal
	profile session.Profile
}

// note tells the user and the log.
func (s surroundings) note(notes []string) {
	printNotes(s.Streams, notes)
	for _, n := range notes {
		s.log.note(n)
	}
}

// run does what a command is for, between the first line of the log and the last, or what the options ask for instead.
func (o *programOptions) run(ctx context.Context, k *kong.Context, s Streams, do func(ctx context.Context, s surroundings) error) (err error) {
	if done, err := o.answer(k, s); done || err != nil {
		return err
	}
	if s, err = o.openOutput(s); err != nil {
		return err
	}
	profile, err := o.profile()
	if err != nil {
		return err
	}
	log, err := o.openLog(k, s)
	if err != nil {
		return err
	}
	defer func() { log.close(err) }()
	stop, err := profile.Start("outer")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return o.timingOptions.run(ctx, s.Err, func(ctx context.Context) error { return do(ctx, surroundings{s, log, profile}) })
}
