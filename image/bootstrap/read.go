package bootstrap

import (
	"fmt"
	"os"

	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/suite"
)

// Read puts the content of files in the place of options that name one, and adds where this host gets Debian from: after
// it, NewPlan needs nothing of the host any more.
func (o Options) Read() (Options, error) {
	var err error
	for _, list := range []*[]string{&o.AptOptions, &o.DpkgOptions} {
		if *list, err = readOptions(*list); err != nil {
			return o, err
		}
	}
	if o.Mirrors, err = readMirrors(o.Mirrors); err != nil {
		return o, err
	}
	if o.Defaults, err = mirror.OfHost(os.DirFS("/etc/apt")); err != nil {
		return o, err
	}
	// The keys of other distributions than Debian are not built in.
	if p := suite.Publish(o.Suite, o.Architectures); len(o.Keyrings) == 0 && p.Vendor != "Debian" && isFile(p.Keyring) {
		o.Keyrings = []string{p.Keyring}
	}
	return o, nil
}

// readOptions takes what is a file for the options in it.
func readOptions(list []string) ([]string, error) {
	var texts []string
	for _, option := range list {
		if !isFile(option) {
			texts = append(texts, option)
			continue
		}
		data, err := os.ReadFile(option)
		if err != nil {
			return nil, fmt.Errorf("read options: %w", err)
		}
		texts = append(texts, string(data)+"\n")
	}
	return texts, nil
}

func readMirrors(list []Mirror) ([]Mirror, error) {
	var read []Mirror
	for _, m := range list {
		if m.Content == "" && m.Argument != "-" && isFile(m.Argument) {
			data, err := os.ReadFile(m.Argument)
			if err != nil {
				return nil, fmt.Errorf("read apt sources: %w", err)
			}
			m.Content = string(data)
		}
		read = append(read, m)
	}
	return read, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
