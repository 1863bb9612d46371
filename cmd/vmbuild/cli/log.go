package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"vmbuild/image"
	"vmbuild/image/session"
)

// logOptions are about the log: lines of JSON, each with a level.
type logOptions struct {
	Log      string     `help:"Write a log (lines of JSON) to FILE, to the system's log (syslog) or nowhere (none)." placeholder:"FILE" group:"Log"`
	LogLevel string     `help:"Leave out what is less than this: ${enum}. An error that ends the build is as much as there is." enum:"debug,info,warning,error,critical,fatal" default:"debug" placeholder:"LEVEL" group:"Log"`
	LogMax   image.Size `help:"Begin a new file when the log becomes larger; 0: never." default:"0" placeholder:"SIZE" group:"Log"`
	LogKeep  int        `help:"How many older files are kept then: FILE.1 is the newest." default:"10" placeholder:"N" group:"Log"`
	LogMode  fileMode   `help:"Permissions of a new file (octal)." default:"0600" placeholder:"MODE" group:"Log"`
}

// fileMode is read and written as chmod(1) does, in octal digits.
type fileMode os.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *fileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is no mode in octal digits such as 0640", text)
	}
	*m = fileMode(n)
	return nil
}

func (m fileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// levels are those of cliapp's --log-level. Nothing here is worse than an error.
var levels = map[string]zapcore.Level{
	"debug": zap.DebugLevel, "info": zap.InfoLevel, "warning": zap.WarnLevel,
	"error": zap.ErrorLevel, "critical": zap.ErrorLevel, "fatal": zap.ErrorLevel,
}

// openLog opens the log. Its first line has what the command line and configuration files say, without passwords.
func (o logOptions) openLog(k *kong.Context, s Streams) (*journal, error) {
	if o.LogKeep < 0 {
		return nil, usageError{fmt.Errorf("--log-keep=%d: there is no such number of files", o.LogKeep)}
	}
	j := &journal{warnings: s.Err, started: time.Now()}
	w, err := o.writer(s)
	if err != nil {
		return nil, err
	}
	if w == nil {
		j.log = zap.NewNop()
		return j, nil
	}
	j.lines = &logLines{to: w, level: levels[o.LogLevel]}
	j.log = session.NewLogger(j.lines)
	if err := j.listen(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	j.log.Info("start", zap.String("version", version()), zap.Strings("options", givenOptions(k)))
	return j, nil
}

// writer returns what takes the lines of the log; nil: nobody.
func (o logOptions) writer(s Streams) (lineWriter, error) {
	switch o.Log {
	case "", "none":
		return nil, nil
	case "syslog":
		w, err := openSyslog(s.syslog)
		if err != nil {
			return nil, &image.MissingError{Problems: []string{fmt.Sprintf(
				"--log=syslog: this host has no system log to write to (%v): name a file (--log=FILE)", err)}}
		}
		return w, nil
	}
	w := &logFile{name: o.Log, max: int64(o.LogMax), keep: o.LogKeep, mode: os.FileMode(o.LogMode)}
	if err := w.open(); err != nil {
		return nil, usageError{fmt.Errorf("--log: %w", err)}
	}
	return w, nil
}

// givenOptions are the options of the command line and of configuration files, without passwords.
func givenOptions(k *kong.Context) []string {
	var given []string
	seen := map[*kong.Flag]bool{}
	for _, p := range k.Path {
		if p.Flag == nil || seen[p.Flag] {
			continue
		}
		seen[p.Flag] = true
		switch v := entryValue(p.Flag).(type) {
		case bool:
			given = append(given, fmt.Sprintf("--%s=%t", p.Flag.Name, v))
		case string:
			given = append(given, "--"+p.Flag.Name+"="+withoutSecret(p.Flag, v))
		case []string:
			for _, item := range v {
				given = append(given, "--"+p.Flag.Name+"="+withoutSecret(p.Flag, item))
			}
		}
	}
	return given
}

// withoutSecret hides what the tag "secret" says: all of the value, or what follows a text in it. A password in a URL is
// hidden everywhere.
func withoutSecret(f *kong.Flag, value string) string {
	const hidden = "(hidden)"
	if f.Tag.Has("secret") {
		name, _, found := strings.Cut(value, f.Tag.Get("secret"))
		if found {
			return name + f.Tag.Get("secret") + hidden
		}
		return value
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		return u.Redacted()
	}
	return value
}

// lineWriter takes the log line by line; a line has no newline at its end.
type lineWriter interface {
	WriteLine(level zapcore.Level, line []byte) error
	Close() error
}

// journal is the outer half's side of the log. What the inner half writes comes through a pipe: it is in namespaces of its
// own, where it can neither rotate files nor find the system's log.
type journal struct {
	log      *zap.Logger
	lines    *logLines // nil: there is no log
	pipe     *os.File  // the inner half's end
	ended    chan struct{}
	read     *os.File
	warnings io.Writer
	started  time.Time
}

// listen opens the pipe and takes lines from it until its other end is closed.
func (j *journal) listen() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	j.read, j.pipe, j.ended = r, w, make(chan struct{})
	go func() {
		defer close(j.ended)
		for in := bufio.NewReader(r); ; {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 {
				_, _ = j.lines.Write(line)
			}
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// file is where the inner half writes to; nil: there is no log.
func (j *journal) file() *os.File { return j.pipe }

// note logs what is printed as a note.
func (j *journal) note(text string) { j.log.Warn("note", zap.String("note", text)) }

// patience is how long the log waits for the rest of the inner half's lines when that has ended.
const patience = 5 * time.Second

// close ends the log with the build's error, if it has one. What could not be written is told, and no reason to fail.
func (j *journal) close(err error) {
	if j.lines == nil {
		return
	}
	j.pipe.Close()
	_ = j.read.SetReadDeadline(time.Now().Add(patience)) // pipes have deadlines
	<-j.ended
	j.read.Close()
	status := statusDone
	if err != nil {
		status = statusOf(err)
		j.log.Error("failed", zap.Error(err))
	}
	j.log.Info("end", zap.Int("status", status), zap.Duration("time", time.Since(j.started).Round(time.Millisecond)))
	if err := j.lines.close(); err != nil {
		fmt.Fprintf(j.warnings, "vmbuild: note: the log is not complete: %v\n", err)
	}
}

// logLines takes lines of JSON from several goroutines and passes on those that are of a level.
type logLines struct {
	mu    sync.Mutex
	to    lineWriter
	level zapcore.Level
	err   error // the first
}

// Write takes a line; it returns no error, since the build does not depend on its log.
func (l *logLines) Write(line []byte) (int, error) {
	level, text := levelOf(line)
	if level < l.level {
		return len(line), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.to.WriteLine(level, text); err != nil && l.err == nil {
		l.err = err
	}
	return len(line), nil
}

// levelOf returns a line's level, and the line without its end. What a killed process left of its last line becomes a line
// that can be read.
func levelOf(line []byte) (zapcore.Level, []byte) {
	var has struct {
		Level zapcore.Level `json:"level"`
	}
	if err := json.Unmarshal(line, &has); err == nil {
		return has.Level, bytes.TrimSuffix(line, []byte("\n"))
	}
	rest := struct {
		Level   zapcore.Level `json:"level"`
		Message string        `json:"msg"`
		Line    string        `json:"line"`
	}{zap.WarnLevel, "cut off", string(line)}
	text, _ := json.Marshal(rest) // texts can always be written
	return rest.Level, text
}

func (l *logLines) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.to.Close())
}

// logFile is a log that begins a new file when it becomes too large, as Python's RotatingFileHandler does for cliapp. That is
// little enough to have here; gopkg.in/natefinch/lumberjack counts in whole megabytes and names older files by the time.
type logFile struct {
	name string
	max  int64 // bytes; 0: any number
	keep int
	mode os.FileMode // of a new file

	file *os.File
	size int64 // counted where the file is a regular one
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600&l.mode)
	if err == nil {
		l.file, l.size = f, 0
		return f.Chmod(l.mode) // whatever the umask
	}
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if l.file, err = os.OpenFile(l.name, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if l.size = info.Size(); !info.Mode().IsRegular() {
		l.max = 0
	}
	return nil
}

// WriteLine writes a line; a file is never ended within one. If no new file can begin, the old one goes on.
func (l *logFile) WriteLine(_ zapcore.Level, line []byte) error {
	line = append(bytes.Clone(line), '\n')
	var rotated error
	if l.max > 0 && l.size > 0 && l.size+int64(len(line)) > l.max {
		rotated = l.rotate()
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return errors.Join(rotated, err)
}

// rotate gives each file the next number; the last one goes.
func (l *logFile) rotate() error {
	for n := l.keep; n > 0; n-- {
		err := os.Rename(l.number(n-1), l.number(n))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if l.keep == 0 {
		if err := os.Remove(l.name); err != nil {
			return err
		}
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old
		return err
	}
	return old.Close()
}

// number is the name of an older file; 0 is the log itself.
func (l *logFile) number(n int) string {
	if n == 0 {
		return l.name
	}
	return fmt.Sprintf("%s.%d", l.name, n)
}

func (l *logFile) Close() error { return l.file.Close() }

// systemLog is syslog(3)'s: facility user, the severity by the level.
type systemLog struct{ *syslog.Writer }

// openSyslog connects to the system's log, or to one at another socket.
func openSyslog(socket string) (systemLog, error) {
	network := "unixgram"
	if socket == "" {
		network = ""
	}
	w, err := syslog.Dial(network, socket, syslog.LOG_USER|syslog.LOG_INFO, "vmbuild")
	return systemLog{w}, err
}

// WriteLine sends a line.
func (l systemLog) WriteLine(level zapcore.Level, line []byte) error {
	write := l.Err
	switch level {
	case zap.DebugLevel:
		write = l.Debug
	case zap.InfoLevel:
		write = l.Info
	case zap.WarnLevel:
		write = l.Warning
	}
	return write(string(line))
}
