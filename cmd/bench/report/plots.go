package report

import (
	"fmt"
	"io"
)

// memoryLimit is what a build may take, in MB: the line in the plot of the growth.
const memoryLimit = 300

// WriteComparison draws the rows: for each, what the two tools take, on a logarithmic line of seconds, so that equal
// distances are equal ratios. Bars behind the medians go from the fastest run to the slowest.
func (r Report) WriteComparison(w io.Writer) error {
	const width, left, right, top, height = 860.0, 330.0, 730.0, 70.0, 34.0
	bottom := top + height*float64(len(r.Rows))
	var p picture
	p.text("title", "start", 16, 26, "The same task by vmbuild and by another tool, in seconds")
	p.dot("ours", 22, 46, 5)
	p.text("", "start", 34, 50, "vmbuild")
	p.dot("theirs", 108, 46, 5)
	p.text("", "start", 120, 50, "the other tool")
	p.text("small", "start", right+16, 50, "times as fast")
	values := []float64{1}
	for _, row := range r.Rows {
		ours, theirs := row.Ours.Seconds(), row.Theirs.Seconds()
		values = append(values, ours.Min, ours.Max, theirs.Min, theirs.Max)
	}
	x := aroundLog(values, left, right)
	for _, t := range x.ticks() {
		p.line("axis", x.at(t), top-8, x.at(t), bottom)
		p.text("small", "middle", x.at(t), bottom+16, tickText(t))
	}
	for i, row := range r.Rows {
		p.comparison(row, x, top+height*(float64(i)+0.5), right+16)
	}
	return p.write(w, "Seconds that vmbuild and other tools take for the same task", width, bottom+28)
}

// comparison draws a row around a height.
func (p *picture) comparison(row Row, x scale, y, ratioAt float64) {
	p.text("", "start", 16, y-2, row.Task)
	p.text("small", "start", 16, y+12, row.Theirs.Tool)
	ours, theirs := row.Ours.Seconds(), row.Theirs.Seconds()
	p.line("link", x.at(max(ours.Median, least)), y, x.at(max(theirs.Median, least)), y)
	for _, side := range []struct {
		class string
		Spread
	}{{"theirs", theirs}, {"ours", ours}} {
		p.line(side.class+" range", x.at(max(side.Min, least)), y, x.at(max(side.Max, least)), y)
		p.dot(side.class, x.at(max(side.Median, least)), y, 5)
	}
	p.text("strong", "start", ratioAt, y+4, times(row.Ratio()))
	if row.Target > 0 {
		p.text("small", "start", ratioAt+52, y+4, target(row.Target))
	}
}

// WriteGrowth draws how time and memory grow with the number of packages: each run a dot, the medians a curve.
func (r Report) WriteGrowth(w io.Writer) error {
	const width, height, top, bottom = 860.0, 340.0, 70.0, 296.0
	var p picture
	p.text("title", "start", 16, 26, "What a tree takes by its number of packages, nothing cached but packages")
	var sizes []float64
	for _, point := range r.Growth {
		sizes = append(sizes, float64(point.Packages))
	}
	for _, panel := range []struct {
		title       string
		left, right float64
		limit       float64
		value       func(Run) float64
	}{
		{"seconds", 60, 410, 0, func(r Run) float64 { return r.Seconds }},
		{"MB of memory at the peak, all processes", 490, 840, memoryLimit, func(r Run) float64 { return float64(r.Peak) / 1e6 }},
	} {
		values := []float64{panel.limit}
		for _, point := range r.Growth {
			values = append(values, spread(point.Runs, panel.value).Max)
		}
		x, y := fromZero(sizes, panel.left, panel.right), fromZero(values, bottom, top)
		p.text("", "start", panel.left, top-18, panel.title)
		p.axes(x, y)
		if panel.limit > 0 {
			p.line("limit", panel.left, y.at(panel.limit), panel.right, y.at(panel.limit))
			p.text("small", "end", panel.right, y.at(panel.limit)-5, fmt.Sprintf("limit %g MB", panel.limit))
		}
		p.growth(r.Growth, x, y, panel.value)
	}
	return p.write(w, "Seconds and memory that vmbuild takes by the number of packages", width, height)
}

func (p *picture) axes(x, y scale) {
	for _, t := range y.ticks() {
		p.line("axis", x.from, y.at(t), x.to, y.at(t))
		p.text("small", "end", x.from-6, y.at(t)+4, tickText(t))
	}
	for _, t := range x.ticks() {
		p.text("small", "middle", x.at(t), y.from+16, tickText(t))
	}
	p.text("small", "middle", (x.from+x.to)/2, y.from+34, "packages")
}

func (p *picture) growth(points []Point, x, y scale, value func(Run) float64) {
	var medians [][2]float64
	for _, point := range points {
		at := x.at(float64(point.Packages))
		medians = append(medians, [2]float64{at, y.at(spread(point.Runs, value).Median)})
		for _, run := range point.Runs {
			p.dot("ours run", at, y.at(value(run)), 3)
		}
	}
	p.curve("ours curve", medians)
	for _, at := range medians {
		p.dot("ours", at[0], at[1], 4)
	}
}
