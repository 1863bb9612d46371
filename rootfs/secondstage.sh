#!/bin/sh
# Configures the packages that are unpacked in this system, as the file "steps" says, and removes itself and all that is
# beside it. If it is interrupted or something fails, run it again: it goes on where it was.
set -e
umask 022
cd /
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8 LANGUAGE=C.UTF-8 LANG=C.UTF-8
unset TMPDIR # may be one of the host
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
here=/debootstrap
info=/var/lib/dpkg/info
control=/var/lib/dpkg/tmp.ci # where dpkg has the members of a package while its preinst runs; debconf looks there

fail() {
	echo "debootstrap: $*" >&2
	exit 1
}

# device makes a node of /dev where whoever made the system was not allowed to.
device() { # PATH MAJOR MINOR
	[ -z "$bare" ] || [ -e "$1" ] || mknod -m 666 "$1" c "$2" "$3" || fail "$1 cannot be made here: mount a /dev first"
}

# cover puts a script that ends with a status in the place of a program, until uncover.
cover() { # PATH STATUS
	kept=$here/${1##*/}
	if [ ! -e "$kept" ] && [ ! -e "$kept.none" ]; then
		if [ -e "$1" ]; then ln "$1" "$kept"; else : >"$kept.none"; fi
	fi
	printf '#!/bin/sh\nexit %s\n' "$2" >"$here/cover"
	chmod 755 "$here/cover"
	mv -f "$here/cover" "$1"
}

uncover() { # PATH
	kept=$here/${1##*/}
	if [ -e "$kept" ]; then
		mv -f "$kept" "$1"
	elif [ -e "$kept.none" ]; then
		rm -f "$1" "$kept.none"
	fi
}

# prepare runs the preinst scripts of packages, each once.
prepare() { # NAME:ARCH...
	for package; do
		if grep -qxF "$package" "$here/prepared"; then
			continue
		fi
		name=${package%:*}
		id=$name
		[ ! -e "$info/$package.list" ] || id=$package # Multi-Arch: same
		if [ -e "$info/$id.preinst" ]; then
			echo "Preparing $name ..."
			run_preinst
		fi
		echo "$package" >>"$here/prepared"
	done
}

run_preinst() {
	rm -rf "$control"
	mkdir "$control"
	for file in "$info/$id".*; do
		member=${file#"$info/$id."}
		case $member in
		*.* | list) ;; # of another package, and what is no member
		*) cp -p "$file" "$control/$member" ;;
		esac
	done
	chmod a+rx "$control/preinst"
	DPKG_MAINTSCRIPT_PACKAGE=$name DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH=${package##*:} \
		DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_DEBUG=0 DPKG_RUNNING_VERSION=$running DPKG_ADMINDIR=/var/lib/dpkg \
		DPKG_ROOT='' "$control/preinst" install
	rm -rf "$control"
}

# configure configures those of the packages that are not yet.
configure() { # OPTION NAME:ARCH...
	option=$1
	shift
	waiting=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}:${Architecture}\n' "$@" |
		sed -n 's/^unpacked //p; s/^half-configured //p')
	# shellcheck disable=SC2086 # words
	[ -z "$waiting" ] || dpkg "$option" --configure $waiting
}

leave() {
	status=$?
	uncover /usr/sbin/policy-rc.d
	uncover "$daemons"
	[ -z "$mounted" ] || umount /proc
	[ "$status" = 0 ] || echo "debootstrap: not everything is configured: run $here/debootstrap again" >&2
}

case $* in
'' | --second-stage) ;;
*) fail "$*: the only option here is --second-stage" ;;
esac
[ "$(id -u)" = 0 ] || fail "the second stage has to be run by root"
bare=
[ -c /dev/null ] || bare=yes
mounted=
if [ ! -e /proc/self/exe ]; then
	if mount -t proc proc /proc; then mounted=yes; else echo "debootstrap: /proc cannot be mounted" >&2; fi
fi
running=$(dpkg-query --show --showformat='${Version}' dpkg)
daemons=/usr/sbin/start-stop-daemon
[ -e "$daemons" ] || daemons=/sbin/start-stop-daemon
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cover /usr/sbin/policy-rc.d 101 # action forbidden, says section 2 of invoke-rc.d's interface
cover "$daemons" 0
: >>"$here/prepared"

. "$here/steps"
dpkg --configure --pending

trap - EXIT INT TERM
leave
rm -rf "$here"
echo "Base system installed successfully."
