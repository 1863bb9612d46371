package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/image"
)

func TestSSHKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	second := strings.Replace(testKey, "ann@", "bob@", 1)
	for name, text := range map[string]string{
		"key.pub": testKey + "\n", "two": "# mine\n\n" + testKey + "\n" + second, "a b": second, "keys:old.pub": testKey,
		"key": "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", "empty": "\n", "bad": testKey + "\nsecret line\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		value string
		want  []image.SSHKey
		err   string
	}{
		{"key.pub", []image.SSHKey{{Line: testKey}}, ""},
		{"ann:two", []image.SSHKey{{User: "ann", Line: testKey}, {User: "ann", Line: second}}, ""},
		{"a b", []image.SSHKey{{Line: second}}, ""},
		{"./keys:old.pub", []image.SSHKey{{Line: testKey}}, ""},
		{testKey, []image.SSHKey{{Line: testKey}}, ""},
		{"root:" + testKey, []image.SSHKey{{User: "root", Line: testKey}}, ""},
		{`from="10.0.0.0/8,m:1",restrict ` + testKey, []image.SSHKey{{Line: `from="10.0.0.0/8,m:1",restrict ` + testKey}}, ""},

		{"keys:old.pub", nil, "open old.pub: no such file or directory"},
		{"none.pub", nil, "open none.pub: no such file or directory"},
		{"key", nil, "key: it is a private key, which stays with its owner: the public one is in the file whose name ends in .pub"},
		{"-----BEGIN PRIVATE KEY----- secret", nil, "it is a private key, which stays with its owner: the public one is in the file whose name ends in .pub"},
		{"empty", nil, "empty: it has no public key of SSH"},
		{"bad", nil, "bad: line 2 is no public key of SSH, such as ssh-ed25519 AAAA… comment"},
		{"ssh-ed25519 secret", nil, "line 1 is no public key of SSH, such as ssh-ed25519 AAAA… comment"},
		{"", nil, "open : no such file or directory"},
	} {
		got, err := sshKeys([]string{c.value})
		message := ""
		if err != nil {
			message = err.Error()
		}
		if diff := cmp.Diff(c.want, got); diff != "" || message != c.err {
			t.Errorf("%q: %q, want %q\n%s", c.value, message, c.err, diff)
		}
	}
}

// TestSSHKeyIsNotLogged is a private key on the command line: neither the terminal nor the log shows it.
func TestSSHKeyIsNotLogged(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	got := run(t, "--image="+dir+"/test.img", "--grub", "--log="+log, "--ssh-key=-----BEGIN PRIVATE KEY----- secret")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != statusUsage || !strings.Contains(got.Err, "--ssh-key: it is a private key") || !strings.Contains(string(text), "(hidden)") {
		t.Errorf("%+v\n%s", got, text)
	}
	for _, shown := range []string{got.Out, got.Err, string(text)} {
		if strings.Contains(shown, "secret") {
			t.Errorf("the key is shown: %s", shown)
		}
	}
}

func TestCloudInit(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[cloudInit]string{"": "", "true": "", "./seed": here + "/seed", "/a/../b": "/b"} {
		if got, err := value.seed(); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", value, got, err, want)
		}
	}
	want := refusal("--cloud-init: the name of the directory is empty")
	if diff := cmp.Diff(want, run(t, "--image=a", "--cloud-init=", "--dry-run")); diff != "" {
		t.Error(diff)
	}
}
