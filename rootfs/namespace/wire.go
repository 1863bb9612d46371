package namespace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Descriptors that every inner process inherits. The job's own files follow.
const (
	requestFD = 3 // the byte "mapped", then the request as JSON; its end means that the outer process is gone or wants an end
	answerFD  = 4 // answers, one JSON object a line
	filesFD   = 5
)

// mapped is the byte that tells the init process that its ids are mapped, so that the worker can be started.
const mapped = 'm'

// request is what the worker is to do.
type request struct {
	Job     string
	Payload json.RawMessage
	Files   int
}

// answer is one line from the inner side. Exactly one field is set.
type answer struct {
	Message json.RawMessage `json:",omitempty"` // of the handler
	Done    *result         `json:",omitempty"` // the handler has returned
	Ended   string          `json:",omitempty"` // how the worker ended, from the init process: "was killed by signal SIGKILL"
}

type result struct {
	Error *Error `json:",omitempty"`
}

// Error is an error that a handler returned, as it arrives on the outer side.
type Error struct {
	Text  string // what its Error method said
	Class string // what its Kind method said, or that of the first error in its chain that has one

	cause error // of the cancellation that the handler was told of
}

func (e *Error) Error() string { return e.Text }

// Kind returns the word that the handler's error gave for its kind, "" if it gave none.
func (e *Error) Kind() string { return e.Class }

// Unwrap returns the reason of the context if it was cancelled before the handler gave this error.
func (e *Error) Unwrap() error { return e.cause }

// flatten makes of a handler's error what can cross the border of the process.
func flatten(err error) *Error {
	if err == nil {
		return nil
	}
	var kind interface{ Kind() string }
	if errors.As(err, &kind) {
		return &Error{Text: err.Error(), Class: kind.Kind()}
	}
	return &Error{Text: err.Error()}
}

// answers is the inner side's end of the pipe; a handler may send from several goroutines.
type answers struct {
	mu   sync.Mutex
	pipe *os.File
}

func (a *answers) send(v answer) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("send an answer: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err = a.pipe.Write(append(line, '\n'))
	return err
}

// receive reads answers until no inner process is left that could send one. It returns the handler's result, nil if
// there was none, and how the worker ended.
func receive(pipe *os.File, message func(json.RawMessage)) (done *result, ended string) {
	for lines := bufio.NewReader(pipe); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return done, ended
		}
		var a answer
		if json.Unmarshal(line, &a) != nil {
			continue // a worker that is killed leaves half a line
		}
		switch {
		case a.Done != nil:
			done = a.Done
		case a.Ended != "":
			ended = a.Ended
		case message != nil && a.Message != nil:
			message(a.Message)
		}
	}
}

// ending words the end of a process for "the build process …".
func ending(status unix.WaitStatus) string {
	if status.Signaled() {
		return "was killed by signal " + unix.SignalName(unix.Signal(status.Signal()))
	}
	return fmt.Sprintf("ended with exit status %d", status.ExitStatus())
}
