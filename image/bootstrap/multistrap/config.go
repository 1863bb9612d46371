// Package multistrap reads multistrap's configuration files and says what they mean in terms of package bootstrap. It
// builds nothing.
//
// A configuration is one or more files of sections ([General], and one for each archive), of which the first may include
// others. How later files add to earlier ones differs by key, as in multistrap; the table of keys says how. What
// multistrap ignores or misreads without a word (unknown keys, keys that are not in lower case, a section that two files
// have) is told with its file and line; what it cannot have meant (a section that does not exist, a key given twice) is
// an error. Blanks at the end of a value do not count.
package multistrap

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Config is what all files of a configuration say together. The zero value of a field is "not given". Paths are as they
// were written: relative to the working directory.
type Config struct {
	Files []string // that were read, in their order

	Arch           string
	MultiArch      []string // architectures that the sources are asked for, Arch too if it shall be
	Directory      string
	Tarball        string   // name of a tarball beside Directory, which takes its place
	Bootstrap      []string // names of the sections whose packages are installed, sorted
	AptSources     []string // names of the sections that the finished system has as sources, sorted
	DefaultRelease string   // APT::Default-Release

	NoUnpack        bool // packages are only downloaded
	OmitRequired    bool // packages of priority required are not added
	AddImportant    bool // those of priority important are
	MarkAuto        bool // what was not asked for by name is marked as automatically installed
	IgnoreNative    bool // packages stay unpacked on a host of the same architecture, too
	OmitPreinst     bool
	Cleanup         bool
	NoAuth          bool
	ExplicitSuite   bool // each package comes from the suite of its section
	AllowRecommends bool

	ConfigScript  string
	SetupScript   string
	Preferences   string // file of apt_preferences(5)
	RetainSources string // directory for the packages and their sources
	DebconfSeeds  []string
	HookDirs      []string

	Sections []Section // all but [General], by name
	Warnings []string  // what the user should hear of
}

// Section is an archive and what is to be taken from it.
type Section struct {
	Name         string // in lower case
	Source       string // address; "ADDRESS PATH/" is a flat repository; "[options]" may come first
	Suite        string
	Components   string
	Keyring      string // package that has the archive's keys
	Packages     []string
	Architecture string // of Packages
	Additional   []string
	Reinstall    []string
	OmitSource   bool // no deb-src line
}

// flat says whether the section's archive has neither suites nor components.
func (s Section) flat() bool {
	_, address := splitOptions(s.Source)
	return strings.HasSuffix(address, "/") && strings.Contains(address, " ")
}

// Section returns the section of a name.
func (c *Config) Section(name string) (Section, bool) {
	i := slices.IndexFunc(c.Sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		return Section{}, false
	}
	return c.Sections[i], true
}

// Parse reads the configuration file of a name and those that it includes. Read returns the content of a file; a file
// that is not there is fs.ErrNotExist. An included file is looked for as it is named, then beside the first file.
func Parse(name string, read func(name string) ([]byte, error)) (*Config, error) {
	c := &Config{}
	r := reader{config: c, dir: filepath.Dir(name), read: read, queue: []string{name}}
	for len(r.queue) > 0 {
		next := r.queue[0]
		r.queue = r.queue[1:]
		if slices.Contains(c.Files, next) {
			continue
		}
		if err := r.file(next); err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return c, nil
}

// reader adds file after file to a configuration.
type reader struct {
	config *Config
	dir    string // of the first file
	read   func(string) ([]byte, error)
	queue  []string
}

func (r *reader) file(name string) error {
	data, err := r.read(name)
	if err != nil {
		return err
	}
	f, err := parseFile(name, data)
	if err != nil {
		return err
	}
	r.config.Files = append(r.config.Files, name)
	for _, s := range f.sections {
		if s.name == "general" {
			err = r.general(s)
		} else {
			err = r.config.addSection(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// general takes the settings of [General]; files that it includes come after all that are known.
func (r *reader) general(s *section) error {
	for _, v := range s.values {
		if v.key == "include" {
			if err := r.include(v); err != nil {
				return err
			}
		}
	}
	return apply(r.config, generalKeys, s, r.config.warn)
}

func (r *reader) include(v value) error {
	for _, name := range strings.Fields(v.text) {
		path, err := r.find(name)
		if err != nil {
			return fmt.Errorf("%s: include %w", v.where, err)
		}
		r.queue = append(r.queue, path)
	}
	return nil
}

func (r *reader) find(name string) (string, error) {
	candidates := []string{name}
	if !filepath.IsAbs(name) {
		candidates = append(candidates, filepath.Join(r.dir, name))
	}
	for _, c := range candidates {
		_, err := r.read(c)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%q: no such file, neither here nor in %s", name, r.dir)
}

func (c *Config) warn(where position, format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// addSection takes a section of an archive. Of a section that an earlier file has, too, source, packages and what goes
// with them come from the later file, also if that does not have them; suite, components and keyring from the earlier.
func (c *Config) addSection(s *section) error {
	added := Section{Name: s.name}
	if err := apply(&added, sectionKeys, s, c.warn); err != nil {
		return err
	}
	for _, name := range slices.Concat(added.Packages, added.Additional, added.Reinstall) {
		if strings.ContainsAny(name, "#;,") {
			return fmt.Errorf("%s: [%s] has %q among its packages: "+
				"they are separated by blanks, and comments have lines of their own", s.where, s.name, name)
		}
	}
	i := slices.IndexFunc(c.Sections, func(known Section) bool { return known.Name == s.name })
	if i < 0 {
		c.Sections = append(c.Sections, added)
		return nil
	}
	first := c.Sections[i]
	c.warn(s.where, "[%s] is in an earlier file, too: "+
		"suite, components and keyring count there, source and packages here", s.name)
	added.Suite, added.Components, added.Keyring = first.Suite, first.Components, first.Keyring
	added.OmitSource = added.OmitSource || first.OmitSource
	added.Additional = append(first.Additional, added.Additional...)
	added.Reinstall = append(first.Reinstall, added.Reinstall...)
	c.Sections[i] = added
	return nil
}

// finish looks at all files together; the errors name the first.
func (c *Config) finish() error {
	c.Bootstrap, c.AptSources = sorted(c.Bootstrap), sorted(c.AptSources)
	slices.SortFunc(c.Sections, func(a, b Section) int { return strings.Compare(a.Name, b.Name) })
	var problems []error
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", c.Files[0], fmt.Sprintf(format, args...)))
	}
	if c.OmitRequired && c.AddImportant {
		add("omitrequired and addimportant exclude each other")
	}
	if len(c.Bootstrap) == 0 {
		add("bootstrap= names no section")
	}
	for _, name := range sorted(slices.Concat(c.Bootstrap, c.AptSources)) {
		s, ok := c.Section(name)
		switch {
		case !ok:
			add("there is no section [%s]", name)
		case s.Source == "":
			add("[%s] has no source", name)
		case s.Suite == "" && !s.flat():
			add("[%s] has no suite", name)
		case s.Architecture != "" && !slices.Contains(c.MultiArch, s.Architecture):
			add("[%s] has architecture=%s, which is not in multiarch", name, s.Architecture)
		}
	}
	return errors.Join(problems...)
}

// sorted returns a list in order, each item once.
func sorted(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
