package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DebootstrapScript is what a suite's script of debootstrap sets, which is all that is taken from it: scripts are not run.
type DebootstrapScript struct {
	Mirror   string   // URL of the archive, if none is named
	Variants []string // that the script has; none: it does not say
	Opts     DebootstrapOpts
}

// ReadDebootstrapScript reads the script of a suite from a directory like /usr/share/debootstrap, or like scripts in it. A
// debian-common beside it must be one of Debian's.
func ReadDebootstrapScript(dir, suite string) (DebootstrapScript, error) {
	for _, path := range []string{filepath.Join(dir, suite), filepath.Join(dir, "scripts", suite)} {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return DebootstrapScript{}, fmt.Errorf("read the script of %q: %w", suite, err)
		}
		if err := checkDebianCommon(filepath.Join(filepath.Dir(path), "debian-common")); err != nil {
			return DebootstrapScript{}, err
		}
		return ParseDebootstrapScript(path, data)
	}
	return DebootstrapScript{}, fmt.Errorf("%s has no script of suite %q (neither there nor in scripts below)", dir, suite)
}

// debianCommon are the SHA256 of what Debian's scripts for its suites have in common, from packages debootstrap of bullseye
// to sid. vmbuild does what they do.
var debianCommon = map[string]string{
	"34d82a38c18d190a3a0835b4c02b109b7e3bd4ff52e4add82341911ee2d4ea8b": "1.0.123+deb11u2",
	"9ef90aed33fc6cf2aff3476bbdb9c5c57a9320454bdae579580c537bdc169fd5": "1.0.128+nmu2+deb12u2",
	"ecec534a61cbc18edfd4fb25c815822f4506a1ac0f0cbed23bfdf6cad62a7dd5": "1.0.141",
	"5090f5c40f849230c19d9c1763c7b7be4471a2ecd047e4835ca396315d579cd5": "1.0.145",
}

func checkDebianCommon(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	sum := sha256.Sum256(data)
	if _, ok := debianCommon[hex.EncodeToString(sum[:])]; !ok {
		return fmt.Errorf("%s is none of Debian's: vmbuild runs no scripts of debootstrap (use --customize or --setup-hook for what it does)", path)
	}
	return nil
}

// debianBlocks are those parts of Debian's own scripts that are more than settings. They come to nothing here: debian-common
// is what vmbuild does, and a keyring is found under either name.
var debianBlocks = [][]string{
	{
		`if [ -e "$DEBOOTSTRAP_DIR/scripts/debian-common" ]; then`,
		`. "$DEBOOTSTRAP_DIR/scripts/debian-common"`,
		`elif [ -e /debootstrap/debian-common ]; then`,
		`. /debootstrap/debian-common`,
		`elif [ -e "$DEBOOTSTRAP_DIR/debian-common" ]; then`,
		`. "$DEBOOTSTRAP_DIR/debian-common"`,
		`else`,
		`error 1 NOCOMMON "File not found: debian-common"`,
		`fi`,
	},
	{
		`if [ -e /usr/share/keyrings/debian-archive-keyring.pgp ]; then`,
		`# Starting with Debian 13 (trixie).`,
		`keyring /usr/share/keyrings/debian-archive-keyring.pgp`,
		`else`,
		`keyring /usr/share/keyrings/debian-archive-keyring.gpg`,
		`fi`,
	},
}

// ParseDebootstrapScript reads a script. It has settings, one in a line, by the functions or the variables of debootstrap, and
// what Debian's own scripts have; anything else is an error that names the line.
func ParseDebootstrapScript(name string, data []byte) (DebootstrapScript, error) {
	var s DebootstrapScript
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	for i := 0; i < len(lines); i++ {
		if n := blockAt(lines[i:]); n > 0 {
			i += n - 1
			continue
		}
		if err := s.setting(lines[i]); err != nil {
			return DebootstrapScript{}, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	return s, nil
}

// blockAt is the number of lines of the block of Debian's that begins here; 0: none does.
func blockAt(lines []string) int {
	for _, block := range debianBlocks {
		if len(lines) >= len(block) && slices.Equal(lines[:len(block)], block) {
			return len(block)
		}
	}
	return 0
}

// scriptSettings are the functions of debootstrap that only set something. All take an argument.
var scriptSettings = map[string]struct {
	choices []string // of the first argument; nil: any
	set     func(s *DebootstrapScript, args []string) error
}{
	"default_mirror": {set: func(s *DebootstrapScript, args []string) error { s.Mirror = args[0]; return nil }},
	"keyring":        {set: func(s *DebootstrapScript, args []string) error { s.Opts.Keyring = args[0]; return nil }},
	"variants":       {set: func(s *DebootstrapScript, args []string) error { s.Variants = args; return nil }},
	"mirror_style":   {choices: []string{"release", "main"}},
	"download_style": {choices: []string{"apt"}},
	"finddebs_style": {choices: []string{"from-indices"}},
}

// scriptVariables are the variables that debootstrap keeps options in, and those options.
var scriptVariables = map[string]string{
	"ADDITIONAL": "include", "EXCLUDE": "exclude", "EXTRA_SUITES": "extra-suites", "KEYRING": "keyring",
	"USE_COMPONENTS": "components", "VARIANT": "variant",
}

func (s *DebootstrapScript) setting(line string) error {
	words, err := plainWords(line)
	if err != nil || len(words) == 0 {
		return err
	}
	if variable, value, ok := strings.Cut(words[0], "="); ok && len(words) == 1 {
		return s.assign(variable, value)
	}
	setting, known := scriptSettings[words[0]]
	args := words[1:]
	switch {
	case !known:
		return notASetting(line)
	case len(args) == 0:
		return fmt.Errorf("%s has no argument", words[0])
	case setting.choices != nil && !slices.Contains(setting.choices, args[0]):
		return fmt.Errorf("%s %s is not one of %s", words[0], args[0], strings.Join(setting.choices, ", "))
	case setting.set == nil:
		return nil
	}
	return setting.set(s, args)
}

// assign takes a variable. A list has blanks, commas or, as debootstrap keeps components, bars between its names.
func (s *DebootstrapScript) assign(variable, value string) error {
	list := strings.Join(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t,|", r) }), ",")
	switch {
	case variable == "DEF_MIRROR":
		s.Mirror = value
		return nil
	case variable == "MERGED_USR" && (value == "yes" || value == "no"):
		s.Opts.MergedUsr, s.Opts.SplitUsr = value == "yes", value == "no"
		return nil
	case scriptVariables[variable] == "":
		return notASetting(variable + "=")
	case list == "":
		return nil
	case variable == "KEYRING":
		list = value
	}
	return s.Opts.set(scriptVariables[variable], list, true)
}

// errNotSetting is what a script has that would have to be run.
var errNotSetting = errors.New("is neither a setting that vmbuild knows (default_mirror, keyring, variants, mirror_style, " +
	"download_style, finddebs_style, a variable of one of debootstrap's options) nor in Debian's own scripts, and scripts of " +
	"debootstrap are not run: use --customize or --setup-hook for what it does")

func notASetting(line string) error { return fmt.Errorf("%q %w", line, errNotSetting) }

// plainWords splits a line of shell that has words and quotes only. A comment is no word.
func plainWords(line string) ([]string, error) {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+./:=,@%"
	var words []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		case c == '#' && !inWord:
			return words, nil
		case c == '"' || c == '\'':
			text, _, closed := strings.Cut(line[i+1:], string(c))
			if !closed || c == '"' && strings.ContainsAny(text, "$`\\") {
				return nil, notASetting(line)
			}
			word.WriteString(text)
			i += len(text) + 1
			inWord = true
		case strings.IndexByte(plain, c) >= 0:
			word.WriteByte(c)
			inWord = true
		default:
			return nil, notASetting(line)
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
