// Package report is what a benchmark has found, and the forms in which people read it: a table for the terminal, one in
// Markdown, plots in SVG, and JSON with every single run. It measures nothing and knows no program by name.
package report

import (
	"encoding/json"
	"fmt"
	"io"
)

// Report is all of a benchmark.
type Report struct {
	Machine Machine  `json:"machine"`
	Rows    []Row    `json:"rows"`
	Growth  []Point  `json:"growth,omitempty"`  // in the order of their sizes
	Notes   []string `json:"notes,omitempty"`   // what else was found
	Omitted []Absent `json:"omitted,omitempty"` // what could not be compared
}

// Machine is where it was run.
type Machine struct {
	Date     string            `json:"date"` // when it began, RFC 3339, UTC
	System   string            `json:"system"`
	Kernel   string            `json:"kernel"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   int64             `json:"memory"` // bytes
	Disk     string            `json:"disk"`   // file system that was worked on
	Load     string            `json:"load"`   // /proc/loadavg when it began
	User     string            `json:"user"`
	Versions map[string]string `json:"versions"` // by the tool's name
}

// Run is one run of a tool.
type Run struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`               // seconds, user and system
	Peak    int64   `json:"peak"`              // bytes of memory of all its processes
	Network float64 `json:"network,omitempty"` // seconds of Seconds in which an answer was on its way
	Bytes   int64   `json:"bytes,omitempty"`   // that came over the network
}

// Side is what one tool took for a task.
type Side struct {
	Tool     string `json:"tool"`
	Command  string `json:"command"`            // as a shell would be told it, with short names for directories
	Packages int    `json:"packages,omitempty"` // in what it has made
	Runs     []Run  `json:"runs"`
}

// Row is a comparison: the same task done by two tools in turn, so that runs of one index make a pair.
type Row struct {
	Name   string  `json:"name"`
	Task   string  `json:"task"`
	Date   string  `json:"date,omitempty"`   // when it began, RFC 3339, UTC
	Target float64 `json:"target,omitempty"` // the ratio to reach; 0: none
	Ours   Side    `json:"ours"`
	Theirs Side    `json:"theirs"`
}

// Absent is a comparison that was not made.
type Absent struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Point is what a number of packages takes.
type Point struct {
	Side
	Of string `json:"of"` // what is installed, in words
}

// Seconds are the runs' times on the clock.
func (s Side) Seconds() Spread { return spread(s.Runs, func(r Run) float64 { return r.Seconds }) }

// CPU are the runs' processor times in seconds.
func (s Side) CPU() Spread { return spread(s.Runs, func(r Run) float64 { return r.CPU }) }

// Peak is the runs' memory in bytes.
func (s Side) Peak() Spread { return spread(s.Runs, func(r Run) float64 { return float64(r.Peak) }) }

// Network are the seconds for which the runs had the network busy.
func (s Side) Network() Spread { return spread(s.Runs, func(r Run) float64 { return r.Network }) }

// Ratio is how many times as long as ours theirs takes: the medians' quotient.
func (r Row) Ratio() float64 { return r.Theirs.Seconds().Median / r.Ours.Seconds().Median }

// Pairs are the quotients of the single pairs.
func (r Row) Pairs() Spread {
	ratios := make([]float64, min(len(r.Ours.Runs), len(r.Theirs.Runs)))
	for i := range ratios {
		ratios[i] = r.Theirs.Runs[i].Seconds / r.Ours.Runs[i].Seconds
	}
	return Of(ratios)
}

// Verdict says whether the target is reached: "yes", "no", or nothing where there is none.
func (r Row) Verdict() string {
	switch {
	case r.Target == 0:
		return ""
	case r.Ratio() >= r.Target:
		return "yes"
	}
	return "no"
}

// WriteJSON writes everything.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Read reads what WriteJSON has written.
func Read(from io.Reader) (Report, error) {
	var r Report
	d := json.NewDecoder(from)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Report{}, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}
