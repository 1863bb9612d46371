package cli

import (
	"fmt"
	"os"
)

// openLog opens the log file for appending; it may hold what scripts print, so that only its owner reads it. Without
// a name there is no log.
func openLog(name string) (*os.File, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, usageError{fmt.Errorf("--log: %w", err)}
	}
	return f, nil
}
