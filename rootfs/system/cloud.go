package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// CloudInit is how cloud-init shall work in the system. Its zero value leaves cloud-init, if it is there, as it comes.
type CloudInit struct {
	Renderer string // what sets up networks as cloud-init is told: networkd, eni (ifupdown); empty: it leaves them alone
	RootKeys bool   // root logs in by keys of the image: cloud-init does not take that away
	Seed     Seed   `json:"-"` // secret: passwords may be in it
}

// Seed is what cloud-init's datasource NoCloud reads, by the names of files.
type Seed map[string][]byte

const (
	cloudConfig = "etc/cloud/cloud.cfg.d/50_image.cfg"
	cloudSeed   = "var/lib/cloud/seed/nocloud"
)

// seedFiles are those that NoCloud knows (cloud-init's documentation, "NoCloud"), the two first of which it must have.
var seedFiles = []string{"user-data", "meta-data", "vendor-data", "network-config"}

const neededSeedFiles = 2

// ReadSeed reads the files of a seed directory. A file that NoCloud does not know is an error, since it would be a name
// mistyped; those whose names begin with a dot are left out.
func ReadSeed(dir fs.FS) (Seed, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("read seed: %w", err)
	}
	seed := Seed{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if !slices.Contains(seedFiles, e.Name()) {
			return nil, fmt.Errorf("read seed: %q is none of the files that cloud-init reads (%s)", e.Name(), strings.Join(seedFiles, ", "))
		}
		if seed[e.Name()], err = fs.ReadFile(dir, e.Name()); err != nil {
			return nil, fmt.Errorf("read seed: %w", err)
		}
	}
	for _, name := range seedFiles[:neededSeedFiles] {
		if _, ok := seed[name]; !ok {
			return nil, fmt.Errorf("read seed: there is no %s, which cloud-init must have (it may be empty)", name)
		}
	}
	return seed, nil
}

// prepareCloud writes cloud-init's configuration and seed. With a seed there is no other source of data: nothing is asked of
// a network whose owner may be anybody.
func prepareCloud(root *os.Root, c Config) error {
	if c.CloudInit == nil {
		return nil
	}
	if err := (file{cloudConfig, c.CloudInit.text()}).write(root); err != nil {
		return err
	}
	for _, name := range seedFiles {
		data, ok := c.CloudInit.Seed[name]
		if !ok {
			continue
		}
		if err := writeSecret(root, path.Join(cloudSeed, name), data); err != nil {
			return fmt.Errorf("write cloud-init's %s: %w", name, err)
		}
	}
	return nil
}

// text is YAML with its lists on one line each, as cloud-init's ds-identify demands.
func (c CloudInit) text() string {
	text := "network:\n  config: disabled\n"
	if c.Renderer != "" {
		text = "system_info:\n  network:\n    renderers: [" + c.Renderer + "]\n"
	}
	if len(c.Seed) > 0 {
		text = "datasource_list: [NoCloud, None]\n" + text
	}
	if c.RootKeys {
		text += "disable_root: false\n"
	}
	return text
}

// writeSecret writes a file that only root can read, in place of what is there.
func writeSecret(root *os.Root, name string, data []byte) error {
	err := makeWay(root, name)
	if err == nil {
		err = root.WriteFile(name, data, 0o600)
	}
	return err
}

// CheckSeed says why cloud-init cannot do what a seed says: it sets up networks only by what the system has for them.
func (c CloudInit) CheckSeed(s Seed) error {
	if _, ok := s["network-config"]; ok && c.Renderer == "" {
		return errors.New("cloud-init of this release cannot set up systemd-networkd: " +
			"leave network-config out, or take --no-systemd-networkd")
	}
	return nil
}
