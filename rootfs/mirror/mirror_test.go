package mirror

import (
	"testing"
	"testing/fstest"
)

func TestOfHost(t *testing.T) {
	defaults := Mirrors{Default, DefaultSecurity}
	mine := Mirrors{"http://m.example/debian", "http://s.example/debian-security"}
	for name, c := range map[string]struct {
		files map[string]string
		want  Mirrors
	}{
		"no apt": {nil, defaults},
		"one-line": {map[string]string{"sources.list": "# deb http://old.example/debian trixie main\n" +
			"deb cdrom:[Debian]/ trixie main\ndeb-src http://src.example/debian trixie main\n" +
			"deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian/ bookworm main # mine\n" +
			"deb http://s.example/debian-security bookworm-security main\n"}, mine},
		"deb822": {map[string]string{"sources.list.d/debian.sources": "Types: deb-src\nURIs: http://src.example/debian\nSuites: sid\nComponents: main\n\n" +
			"Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: sid\nComponents: main\n\n" +
			"# the mirror\nTypes: deb deb-src\nURIs: http://m.example/debian http://n.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\n" +
			"Types: deb\nURIs: http://s.example/debian-security\nSuites: trixie-security\nComponents: main\n"}, mine},
		"another distribution": {map[string]string{"sources.list": "deb http://u.example/ubuntu noble main\n",
			"sources.list.d/x.sources": "Types: deb\nURIs: https://p.example/apt\nSuites: stable-tools\n"}, defaults},
		"archived":        {map[string]string{"sources.list": "deb http://archive.debian.org/debian buster main\n"}, defaults},
		"not apt's names": {map[string]string{"sources.list.d/debian.bak": "deb http://m.example/debian sid main"}, defaults},
		"broken": {map[string]string{"sources.list": "deb\ndebian\ndeb [\ndeb http://x\n",
			"sources.list.d/a.sources": "nonsense"}, defaults},
	} {
		etc := fstest.MapFS{}
		for f, text := range c.files {
			etc[f] = &fstest.MapFile{Data: []byte(text)}
		}
		got, err := OfHost(etc)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}
