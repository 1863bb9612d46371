// Package offers says what the machine offers to the tests. Without a word in VMBUILD_TEST a test that needs more than
// Go is skipped; with it, what is missing is a failure, so that a skip is always deserved.
//
// The words: net (a Debian mirror, by the host's apt sources), build (namespaces, and programs that judge what was
// written, such as e2fsck), boot (QEMU and its firmware), matrix (time for every image that there is a test of, not only
// for the short set). When root runs the tests, VMBUILD_TEST_USER names the ordinary user that they try things as too.
package offers

import (
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Has says whether VMBUILD_TEST has the word, for a TestMain, which cannot skip.
func Has(word string) bool {
	return slices.Contains(strings.Split(os.Getenv("VMBUILD_TEST"), ","), word)
}

// Need skips the test unless VMBUILD_TEST has all the words.
func Need(t testing.TB, words ...string) {
	t.Helper()
	for _, w := range words {
		if !Has(w) {
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

// User returns the ordinary user, with subordinate ids, that VMBUILD_TEST_USER names for tests that root runs. It fails
// the test if there is none.
func User(t testing.TB) *user.User {
	t.Helper()
	name := os.Getenv("VMBUILD_TEST_USER")
	if name == "" {
		t.Fatal("VMBUILD_TEST_USER must name an ordinary user with subordinate ids when the tests run as root")
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("VMBUILD_TEST_USER: %v", err)
	}
	return u
}

// Credential is what root starts a process of the user's with.
func Credential(t testing.TB, u *user.User) *syscall.Credential {
	t.Helper()
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
