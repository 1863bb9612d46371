package tail

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuffer(t *testing.T) {
	tests := []struct {
		name   string
		lines  int
		writes []string
		want   string
	}{
		{"nothing", 3, nil, ""},
		{"fewer lines", 3, []string{"a\nb\n"}, "a\nb"},
		{"more lines", 3, []string{"a\nb\nc\nd\n"}, "b\nc\nd"},
		{"the last line has no end", 3, []string{"a\nb\nc\nd"}, "b\nc\nd"},
		{"a line in pieces", 3, []string{"a\nb", "c", "d\n"}, "a\nbcd"},
		{"empty lines", 3, []string{"a\n\n\n"}, "a\n\n"},
		{"a long line is cut", 2, []string{"a\n", strings.Repeat("x", 5000), "\n"}, "a\n" + strings.Repeat("x", 1000)},
		{"twenty by default", 0, []string{strings.Repeat("y\n", 30)}, strings.Repeat("y\n", 19) + "y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := Buffer{Lines: test.lines}
			for _, w := range test.writes {
				fmt.Fprint(&b, w)
			}
			if diff := cmp.Diff(test.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
