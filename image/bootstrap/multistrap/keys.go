package multistrap

import (
	"fmt"
	"strings"
)

// key is a setting that a T may have: its name in the file and what a value of it does. A repeated key of one file is an
// error unless it is a list of packages.
type key[T any] struct {
	name     string
	set      func(t *T, text string)
	repeated bool
}

// generalKeys are those of [General]. How to add one: a row here, a field of Config; then
// go test ./image/bootstrap/multistrap.
var generalKeys = []key[Config]{
	{name: "arch", set: first(func(c *Config) *string { return &c.Arch })},
	{name: "directory", set: first(func(c *Config) *string { return &c.Directory })},
	{name: "tarballname", set: first(func(c *Config) *string { return &c.Tarball })},
	{name: "configscript", set: first(func(c *Config) *string { return &c.ConfigScript })},
	{name: "setupscript", set: first(func(c *Config) *string { return &c.SetupScript })},
	{name: "aptpreferences", set: first(func(c *Config) *string { return &c.Preferences })},
	{name: "retainsources", set: last(func(c *Config) *string { return &c.RetainSources })},
	{name: "aptdefaultrelease", set: last(func(c *Config) *string { return &c.DefaultRelease })},
	{name: "bootstrap", set: names(func(c *Config) *[]string { return &c.Bootstrap })},
	{name: "debootstrap", set: names(func(c *Config) *[]string { return &c.Bootstrap })},
	{name: "aptsources", set: names(func(c *Config) *[]string { return &c.AptSources })},
	{name: "multiarch", set: words(func(c *Config) *[]string { return &c.MultiArch })},
	{name: "debconfseed", set: words(func(c *Config) *[]string { return &c.DebconfSeeds })},
	{name: "hookdir", set: words(func(c *Config) *[]string { return &c.HookDirs })},
	{name: "omitrequired", set: anyCase(func(c *Config) *bool { return &c.OmitRequired })},
	{name: "addimportant", set: anyCase(func(c *Config) *bool { return &c.AddImportant })},
	{name: "markauto", set: anyCase(func(c *Config) *bool { return &c.MarkAuto })},
	{name: "ignorenativearch", set: anyCase(func(c *Config) *bool { return &c.IgnoreNative })},
	{name: "omitpreinst", set: lowerCase(func(c *Config) *bool { return &c.OmitPreinst })},
	{name: "cleanup", set: lowerCase(func(c *Config) *bool { return &c.Cleanup })},
	{name: "noauth", set: lowerCase(func(c *Config) *bool { return &c.NoAuth })},
	{name: "explicitsuite", set: lowerCase(func(c *Config) *bool { return &c.ExplicitSuite })},
	{name: "allowrecommends", set: lowerCase(func(c *Config) *bool { return &c.AllowRecommends })},
	{name: "unpack", set: func(c *Config, text string) { c.NoUnpack = c.NoUnpack || text != "true" }},
	{name: "forceunpack", set: func(c *Config, text string) { c.NoUnpack = c.NoUnpack || strings.ToLower(text) != "true" }},
	{name: "include", set: func(*Config, string) {}, repeated: true}, // by the reader
}

// sectionKeys are those of all other sections.
var sectionKeys = []key[Section]{
	{name: "source", set: last(func(s *Section) *string { return &s.Source })},
	{name: "suite", set: last(func(s *Section) *string { return &s.Suite })},
	{name: "components", set: last(func(s *Section) *string { return &s.Components })},
	{name: "keyring", set: last(func(s *Section) *string { return &s.Keyring })},
	{name: "architecture", set: last(func(s *Section) *string { return &s.Architecture })},
	{name: "packages", set: words(func(s *Section) *[]string { return &s.Packages }), repeated: true},
	{name: "additional", set: words(func(s *Section) *[]string { return &s.Additional })},
	{name: "reinstall", set: words(func(s *Section) *[]string { return &s.Reinstall })},
	{name: "omitdebsrc", set: lowerCase(func(s *Section) *bool { return &s.OmitSource })},
}

// first is a text that counts where it is given first. An empty one is not given.
func first[T any](field func(*T) *string) func(*T, string) {
	return func(t *T, text string) {
		if f := field(t); *f == "" {
			*f = text
		}
	}
}

// last is a text that counts where it is given last.
func last[T any](field func(*T) *string) func(*T, string) {
	return func(t *T, text string) { *field(t) = text }
}

// words is a list, separated by blanks, that grows from file to file.
func words[T any](field func(*T) *[]string) func(*T, string) {
	return func(t *T, text string) {
		f := field(t)
		*f = append(*f, strings.Fields(text)...)
	}
}

// names is a list of sections; their names are the same in upper and lower case.
func names[T any](field func(*T) *[]string) func(*T, string) {
	add := words(field)
	return func(t *T, text string) { add(t, strings.ToLower(text)) }
}

// lowerCase is a switch that only the word "true" turns on, and nothing turns off.
func lowerCase[T any](field func(*T) *bool) func(*T, string) {
	return func(t *T, text string) {
		if text == "true" {
			*field(t) = true
		}
	}
}

// anyCase is a switch that "true" turns on however it is written.
func anyCase[T any](field func(*T) *bool) func(*T, string) {
	on := lowerCase(field)
	return func(t *T, text string) { on(t, strings.ToLower(text)) }
}

// apply sets what a section of a file says. Warn is told of keys that mean nothing.
func apply[T any](t *T, keys []key[T], s *section, warn func(position, string, ...any)) error {
	seen := map[string]bool{}
	for _, v := range s.values {
		k := findKey(keys, v.key)
		if k == nil {
			if known := findKey(keys, strings.ToLower(v.key)); known != nil {
				warn(v.where, "%s is ignored: keys are in lower case (%s)", v.key, known.name)
			} else {
				warn(v.where, "%s is not a key of [%s]: it is ignored", v.key, s.name)
			}
			continue
		}
		if seen[k.name] && !k.repeated {
			return fmt.Errorf("%s: %s is given twice in [%s]", v.where, k.name, s.name)
		}
		seen[k.name] = true
		k.set(t, v.text)
	}
	return nil
}

func findKey[T any](keys []key[T], name string) *key[T] {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}
