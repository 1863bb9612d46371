package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// A command that stands for another program says so by the tag "like": that program's name. It is run by a link of that
// name, too, and reads its arguments as that program does. Kong reads arguments in one way only, so that they are
// rewritten before it sees them, by the options that it knows of the command. An option with the tag "whole" is vmbuild's
// own: it has no abbreviations, so that those of the other program mean what they always meant.

// manners is how a program reads its options.
type manners struct {
	abbreviated bool // as far as they stay unique
	anyCase     bool
	emptyValue  bool // "--option=" has one
	byLink      bool // called by its own name, the command reads them as vmbuild does

	places []string // options of the command that are arguments of the program, after its first one
}

// programs are those that a command may be like: in Perl's Getopt::Long, in shell, in Perl as multistrap sets it up, in
// Python's optparse, and in shell without any options.
var programs = map[string]manners{
	"mmdebstrap":    {abbreviated: true, anyCase: true},
	"debootstrap":   {},
	"multistrap":    {},
	"vmdebootstrap": {abbreviated: true, emptyValue: true, byLink: true},
	"qemu-wrapper":  {byLink: true, places: []string{"arch", "firmware-dir"}},
}

// arguments returns the command line args (args[0] is the program) for kong: without the program, with the command that
// the program's name stands for, and with the arguments of a command that is like another program rewritten.
func arguments(app *kong.Node, args []string) ([]string, error) {
	command := likeProgram(app, args)
	switch {
	case command == nil:
		return args[1:], nil
	case command.Tag.Get("like") == filepath.Base(args[0]):
		return rewrite(command, args[1:])
	}
	return rewrite(command, args[2:])
}

// likeProgram returns the command that args run if it is like another program: by that program's name, or by its own.
func likeProgram(app *kong.Node, args []string) *kong.Node {
	for _, command := range app.Children {
		if command.Tag.Get("like") == filepath.Base(args[0]) {
			return command
		}
	}
	for _, command := range app.Children {
		named := len(args) > 1 && args[1] == command.Name
		if named && command.Tag.Has("like") && !programs[command.Tag.Get("like")].byLink {
			return command
		}
	}
	return nil
}

// rewrite writes the arguments of a command so that kong can read them in one way only: options by their whole names, a
// value behind "=", and all that is no option behind "--".
func rewrite(command *kong.Node, args []string) ([]string, error) {
	r := rewriter{options: optionsOf(allFlags(command)), manners: programs[command.Tag.Get("like")]}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			r.rest = append(r.rest, args...)
			args = nil
		case strings.HasPrefix(arg, "--"):
			args, err = r.long(arg, args)
		case strings.HasPrefix(arg, "-") && arg != "-":
			args, err = r.short(arg[1:], args)
		default:
			r.rest = append(r.rest, arg)
		}
		if err != nil {
			return nil, err
		}
	}
	r.takePlaces()
	line := append([]string{command.Name}, r.line...)
	return append(append(line, "--"), r.rest...), nil
}

// takePlaces makes options of the arguments that are such by their places. An empty one is none.
func (r *rewriter) takePlaces() {
	for _, name := range r.places {
		if len(r.rest) < 2 {
			return
		}
		if value := r.rest[1]; value != "" {
			r.line = append(r.line, "--"+name+"="+value)
		}
		r.rest = slices.Delete(r.rest, 1, 2)
	}
}

// option is one spelling of an option, without hyphens.
type option struct {
	spelling string
	flag     *kong.Flag
}

// allFlags are those of a command and of the program.
func allFlags(command *kong.Node) []*kong.Flag { return slices.Concat(command.AllFlags(false)...) }

// optionsOf returns all spellings of options.
func optionsOf(flags []*kong.Flag) []option {
	var options []option
	for _, f := range flags {
		for _, spelling := range append([]string{f.Name}, f.Aliases...) {
			options = append(options, option{spelling, f})
		}
		if f.Short != 0 {
			options = append(options, option{string(f.Short), f})
		}
		switch negated := f.Tag.Negatable; negated {
		case "":
		case "_": // kong's word for the usual negation
			options = append(options, option{"no-" + f.Name, f})
		default:
			options = append(options, option{negated, f})
		}
	}
	return options
}

type rewriter struct {
	options []option
	manners
	line, rest []string
}

// long takes an option that begins with two hyphens; args is what follows it. It returns what is left of args.
func (r *rewriter) long(arg string, args []string) ([]string, error) {
	name, value, hasValue := strings.Cut(arg[len("--"):], "=")
	o, err := r.find(name)
	if err != nil {
		return nil, err
	}
	switch {
	case isSwitch(o.flag) && hasValue:
		return nil, fmt.Errorf("--%s does not take an argument", o.spelling)
	case !takesValue(o.flag) || hasValue && (value != "" || r.emptyValue):
	case len(args) > 0 && !hasValue:
		value, args = args[0], args[1:]
	default:
		return nil, fmt.Errorf("--%s requires an argument", o.spelling)
	}
	r.add(o, value)
	return args, nil
}

// short takes a bundle of one-letter options, the last of which may have a value: the rest of the bundle, or what follows.
func (r *rewriter) short(bundle string, args []string) ([]string, error) {
	for bundle != "" {
		letter, size := utf8.DecodeRuneInString(bundle)
		o, err := r.findShort(letter)
		if err != nil {
			return nil, err
		}
		bundle = bundle[size:]
		value := ""
		switch {
		case !takesValue(o.flag):
		case bundle != "":
			value, bundle = bundle, ""
		case len(args) > 0:
			value, args = args[0], args[1:]
		default:
			return nil, fmt.Errorf("-%c requires an argument", letter)
		}
		r.add(o, value)
	}
	return args, nil
}

// add writes an option. One letter stands for its flag's name: kong would read it behind one hyphen only.
func (r *rewriter) add(o option, value string) {
	spelling := o.spelling
	if utf8.RuneCountInString(spelling) == 1 {
		spelling = o.flag.Name
	}
	if takesValue(o.flag) || value != "" {
		spelling += "=" + value
	}
	r.line = append(r.line, "--"+spelling)
}

// find looks an option up: by its spelling, else as the abbreviation of one option.
func (r *rewriter) find(name string) (option, error) {
	folded := name
	if r.anyCase {
		folded = strings.ToLower(name)
	}
	var found []option
	for _, o := range r.options {
		if o.spelling == folded {
			return o, nil
		}
		abbreviates := r.abbreviated && folded != "" && strings.HasPrefix(o.spelling, folded) && !o.flag.Tag.Has("whole")
		same := func(other option) bool { return other.flag == o.flag }
		if abbreviates && !slices.ContainsFunc(found, same) {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return option{}, fmt.Errorf("unknown flag --%s", name)
	case 1:
		return found[0], nil
	}
	var spellings []string
	for _, o := range found {
		spellings = append(spellings, "--"+o.spelling)
	}
	slices.Sort(spellings)
	return option{}, fmt.Errorf("--%s is ambiguous (%s)", name, strings.Join(spellings, ", "))
}

// findShort looks a one-letter option up; "?" asks for help everywhere.
func (r *rewriter) findShort(letter rune) (option, error) {
	spelling := string(letter)
	if r.anyCase {
		spelling = strings.ToLower(spelling)
	}
	if spelling == "?" {
		spelling = "h"
	}
	for _, o := range r.options {
		if o.spelling == spelling {
			return o, nil
		}
	}
	return option{}, fmt.Errorf("unknown flag -%c", letter)
}

func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }
