package multistrap

import (
	"fmt"
	"strings"
)

// Text lists what a configuration says, for people: [General] and the sections that it uses.
func (c *Config) Text() string {
	var b strings.Builder
	line := func(key string, values ...string) {
		if text := strings.Join(values, " "); text != "" {
			fmt.Fprintf(&b, "%-18s %s\n", key+":", text)
		}
	}
	line("files", c.Files...)
	line("architecture", c.Arch)
	line("multiarch", c.MultiArch...)
	line("directory", c.Directory)
	line("tarballname", c.Tarball)
	line("bootstrap", c.Bootstrap...)
	line("aptsources", c.AptSources...)
	line("aptdefaultrelease", c.DefaultRelease)
	line("switched on", c.switches()...)
	line("configscript", c.ConfigScript)
	line("setupscript", c.SetupScript)
	line("aptpreferences", c.Preferences)
	line("retainsources", c.RetainSources)
	line("debconfseed", c.DebconfSeeds...)
	line("hookdir", c.HookDirs...)
	for _, name := range sorted(append(c.Bootstrap[:len(c.Bootstrap):len(c.Bootstrap)], c.AptSources...)) {
		s, _ := c.Section(name)
		fmt.Fprintf(&b, "\n[%s]\n", s.Name)
		line("source", s.Source)
		if !s.flat() {
			line("suite", s.Suite)
			line("components", s.Components)
		}
		line("keyring", s.Keyring)
		line("architecture", s.Architecture)
		line("packages", s.Packages...)
		line("additional", s.Additional...)
		line("reinstall", s.Reinstall...)
	}
	return b.String()
}

// switches lists by their keys those that are not as they are when nothing is said.
func (c *Config) switches() []string {
	var on []string
	for _, s := range []struct {
		name string
		on   bool
	}{
		{"unpack=false", c.NoUnpack}, {"omitrequired", c.OmitRequired}, {"addimportant", c.AddImportant},
		{"markauto", c.MarkAuto}, {"ignorenativearch", c.IgnoreNative}, {"omitpreinst", c.OmitPreinst},
		{"cleanup", c.Cleanup}, {"noauth", c.NoAuth}, {"explicitsuite", c.ExplicitSuite},
		{"allowrecommends", c.AllowRecommends},
	} {
		if s.on {
			on = append(on, s.name)
		}
	}
	return on
}
