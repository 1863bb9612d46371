package dpkg

import (
	"fmt"
	"iter"
	"strings"

	"vmbuild/rootfs/internal/control"
)

// stanzas yields the stanzas of a control or status file as dpkg reads them: a value keeps the blanks at the ends of its
// inner lines, which package control leaves out. What dpkg writes back has them, so what is written here must too.
func stanzas(data []byte) iter.Seq2[[]control.Field, error] {
	return func(yield func([]control.Field, error) bool) {
		var fields []control.Field
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSuffix(line, "\n")
			var err error
			switch {
			case line == "":
				if len(fields) > 0 && !yield(fields, nil) {
					return
				}
				fields = nil
				continue
			case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
				fields[len(fields)-1].Value += "\n" + line
			default:
				fields, err = addField(fields, line)
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
		if len(fields) > 0 {
			yield(fields, nil)
		}
	}
}

func addField(fields []control.Field, line string) ([]control.Field, error) {
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return nil, fmt.Errorf("line %q is not a field", line)
	}
	return append(fields, control.Field{Name: name, Value: strings.TrimLeft(value, " \t\r")}), nil
}

// fieldOf returns the value of the named field, without the blanks around it, and the empty string if there is none.
func fieldOf(fields []control.Field, name string) string {
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			return strings.TrimSpace(f.Value)
		}
	}
	return ""
}
