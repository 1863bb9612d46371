package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// heading are the columns of the comparisons.
var heading = []string{"task", "vmbuild", "other tool", "", "times", "by pair", "target", "reached", "memory", "packages"}

// cells are a row's, in the order of heading.
func (r Row) cells() []string {
	pairs := r.Pairs()
	return []string{
		r.Task, seconds(r.Ours), r.Theirs.Tool, seconds(r.Theirs), times(r.Ratio()),
		times(pairs.Min) + "–" + times(pairs.Max), target(r.Target), r.Verdict(),
		megabytes(r.Ours) + " : " + megabytes(r.Theirs), packages(r.Ours.Packages) + " : " + packages(r.Theirs.Packages),
	}
}

// seconds writes a side's time as median (min–max).
func seconds(s Side) string {
	t := s.Seconds()
	return fmt.Sprintf("%s s (%s–%s)", figures(t.Median), figures(t.Min), figures(t.Max))
}

// figures writes a time with as many digits as it is worth.
func figures(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

func times(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) + "×" }

func target(v float64) string {
	if v == 0 {
		return ""
	}
	return "≥ " + strconv.FormatFloat(v, 'f', -1, 64) + "×"
}

func megabytes(s Side) string { return strconv.FormatFloat(s.Peak().Median/1e6, 'f', 0, 64) + " MB" }

func packages(n int) string {
	if n == 0 {
		return "–"
	}
	return strconv.Itoa(n)
}

// growthHeading are the columns of the growth.
var growthHeading = []string{"packages", "of", "time", "by package", "processor", "memory"}

func (p Point) cells() []string {
	return []string{
		strconv.Itoa(p.Packages), p.Of, seconds(p.Side),
		figures(p.Seconds().Median/float64(max(1, p.Packages))*1000) + " ms",
		figures(p.CPU().Median) + " s", megabytes(p.Side),
	}
}

// WriteText writes the tables for a terminal.
func (r Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, table := range r.tables() {
		for _, row := range table {
			fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	for _, line := range r.remarks() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	return nil
}

// WriteMarkdown writes the tables, what they were measured on, and the commands.
func (r Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, table := range r.tables() {
		for i, row := range table {
			cells := make([]string, len(row))
			for j, cell := range row {
				cells[j] = strings.ReplaceAll(cell, "|", `\|`)
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(row)))
			}
		}
		fmt.Fprintln(&b)
	}
	for _, line := range r.remarks() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintln(&b)
	for _, row := range r.Rows {
		for _, side := range []Side{row.Ours, row.Theirs} {
			fmt.Fprintf(&b, "    # %s, %s\n    %s\n", row.Name, side.Tool, strings.ReplaceAll(side.Command, "\n", "\n    "))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// tables are those that have rows, each with its heading.
func (r Report) tables() [][][]string {
	var tables [][][]string
	if len(r.Rows) > 0 {
		table := [][]string{heading}
		for _, row := range r.Rows {
			table = append(table, row.cells())
		}
		tables = append(tables, table)
	}
	if len(r.Growth) > 0 {
		table := [][]string{growthHeading}
		for _, p := range r.Growth {
			table = append(table, p.cells())
		}
		tables = append(tables, table)
	}
	return tables
}

// remarks say what the figures are, where they come from and what is missing.
func (r Report) remarks() []string {
	lines := []string{
		"Times are medians (smallest–largest) of runs in turn; times as fast: the medians' quotient, and the range of the " +
			"pairs' quotients. Memory is the largest sum over all processes of a run, median of the runs.",
	}
	for _, row := range r.Rows {
		if row.Ours.Network().Max > 0 {
			lines = append(lines, fmt.Sprintf("%s: of these times the network was busy for %s s with vmbuild and %s s with %s.",
				row.Task, figures(row.Ours.Network().Median), figures(row.Theirs.Network().Median), row.Theirs.Tool))
		}
	}
	lines = append(lines, r.Notes...)
	for _, row := range r.Rows {
		if row.Date != "" && row.Date < r.Machine.Date {
			lines = append(lines, fmt.Sprintf("Compared before, on %s: %s, %s.", row.Date, row.Task, row.Theirs.Tool))
		}
	}
	for _, a := range r.Omitted {
		lines = append(lines, fmt.Sprintf("Not compared: %s (%s).", a.Name, a.Reason))
	}
	return append(lines, r.Machine.text()...)
}

func (m Machine) text() []string {
	var versions []string
	for _, tool := range slices.Sorted(maps.Keys(m.Versions)) {
		versions = append(versions, tool+" "+m.Versions[tool])
	}
	lines := []string{fmt.Sprintf("%s, %s, %s, %d cores, %.0f GB of memory, %s, as %s, load %s, %s.",
		m.System, m.Kernel, m.CPU, m.Cores, float64(m.Memory)/1e9, m.Disk, m.User, m.Load, m.Date)}
	if len(versions) > 0 {
		lines = append(lines, strings.Join(versions, ", ")+".")
	}
	return lines
}
