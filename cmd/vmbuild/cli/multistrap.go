package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"vmbuild/image/bootstrap/multistrap"
)

// multistrapCmd is the command line of vmbuild multistrap.
type multistrapCmd struct {
	File      string `help:"Configuration file." short:"f" placeholder:"FILE"`
	Shortcut  string `help:"Configuration file /etc/multistrap.d/NAME.conf, else /usr/share/multistrap/NAME.conf." short:"s" placeholder:"NAME"`
	Arch      string `help:"Architecture of the system, instead of that of the file." short:"a" placeholder:"ARCH"`
	Dir       string `help:"Directory to make the system in, instead of that of the file." short:"d" placeholder:"DIR"`
	SourceDir string `help:"Directory that gets the packages and their sources." placeholder:"DIR"`
	Keyring   string `help:"Trust the OpenPGP keys in this file." placeholder:"FILE"`
	Auth      bool   `help:"Refuse an archive without a good signature." default:"true" negatable:""`
	TidyUp    bool   `help:"Leave neither packages nor lists of them in the system."`
	Simulate  bool   `help:"Print the configuration and stop." aliases:"dry-run"`
	Offline   bool   `help:"Take everything from the cache."`
	Verbose   bool   `help:"Print what the programs of the build print."`

	timingOptions
	environment
}

// Run is called by kong.
func (c *multistrapCmd) Run(ctx context.Context, do bootstrapper, s Streams) error {
	config, err := c.config()
	if err != nil {
		return usageError{err}
	}
	if c.Simulate {
		printNotes(s, config.Warnings)
		fmt.Fprint(s.Out, config.Text())
		return nil
	}
	j, err := c.job(config)
	if err != nil {
		return usageError{err}
	}
	return c.timingOptions.run(ctx, s.Err, func(ctx context.Context) error { return j.run(ctx, do, c.environment, s) })
}

// config reads the configuration; the command line counts for more than its files.
func (c *multistrapCmd) config() (*multistrap.Config, error) {
	name, err := c.file("/etc/multistrap.d/", "/usr/share/multistrap/")
	if err != nil {
		return nil, err
	}
	config, err := multistrap.Parse(name, os.ReadFile)
	if err != nil {
		return nil, err
	}
	if c.Arch != "" {
		config.Arch = c.Arch
	}
	if c.Dir != "" {
		config.Directory = c.Dir
	}
	if c.SourceDir != "" {
		config.RetainSources = c.SourceDir
	}
	config.NoAuth = config.NoAuth || !c.Auth
	config.Cleanup = config.Cleanup || c.TidyUp
	return config, nil
}

// file is the configuration file: the first that a shortcut stands for in these directories, else the one given.
func (c *multistrapCmd) file(dirs ...string) (string, error) {
	if c.Shortcut != "" {
		for _, dir := range dirs {
			name := dir + c.Shortcut + ".conf"
			if _, err := os.Stat(name); err == nil {
				return name, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if c.File == "" {
			return "", fmt.Errorf("there is no shortcut %q in any of %v", c.Shortcut, dirs)
		}
	}
	if c.File == "" {
		return "", errors.New("a configuration file is needed: -f FILE")
	}
	return c.File, nil
}

func (c *multistrapCmd) job(config *multistrap.Config) (job, error) {
	o, notes, err := config.Options(hostArch())
	if err != nil {
		return job{}, err
	}
	o.Offline = c.Offline
	if c.Verbose {
		o.Verbosity = 2
	}
	if c.Keyring != "" {
		path, err := realPath(c.Keyring)
		if err != nil {
			return job{}, fmt.Errorf("--keyring: %w", err)
		}
		o.Keyrings = []string{path}
	}
	return job{options: o, notes: append(config.Warnings, notes...)}, nil
}
