package multistrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"vmbuild/hooks"
	"vmbuild/image/bootstrap"
	"vmbuild/rootfs"
)

// Options returns what a configuration asks for on a host of an architecture, and what the user should hear of it. It
// reads the files that the configuration names: preferences, seeds, scripts, hooks.
//
// What multistrap asks apt for, one variant asks for, too: "custom" has all packages unpacked before any is configured.
// What multistrap does before that, or when no package is to be configured, is done by hooks of the stage extract; what
// it does later, by hooks of the stage customize. They differ in this: a script or hook that fails ends the build.
func (c *Config) Options(host string) (bootstrap.Options, []string, error) {
	t := translation{config: c, native: (c.Arch == "" || c.Arch == host) && !c.IgnoreNative}
	arch := c.Arch
	if arch == "" {
		arch = host
	}
	t.options = bootstrap.Options{
		Target: c.Directory, Format: "directory", Variant: "custom",
		Architectures: unique(slices.Concat([]string{arch}, c.MultiArch)),
		Include:       c.packages(), Recommends: c.AllowRecommends, NoCheckSignatures: c.NoAuth,
		UnpackOnly: !t.native, DownloadOnly: c.NoUnpack, Marks: bootstrap.MarkNone, Verbosity: 1,
		Skip: []string{rootfs.SkipEmpty},
	}
	for _, name := range c.Bootstrap {
		s, _ := c.Section(name)
		for _, line := range s.lines(c.architectures(arch)) {
			t.options.Mirrors = append(t.options.Mirrors, bootstrap.Mirror{Argument: line})
		}
	}
	if !c.Cleanup {
		t.options.Skip = append(t.options.Skip, "cleanup/apt")
	}
	if c.DefaultRelease != "*" {
		t.options.Release = c.DefaultRelease
	}
	if c.MarkAuto {
		t.options.Marks = bootstrap.MarkUnnamed
	}
	err := errors.Join(t.target(), t.retained(), t.files(), t.hooks(arch))
	t.omitted()
	return t.options, t.notes, err
}

// translation is a configuration on its way to options.
type translation struct {
	config  *Config
	native  bool // packages are configured
	options bootstrap.Options
	notes   []string
}

func (t *translation) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// target is the directory, or the tarball beside it.
func (t *translation) target() error {
	c := t.config
	if c.Directory == "" {
		return errors.New("no directory is given")
	}
	if c.Tarball == "" {
		return nil
	}
	t.options.Format = "tar"
	t.options.Target = filepath.Join(filepath.Dir(filepath.Clean(c.Directory)), c.Tarball)
	if !slices.Contains([]string{".gz", ".tgz", ".taz"}, filepath.Ext(c.Tarball)) {
		t.note("tarballname=%s: it is compressed as its name says, not by gzip", c.Tarball)
	}
	return nil
}

// retained finds the directory that gets the packages.
func (t *translation) retained() error {
	dir := t.config.RetainSources
	if dir == "" {
		return nil
	}
	path, err := realPath(dir)
	if err != nil {
		return fmt.Errorf("retainsources: %w", err)
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return fmt.Errorf("retainsources: %s is not a directory", dir)
	}
	t.options.KeepPackages = path
	t.note("retainsources=%s gets the packages, but not their sources: fetch those with apt-get source", dir)
	return nil
}

// packages returns what apt is asked for: in order, as multistrap sorts it, with those by priority first.
func (c *Config) packages() []string {
	var byRule, names, keyrings, additional []string
	if !c.OmitRequired {
		byRule = append(byRule, "?and(?architecture(native),?or(?priority(required),?essential))")
	}
	if c.AddImportant {
		byRule = append(byRule, "?and(?architecture(native),?priority(important))")
	}
	for _, s := range c.Sections {
		additional = append(additional, s.Additional...)
		installed := slices.Contains(c.Bootstrap, s.Name)
		if installed {
			names = append(names, s.requests(c.ExplicitSuite)...)
		}
		if installed || slices.Contains(c.AptSources, s.Name) {
			keyrings = append(keyrings, strings.Fields(s.Keyring)...)
		}
	}
	return unique(slices.Concat(byRule, sorted(slices.Concat(names, keyrings)), sorted(additional)))
}

// requests are the section's packages as apt takes them: NAME[:ARCHITECTURE][/SUITE].
func (s Section) requests(explicitSuite bool) []string {
	var list []string
	for _, name := range s.Packages {
		if s.Architecture != "" {
			name += ":" + s.Architecture
		}
		if explicitSuite && s.Suite != "" && !s.flat() {
			name += "/" + s.Suite
		}
		list = append(list, name)
	}
	return list
}

// architectures are those that sources are asked for.
func (c *Config) architectures(arch string) []string {
	if len(c.MultiArch) == 0 {
		return []string{arch}
	}
	return unique(c.MultiArch)
}

// lines returns the section as lines of sources.list(5), one for each architecture.
func (s Section) lines(architectures []string) []string {
	options, _ := splitOptions(s.Source)
	var lines []string
	for _, a := range architectures {
		lines = append(lines, "deb ["+strings.TrimSpace("arch="+a+" "+options)+"] "+s.place())
	}
	return lines
}

// sourceLine is the one for source packages.
func (s Section) sourceLine() string {
	options, _ := splitOptions(s.Source)
	if options != "" {
		options = "[" + options + "] "
	}
	return "deb-src " + options + s.place()
}

// place is what stands behind the options of a line.
func (s Section) place() string {
	_, address := splitOptions(s.Source)
	if s.flat() {
		return address
	}
	components := strings.Join(strings.Fields(s.Components), " ")
	if components == "" {
		components = "main"
	}
	return address + " " + s.Suite + " " + components
}

// splitOptions takes "[options]" off an address.
func splitOptions(source string) (options, address string) {
	options, address, found := strings.Cut(strings.TrimPrefix(source, "["), "]")
	if !found || !strings.HasPrefix(source, "[") {
		return "", source
	}
	return strings.TrimSpace(options), strings.TrimSpace(address)
}

// files reads the files whose content goes into the system. What is not there is not asked for.
func (t *translation) files() error {
	if t.config.Preferences != "" {
		data, err := os.ReadFile(t.config.Preferences)
		if err := t.missing("aptpreferences", err); err != nil {
			return err
		}
		t.options.Preferences = string(data)
	}
	for _, name := range t.config.DebconfSeeds {
		data, err := os.ReadFile(name)
		if err := t.missing("debconfseed", err); err != nil {
			return err
		}
		t.options.Debconf = append(t.options.Debconf, strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })...)
	}
	return nil
}

// missing turns the error of a file that is not there into a note.
func (t *translation) missing(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		t.note("%s: %v: it is left out", key, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// hooks has multistrap's steps done in its order.
func (t *translation) hooks(arch string) error {
	c := t.config
	if c.NoUnpack {
		t.notRun()
		return nil
	}
	programs, err := t.hookPrograms()
	if err != nil {
		return err
	}
	if script := t.program("setupscript", c.SetupScript); script != "" {
		t.add(hooks.Extract, quote(script)+` "$1" `+quote(arch))
	}
	for _, p := range programs["download"] {
		t.add(hooks.Extract, p)
	}
	late := hooks.Extract
	if t.native {
		late = hooks.Customize
		for _, p := range programs["native"] {
			t.add(hooks.Extract, quote(p)+` "$1" start`)
		}
		for _, p := range sorted(t.reinstalled()) {
			t.options.Hooks = append(t.options.Hooks, hooks.Hook{Stage: hooks.Customize, Chrooted: true,
				Command: "apt-get --reinstall -y install " + quote(p)})
		}
		for _, p := range programs["native"] {
			t.add(hooks.Customize, quote(p)+` "$1" end`)
		}
	}
	if script := t.program("configscript", c.ConfigScript); script != "" {
		t.add(late, "copy-in "+quote(script)+" /")
	}
	sources, err := c.finalSources(arch)
	if err != nil {
		return err
	}
	t.add(late, sources)
	for _, p := range programs["completion"] {
		t.add(late, p)
	}
	return nil
}

// notRun tells of scripts that are for a system, where none is made.
func (t *translation) notRun() {
	c := t.config
	var keys []string
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"setupscript", c.SetupScript != ""}, {"configscript", c.ConfigScript != ""}, {"hookdir", len(c.HookDirs) > 0},
	} {
		if k.given {
			keys = append(keys, k.name)
		}
	}
	if len(keys) > 0 {
		t.note("unpack=false: %s: not run, as there is no system", strings.Join(keys, ", "))
	}
}

func (t *translation) add(stage hooks.Stage, command string) {
	t.options.Hooks = append(t.options.Hooks, hooks.Hook{Stage: stage, Command: command})
}

// program returns the real path of a script that can be run; one that cannot is left out.
func (t *translation) program(key, name string) string {
	if name == "" {
		return ""
	}
	path, err := realPath(name)
	if err == nil && isProgram(path) {
		return path
	}
	t.note("%s: %s is not a program that can be run (chmod +x %s): it is left out", key, name, quote(name))
	return ""
}

// hookPrograms finds the programs of the hook directories by kind, which is how their names begin.
func (t *translation) hookPrograms() (map[string][]string, error) {
	found := map[string][]string{}
	for _, dir := range t.config.HookDirs {
		entries, err := os.ReadDir(dir)
		if err := t.missing("hookdir", err); err != nil {
			return nil, err
		}
		for _, e := range entries {
			path, err := realPath(filepath.Join(dir, e.Name()))
			if err != nil || !isProgram(path) {
				continue
			}
			for _, kind := range []string{"download", "native", "completion"} {
				if strings.HasPrefix(e.Name(), kind) {
					found[kind] = append(found[kind], path)
				}
			}
		}
	}
	for kind := range found {
		slices.Sort(found[kind])
	}
	return found, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// realPath returns the absolute path of something that exists, without symbolic links.
func realPath(name string) (string, error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func (t *translation) reinstalled() []string {
	var list []string
	for _, s := range t.config.Sections {
		list = append(list, s.Reinstall...)
	}
	return list
}

// listName is what apt takes as part of the name of a file of sources.
var listName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// finalSources is the command that puts the sources of the finished system in place of those that it was made from.
func (c *Config) finalSources(arch string) (string, error) {
	command := `rm -f "$1/etc/apt/sources.list"`
	for _, name := range c.AptSources {
		if !listName.MatchString(name) {
			return "", fmt.Errorf("[%s]: apt reads no file of such a name", name)
		}
		s, _ := c.Section(name)
		lines := s.lines(c.architectures(arch))
		if !s.OmitSource {
			lines = append(lines, s.sourceLine())
		}
		command += ` && printf '%s\n'`
		for _, l := range lines {
			command += " " + quote(l)
		}
		command += ` >"$1/etc/apt/sources.list.d/multistrap-` + name + `.list"`
	}
	return command, nil
}

// omitted tells what the configuration asks for and does not get.
func (t *translation) omitted() {
	c := t.config
	if c.OmitPreinst {
		t.note("omitpreinst is ignored: dpkg runs every package's scripts in their order")
	}
	if len(c.MultiArch) > 0 && !slices.Contains(c.MultiArch, t.options.Architectures[0]) {
		t.note("multiarch has no %s: no source is asked for the system's own packages", t.options.Architectures[0])
	}
}

// quote writes a word so that a shell reads it back as one.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// unique drops what is in a list already.
func unique(list []string) []string {
	var items []string
	for _, item := range list {
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}
