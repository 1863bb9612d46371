package session

import (
	"bytes"
	"io"
	"os"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"vmbuild/rootfs"
)

// Journal takes what a build has to say: events go to the outer half and, with the output of programs, to the log file.
type Journal struct {
	log  *zap.Logger
	send func(any) error

	mu    sync.Mutex
	rest  []byte // of an output line that is not complete yet
	stage string
}

// newJournal writes JSON lines to file, which may be nil.
func newJournal(file *os.File, send func(any) error) *Journal {
	j := &Journal{log: zap.NewNop(), send: send}
	if file != nil {
		j.log = NewLogger(file)
	}
	return j
}

// NewLogger returns a logger of JSON lines, each with its level, time and message; one line is one Write.
func NewLogger(w io.Writer) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.ISO8601TimeEncoder
	sink := zapcore.Lock(zapcore.AddSync(w))
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), sink, zapcore.DebugLevel))
}

// event reports progress; a stage is logged when it begins.
func (j *Journal) event(e rootfs.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Layer != nil {
		j.log.Info("layer", zap.Any("layer", e.Layer))
		j.tell(e)
		return
	}
	if e.Line == "" && e.Stage != j.stage {
		j.stage = e.Stage
		j.log.Info("stage", zap.String("stage", e.Stage))
	}
	j.tell(e)
}

// tell sends to the outer half. When that is gone the build is being killed, and there is nobody to tell.
func (j *Journal) tell(e rootfs.Event) { _ = j.send(e) }

// note logs what is wrong without being a reason to stop.
func (j *Journal) note(err error) { j.log.Warn("note", zap.Error(err)) }

// Write takes the output of programs and passes it on line by line.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rest = append(j.rest, p...)
	for {
		line, rest, complete := bytes.Cut(j.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		j.line(string(line))
		j.rest = rest
	}
}

func (j *Journal) line(text string) {
	j.log.Debug("output", zap.String("stage", j.stage), zap.String("line", text))
	j.tell(rootfs.Event{Stage: j.stage, Line: text})
}

// Close ends the log.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.rest) > 0 {
		j.line(string(j.rest))
		j.rest = nil
	}
	_ = j.log.Sync() // a pipe or a terminal cannot be synced, and a log is no reason to give an image up
	return nil
}
