// Package offers says what the machine offers to the tests. Without a word in VMBUILD_TEST a test that needs more than
// Go is skipped; with it, what is missing is a failure, so that a skip is always deserved.
//
// The words: net (a Debian mirror, by the host's apt sources), build (namespaces, and programs that judge what was
// written, such as e2fsck), boot (QEMU and its firmware).
package offers

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Need skips the test unless VMBUILD_TEST has all the words.
func Need(t testing.TB, words ...string) {
	t.Helper()
	have := strings.Split(os.Getenv("VMBUILD_TEST"), ",")
	for _, w := range words {
		if !slices.Contains(have, w) {
			t.Skipf("VMBUILD_TEST lacks %q", w)
		}
	}
}

// Programs fails the test unless all the programs are installed.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Fatalf("program %q is needed: %v", n, err)
		}
	}
}
