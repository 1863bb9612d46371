package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"vmbuild/cmd/vmbuild/cli/config"
)

// configOptions are about configuration files. A file has settings: the options of the same names. What files say is put
// before the command line, so that it goes the same ways and is checked by the same rules, and the command line wins.
// An option that may be given more than once is taken from one place only, as in vmdebootstrap: the command line, else the
// last file that has it. An option with the tag "line" is no setting; one with the tag "alone" is an answer of its own, for
// which no file is read.
type configOptions struct {
	Config           []string   `help:"Read this configuration file too: YAML if its name ends in .yaml or .yml, else INI. Later files win, the command line over all (may be given more than once)." placeholder:"FILE" sep:"none" line:"" group:"Configuration"`
	DefaultConfigs   bool       `help:"Read the files in /etc/vmbuild and ~/.config/vmbuild." default:"true" negatable:"" line:"" group:"Configuration"`
	ListConfigFiles  bool       `help:"Print the names of the configuration files that are read, and stop." line:"" alone:"" group:"Configuration"`
	DumpConfig       dumpConfig `help:"Print all settings as a configuration file, passwords too, and stop; --dump-config=yaml in YAML, else INI." line:"" group:"Configuration"`
	DumpSettingNames bool       `help:"Print the names of all settings, and stop." line:"" alone:"" group:"Configuration"`
	HelpAll          bool       `help:"Print this help." line:"" alone:"" group:"Configuration"`
	GenerateManpage  string     `hidden:"" line:"" alone:""`
}

// answer does what the options ask for instead of a build; it says whether one did.
func (c *configOptions) answer(k *kong.Context, s Streams) (bool, error) {
	switch {
	case c.HelpAll:
		return true, k.PrintUsage(false)
	case c.GenerateManpage != "":
		return true, usageError{errors.New("--generate-manpage is not supported: --help has what a manual page would say")}
	case c.DumpSettingNames:
		for _, f := range settingsOf(k.Selected()) {
			fmt.Fprintln(s.Out, f.Name)
		}
		return true, nil
	case c.ListConfigFiles:
		files, err := configFiles(c.Config, c.DefaultConfigs, s)
		for _, name := range files {
			fmt.Fprintln(s.Out, name)
		}
		return true, err
	case c.DumpConfig != "":
		return true, c.DumpConfig.print(k.Selected(), s)
	}
	return false, nil
}

// settingsOf returns the options of a command that are settings.
func settingsOf(command *kong.Node) []*kong.Flag {
	var flags []*kong.Flag
	for _, f := range command.Flags {
		if !f.Tag.Has("line") {
			flags = append(flags, f)
		}
	}
	return flags
}

// configured puts what configuration files say before the command line of a command that has such. A line that is wrong in
// itself comes back as it is: kong tells of it.
func configured(parser *kong.Kong, line []string, s Streams) ([]string, error) {
	trace, err := kong.Trace(parser, line)
	if err != nil || trace.Error != nil {
		return line, nil
	}
	given := map[*kong.Flag]bool{}
	for _, p := range trace.Path {
		if p.Flag == nil {
			continue
		}
		if p.Flag.Tag.Has("alone") || p.Flag.Name == "help" || p.Flag.Name == "version" {
			return line, nil
		}
		given[p.Flag] = true
	}
	command := trace.Selected()
	i := -1
	if command != nil {
		i = slices.IndexFunc(command.Flags, func(f *kong.Flag) bool { return f.Name == "config" })
	}
	if i < 0 {
		return line, nil
	}
	named, _ := trace.FlagValue(command.Flags[i]).([]string)
	files, err := configFiles(named, !givenFalse(trace, "default-configs"), s)
	if err != nil {
		return nil, err
	}
	settings, err := readConfigs(command, files)
	if err != nil {
		return nil, err
	}
	var before []string
	for _, c := range settings {
		if !given[c.flag] {
			before = append(before, c.arguments()...)
		}
	}
	return append(before, line...), nil
}

// givenFalse says whether a switch is turned off on the command line.
func givenFalse(trace *kong.Context, name string) bool {
	return slices.ContainsFunc(trace.Path, func(p *kong.Path) bool {
		return p.Flag != nil && p.Flag.Name == name && trace.FlagValue(p.Flag) == false
	})
}

// configFiles lists the files that are read, in their order: those of this host, then those that the command line names.
func configFiles(named []string, defaults bool, s Streams) ([]string, error) {
	var files []string
	if defaults {
		for _, p := range configPlaces(s) {
			found, err := p.files()
			if err != nil {
				return nil, usageError{fmt.Errorf("look for configuration files: %w (--no-default-configs does without)", err)}
			}
			files = append(files, found...)
		}
	}
	return append(files, named...), nil
}

// configPlace is a configuration file or a directory of such, which need not be there.
type configPlace struct {
	path     string
	suffixes []string // of the files in a directory; nil: any
}

// configPlaces are those of this host. A program of vmdebootstrap's name has first those where cliapp looks for its files.
func configPlaces(s Streams) []configPlace {
	etc := s.etc
	if etc == "" {
		etc = "/etc"
	}
	var places []configPlace
	add := func(suffixes []string, dir string, elements ...string) {
		if dir != "" {
			places = append(places, configPlace{filepath.Join(append([]string{dir}, elements...)...), suffixes})
		}
	}
	home, _ := os.UserHomeDir()     // none: no files there
	config, _ := os.UserConfigDir() // follows the XDG Base Directory Specification
	if filepath.Base(s.program) == "vmdebootstrap" {
		add(nil, etc, "vmdebootstrap.conf")
		add(nil, etc, "vmdebootstrap.yaml")
		add([]string{".conf", ".yaml"}, etc, "vmdebootstrap")
		add(nil, home, ".vmdebootstrap.conf")
		add(nil, home, ".vmdebootstrap.yaml")
		add([]string{".conf", ".yaml"}, config, "vmdebootstrap")
	}
	add(nil, etc, "vmbuild")
	add(nil, config, "vmbuild")
	return places
}

// files returns the file, or those in the directory by their names; hidden ones and what editors and dpkg keep beside
// files are passed over.
func (p configPlace) files() ([]string, error) {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		return []string{p.path}, nil
	}
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		beside := strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.Contains(name, ".dpkg-")
		wanted := p.suffixes == nil || slices.Contains(p.suffixes, filepath.Ext(name))
		if !e.IsDir() && wanted && !beside {
			files = append(files, filepath.Join(p.path, name))
		}
	}
	return files, nil
}

// configSetting is a setting of a file that is checked.
type configSetting struct {
	flag   *kong.Flag
	values []string // as behind "=" on the command line
}

// readConfigs reads files and returns what counts: of each option the setting of the last file that has it, in the order of
// the files and their lines.
func readConfigs(command *kong.Node, files []string) ([]configSetting, error) {
	var all []configSetting
	for _, name := range files {
		settings, err := readConfig(command, name)
		if err != nil {
			return nil, usageError{fmt.Errorf("read configuration: %w", err)}
		}
		all = slices.DeleteFunc(all, func(old configSetting) bool {
			return slices.ContainsFunc(settings, func(c configSetting) bool { return c.flag == old.flag })
		})
		all = append(all, settings...)
	}
	return all, nil
}

// readConfig reads a file and checks its settings.
func readConfig(command *kong.Node, name string) ([]configSetting, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	settings, err := config.Of(name).Read(name, data)
	if err != nil {
		return nil, err
	}
	var checked []configSetting
	first := map[*kong.Flag]config.Setting{}
	for _, s := range settings {
		c, err := checkSetting(command, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Where, err)
		}
		if other, ok := first[c.flag]; ok {
			return nil, fmt.Errorf("%s: %s is in line %d already: one of them must go", s.Where, other.Name, other.Where.Line)
		}
		first[c.flag] = s
		checked = append(checked, c)
	}
	return checked, nil
}

// checkSetting finds the option of a setting and has its value read as on the command line.
func checkSetting(command *kong.Node, s config.Setting) (configSetting, error) {
	o, err := settingOf(command, s.Name)
	if err != nil {
		return configSetting{}, err
	}
	c := configSetting{flag: o.flag}
	switch {
	case isSwitch(o.flag):
		var on bool
		on, err = s.Switch()
		c.values = []string{fmt.Sprint(on != negates(o))}
	case o.flag.IsSlice():
		c.values, err = s.List()
	case o.flag.IsBool(): // with a value or without
		var on bool
		if on, err = s.Switch(); err == nil {
			c.values = []string{fmt.Sprint(on)}
			break
		}
		fallthrough
	default:
		c.values = []string{""}
		c.values[0], err = s.Text()
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", s.Name, err)
	}
	return c, nil
}

// settingOf finds the option that a setting names, by one of its spellings.
func settingOf(command *kong.Node, name string) (option, error) {
	options := optionsOf(allFlags(command))
	i := slices.IndexFunc(options, func(o option) bool { return o.spelling == name })
	if i >= 0 && len(name) > 1 {
		o := options[i]
		if !slices.Contains(settingsOf(command), o.flag) {
			return option{}, fmt.Errorf("%s is for the command line only", name)
		}
		return o, nil
	}
	if plain := strings.ReplaceAll(strings.TrimLeft(name, "-"), "_", "-"); plain != name {
		if _, err := settingOf(command, plain); err == nil {
			return option{}, fmt.Errorf("there is no setting %q: it is written %s", name, plain)
		}
	}
	return option{}, fmt.Errorf("there is no setting %q (--dump-setting-names prints all there are)", name)
}

// isSwitch says whether an option has no value, also one that may be neither on nor off.
func isSwitch(f *kong.Flag) bool {
	t := f.Target.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Bool
}

func negates(o option) bool {
	return o.spelling != o.flag.Name && !slices.Contains(o.flag.Aliases, o.spelling)
}

// check reads the values and forgets them.
func (c configSetting) check() error {
	for _, value := range c.values {
		target := reflect.New(c.flag.Target.Type()).Elem()
		if target.Kind() == reflect.Pointer {
			target.Set(reflect.New(target.Type().Elem()))
		}
		scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
		if err := c.flag.Mapper.Decode(&kong.DecodeContext{Value: c.flag.Value, Scan: scan}, target); err != nil {
			return err
		}
		if choices := c.flag.EnumSlice(); c.flag.Enum != "" && !slices.Contains(choices, value) {
			return fmt.Errorf("%q is none of %s", value, strings.Join(choices, ", "))
		}
	}
	return nil
}

// arguments are those of the command line that say the same. An empty text says that the option is not given; for some
// types of options (paths) it would be another value.
func (c configSetting) arguments() []string {
	var args []string
	for _, value := range c.values {
		if value == "" && !c.flag.IsSlice() && !c.flag.HasDefault {
			continue
		}
		args = append(args, "--"+c.flag.Name+"="+value)
	}
	return args
}

// dumpConfig is an option that may stand alone (--dump-config) or with the form of the file (--dump-config=yaml).
type dumpConfig string

// IsBool tells kong that the value is optional.
func (dumpConfig) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (d *dumpConfig) Decode(ctx *kong.DecodeContext) error {
	*d = "ini"
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	form, err := config.Lookup(fmt.Sprint(ctx.Scan.Pop().Value))
	*d = dumpConfig(form.Name)
	return err
}

// print writes all settings of a command as they are now.
func (d dumpConfig) print(command *kong.Node, s Streams) error {
	form, err := config.Lookup(string(d))
	if err != nil {
		return usageError{fmt.Errorf("--dump-config: %w", err)}
	}
	var entries []config.Entry
	for _, f := range settingsOf(command) {
		if value := entryValue(f); value != nil {
			entries = append(entries, config.Entry{Name: f.Name, Value: value})
		}
	}
	data, err := form.Write(entries)
	if err != nil {
		return usageError{fmt.Errorf("--dump-config: %w (--dump-config=%s)", err, otherForm(form))}
	}
	_, err = s.Out.Write(data)
	return err
}

// otherForm names a form that may hold what another cannot.
func otherForm(form config.Form) string {
	names := config.Names()
	return names[slices.IndexFunc(names, func(n string) bool { return n != form.Name })]
}

// entryValue is what an option is now: a bool, a text or a list of texts; nil: neither on nor off.
func entryValue(f *kong.Flag) any {
	target := f.Target
	if target.Kind() == reflect.Pointer {
		if target.IsNil() {
			return nil
		}
		target = target.Elem()
	}
	switch {
	case target.Kind() == reflect.Bool:
		return target.Bool()
	case target.Kind() == reflect.Slice:
		items := []string{}
		for i := range target.Len() {
			items = append(items, fmt.Sprint(target.Index(i).Interface()))
		}
		return items
	case f.IsBool() && target.IsZero(): // with a value or without, and not given
		return false
	}
	return fmt.Sprint(target.Interface())
}
