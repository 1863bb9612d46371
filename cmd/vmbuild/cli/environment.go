package cli

import (
	"os"
	"path/filepath"
)

// environment are the directories that every command works with.
type environment struct {
	CacheDir string `help:"Keep downloads and finished layers in DIR (default: $XDG_CACHE_HOME/vmbuild)." placeholder:"DIR" type:"path" group:"Program"`
}

// cacheDir follows the XDG Base Directory Specification.
func (e environment) cacheDir() string {
	if e.CacheDir != "" {
		return e.CacheDir
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "vmbuild")
	}
	return filepath.Join(e.tempDir(), "vmbuild-cache")
}

// tempDir is where a build works: TMPDIR, TEMP or TMP.
func (environment) tempDir() string {
	for _, name := range []string{"TMPDIR", "TEMP", "TMP"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	return "/tmp"
}
