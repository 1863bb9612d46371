package cli

import (
	"fmt"
	"os"
)

// outputOptions say where messages go.
type outputOptions struct {
	Output string `help:"Write messages to FILE instead of the terminal: results, notes and progress. Errors go to standard error anyway." placeholder:"FILE" group:"Program"`
}

// openOutput returns the streams of a command. The file stays open until the program ends: nothing is written to it later.
func (o outputOptions) openOutput(s Streams) (Streams, error) {
	if o.Output == "" {
		return s, nil
	}
	f, err := os.Create(o.Output)
	if err != nil {
		return s, usageError{fmt.Errorf("--output: %w", err)}
	}
	s.Out, s.Err = f, f
	return s, nil
}
