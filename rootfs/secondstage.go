package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SecondStage is where the script is that configures a tree whose packages are only unpacked, as debootstrap has it.
const SecondStage = "/debootstrap/debootstrap"

// WriteSecondStage puts a script into a tree of unpacked packages that configures them when it is run there, as root, on a
// machine that can run its programs: chroot DIR /debootstrap/debootstrap --second-stage. It removes itself when all is
// done; until then it can be run again.
func (l *Lock) WriteSecondStage(root string) error {
	path := filepath.Join(root, SecondStage)
	err := os.Mkdir(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(l.secondStage()), 0o755)
	}
	at := l.clamp()
	for _, name := range []string{path, filepath.Dir(path)} {
		if err == nil {
			err = os.Chtimes(name, at, at)
		}
	}
	if err != nil {
		return fmt.Errorf("write the script of the second stage: %w", err)
	}
	return nil
}

// secondStage is the script: what Configure does with the essential packages, for all of them.
func (l *Lock) secondStage() string {
	var names []string
	for _, p := range l.Packages {
		names = append(names, p.Name)
	}
	return fmt.Sprintf(secondStageScript, strings.Join(names, " "), debconfAnswers(l.Debconf))
}

func debconfAnswers(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "debconf-set-selections <<'ANSWERS'\n" + strings.Join(lines, "\n") + "\nANSWERS\n"
}

// ErrNoSecondStage says that a tree has no script of a second stage.
var ErrNoSecondStage = errors.New("no " + SecondStage + " is in it: it was not made by --foreign, or is configured already")

// %[1]s are the packages in their order, %[2]s a command that answers their questions. "policy-rc.d" is invoke-rc.d's
// interface, section 2: 101, action forbidden. A preinst that has run once is not run again: its package's name is in the
// list.
const secondStageScript = `#!/bin/sh
# Configures the packages that are unpacked in this system, and removes itself.
set -e
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8 LANGUAGE=C.UTF-8 LANG=C.UTF-8
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
packages='%[1]s'
here=/debootstrap

if [ "$(id -u)" != 0 ]; then
	echo "debootstrap: the second stage has to be run by root" >&2
	exit 1
fi
if [ ! -e /proc/self/exe ]; then
	mount -t proc proc /proc && mounted=yes
fi

leave() {
	rm -f /usr/sbin/policy-rc.d
	if [ -e "$here/start-stop-daemon" ]; then
		mv "$here/start-stop-daemon" "$(cat "$here/path")"
	fi
	[ -z "$mounted" ] || umount /proc
}
trap leave EXIT
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
for path in /usr/sbin/start-stop-daemon /sbin/start-stop-daemon; do
	if [ -e "$path" ] && [ ! -e "$here/start-stop-daemon" ]; then
		echo "$path" >"$here/path"
		mv "$path" "$here/start-stop-daemon"
		printf '#!/bin/sh\nexit 0\n' >"$path"
		chmod 755 "$path"
	fi
done

touch "$here/begun"
for name in $packages; do
	if grep -qx "$name" "$here/begun"; then
		continue
	fi
	for script in /var/lib/dpkg/info/"$name".preinst /var/lib/dpkg/info/"$name":*.preinst; do
		if [ -x "$script" ]; then
			echo "Preparing $name"
			DPKG_MAINTSCRIPT_PACKAGE=$name DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_ARCH=$(dpkg --print-architecture) \
				DPKG_RUNNING_VERSION=$(dpkg-query --showformat='${Version}' --show dpkg) "$script" install
		fi
	done
	echo "$name" >>"$here/begun"
done

%[2]sdpkg --force-depends --configure -a || dpkg --force-depends --configure -a
trap - EXIT
leave
rm -rf "$here"
echo "Base system installed successfully."
`
