package dpkg

import (
	"fmt"
	"regexp"
	"strings"
)

// PathRule is one path-exclude or path-include of dpkg.cfg(5). Of several rules that match a path the last one counts.
type PathRule struct {
	Include bool
	Pattern string // fnmatch(3) without flags, for the path with its leading slash: * matches slashes too
}

// ParsePathRules reads the path rules in the text of a configuration file of dpkg (dpkg.cfg(5)); its other options are
// left to the root's own dpkg.
func ParsePathRules(config string) ([]PathRule, error) {
	var rules []PathRule
	for line := range strings.Lines(config) {
		option, pattern, ok := strings.Cut(strings.TrimSpace(line), "=")
		option = strings.TrimPrefix(strings.TrimSpace(option), "--")
		if option != "path-exclude" && option != "path-include" {
			continue
		}
		pattern = strings.Trim(strings.TrimSpace(pattern), `"'`)
		if !ok || pattern == "" {
			return nil, fmt.Errorf("read dpkg's options: %s has no pattern", option)
		}
		rules = append(rules, PathRule{Include: option == "path-include", Pattern: pattern})
	}
	return rules, nil
}

// filter decides which paths of a package are unpacked.
type filter []compiledRule

type compiledRule struct {
	include bool
	pattern *regexp.Regexp
	prefix  string // of the pattern, up to its first wildcard
}

func newFilter(rules []PathRule) (filter, error) {
	var f filter
	for _, r := range rules {
		pattern, err := regexp.Compile(translateGlob(r.Pattern))
		if err != nil {
			return nil, fmt.Errorf("path pattern %q: %w", r.Pattern, err)
		}
		prefix := r.Pattern
		if i := strings.IndexAny(prefix, `*?[\`); i >= 0 {
			prefix = prefix[:i]
		}
		f = append(f, compiledRule{r.Include, pattern, strings.TrimRight(prefix, "/")})
	}
	return f, nil
}

// excludes says whether name is not to be unpacked. A directory or symbolic link that an exclusion matches is kept
// where an inclusion might need what is below it (dpkg, filter_should_skip).
func (f filter) excludes(name string, carriesOthers bool) bool {
	excluded := false
	for _, r := range f {
		if r.pattern.MatchString(name) {
			excluded = !r.include
		}
	}
	if !excluded || !carriesOthers {
		return excluded
	}
	for _, r := range f {
		if r.include && strings.HasPrefix(name, r.prefix) {
			return false
		}
	}
	return true
}

// translateGlob writes an fnmatch(3) pattern as a regular expression.
func translateGlob(glob string) string {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		case '[':
			class, length := translateClass(glob[i:])
			b.WriteString(class)
			i += length - 1
		case '\\':
			if i+1 < len(glob) {
				i++
			}
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteByte('$')
	return b.String()
}

// translateClass translates the bracket expression that s begins with and returns its length in s; a bracket that is
// never closed stands for itself.
func translateClass(s string) (class string, length int) {
	var b strings.Builder
	b.WriteByte('[')
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		b.WriteByte('^')
		i++
	}
	for first := i; i < len(s); i++ {
		name, _, named := strings.Cut(s[i:], ":]")
		switch {
		case s[i] == ']' && i > first: // one that comes first is a member
			return b.String() + "]", i + 1
		case named && strings.HasPrefix(name, "[:"):
			b.WriteString(name + ":]")
			i += len(name) + 1
		case s[i] == '-':
			b.WriteByte('-')
		default:
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
		}
	}
	return `\[`, 1
}
