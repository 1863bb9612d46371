package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// style has the colours of light pages and of dark ones, as whoever shows the picture prefers.
const style = `
	text { font: 13px system-ui, sans-serif; fill: #24292f }
	.small { font-size: 11px; fill: #57606a }
	.title { font-size: 15px; font-weight: 600 }
	.strong { font-weight: 600 }
	.axis { stroke: #d0d7de }
	.limit { stroke: #57606a; stroke-dasharray: 4 4 }
	.link { stroke: #8c959f }
	.ours { stroke: #0969da; fill: #0969da }
	.theirs { stroke: #bc4c00; fill: #bc4c00 }
	.range { stroke-width: 5; stroke-opacity: 0.35; stroke-linecap: round }
	.curve { fill: none; stroke-width: 2 }
	.run { stroke: none; fill-opacity: 0.4 }
	@media (prefers-color-scheme: dark) {
		text { fill: #e6edf3 }
		.small { fill: #9198a1 }
		.axis { stroke: #3d444d }
		.limit { stroke: #9198a1 }
		.link { stroke: #656c76 }
		.ours { stroke: #4493f8; fill: #4493f8 }
		.theirs { stroke: #f0883e; fill: #f0883e }
	}
`

// picture is an SVG that is being drawn, 1 unit to the pixel, without a background of its own.
type picture struct{ body strings.Builder }

func (p *picture) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&p.body, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

func (p *picture) dot(class string, x, y, radius float64) {
	fmt.Fprintf(&p.body, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n", class, x, y, radius)
}

// curve joins points, each an x and a y.
func (p *picture) curve(class string, points [][2]float64) {
	var text []string
	for _, at := range points {
		text = append(text, fmt.Sprintf("%.1f,%.1f", at[0], at[1]))
	}
	fmt.Fprintf(&p.body, "<polyline class=\"%s\" points=\"%s\"/>\n", class, strings.Join(text, " "))
}

// text writes a line of text whose start, middle or end is at x.
func (p *picture) text(class, anchor string, x, y float64, text string) {
	fmt.Fprintf(&p.body, "<text class=\"%s\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, anchor, x, y)
	_ = xml.EscapeText(&p.body, []byte(text)) // a strings.Builder takes everything
	p.body.WriteString("</text>\n")
}

// write writes the whole file; the title is for those who cannot see it.
func (p *picture) write(w io.Writer, title string, width, height float64) error {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(title))
	_, err := fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "+
		"role=\"img\">\n<title>%s</title>\n<style>%s</style>\n%s</svg>\n", width, height, width, height, &escaped, style, &p.body)
	if err != nil {
		return fmt.Errorf("write plot: %w", err)
	}
	return nil
}
