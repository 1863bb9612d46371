# What the steps of the scenarios are made of: a shell library, which yarn gets by --shell-library=yarns/steps.sh.
#
# A scenario's directory $DATADIR has the files it works with, and what is known of the program's last run: what it printed
# on standard output (.out) and on standard error (.err), its exit status (.status), the files there were before (.before).
# Nothing here needs root, mounts or loop devices: sfdisk, debugfs, mtools, tar and unsquashfs read images where they are.

{ set +x; } 2>/dev/null # steps say themselves why they fail
PATH=$PATH:/usr/sbin:/sbin # sfdisk, debugfs and their like, which users other than root have no path to
: "${VMBUILD:=$SRCDIR/vmbuild}"

# fail TEXT...: says why a step fails.
fail() {
	echo "$*" >&2
	exit 1
}

# listing: all files of the scenario.
listing() {
	(cd "$DATADIR" && find . ! -path './.out' ! -path './.err' ! -path './.status' ! -path './.before' | sort)
}

# answer PROGRAM ARGUMENT...: runs a program in the scenario's directory and keeps its answer.
answer() {
	listing >"$DATADIR/.before"
	status=0
	(cd "$DATADIR" && PATH=$DATADIR/HOME/bin:$PATH exec "$@") >"$DATADIR/.out" 2>"$DATADIR/.err" </dev/null || status=$?
	echo "$status" >"$DATADIR/.status"
}

# build ARGUMENT...: runs a real build, with the cache and the mirror that the environment names.
build() {
	answer "$VMBUILD" build ${VMBUILD_CACHE:+"--cache-dir=$VMBUILD_CACHE"} ${MIRROR:+"--mirror=$MIRROR"} "$@"
}

# status_is NUMBER: the exit status of the answer.
status_is() {
	[ "$(cat "$DATADIR/.status")" = "$1" ] || fail "exit status $(cat "$DATADIR/.status"), not $1:
$(cat "$DATADIR/.out" "$DATADIR/.err")"
}

# says FILE TEXT: whether a file of the scenario has a text; any number of blanks is one, as steps cannot have more.
says() {
	tr -s ' ' <"$DATADIR/$1" | grep -qF -e "$2"
}

# has FILE TEXT, lacks FILE TEXT: fail if it does not, or if it does.
has() {
	says "$1" "$2" || fail "$1 lacks $2:
$(tail -n 40 "$DATADIR/$1")"
}

lacks() {
	! says "$1" "$2" || fail "$1 has $2:
$(tail -n 40 "$DATADIR/$1")"
}

# nothing_written: all files are those that were there before the program ran.
nothing_written() {
	listing | diff "$DATADIR/.before" - >&2 || fail "there is something new"
}

# packages: those that the plan selects, one a line.
packages() {
	sed -n 's/^Selected packages: *//p' "$DATADIR/.out" | tr ' ' '\n'
}

# partition DISK NUMBER FIELD: a field of sfdisk's dump: start, size (both in sectors), type, uuid, name, bootable.
partition() {
	sfdisk -d "$DATADIR/$1" | sed -n "s/^[^ ]*[^0-9]$2 : //p" | tr -d ' ' | tr ',' '\n' |
		sed -n -e "s/^$3=//p" -e "s/^$3$/$3/p" | tr -d '"'
}

# partitions DISK: how many there are.
partitions() {
	sfdisk -d "$DATADIR/$1" | grep -c ' : start='
}

# offset DISK NUMBER: where a partition begins, in bytes.
offset() {
	echo $(($(partition "$1" "$2" start) * 512))
}

# filesystem DISK NUMBER TAG: TYPE, UUID or LABEL of what is in a partition.
filesystem() {
	blkid -p -O "$(offset "$1" "$2")" -S "$(($(partition "$1" "$2" size) * 512))" -o value -s "$3" "$DATADIR/$1"
}

# debug DISK COMMAND: asks debugfs for something of the root filesystem: the last of ext2, ext3, ext4 that has /etc/fstab.
debug() {
	n=$(partitions "$1")
	while [ "$n" -gt 0 ]; do
		ext="$DATADIR/$1?offset=$(offset "$1" "$n")"
		if debugfs -R 'stat /etc/fstab' "$ext" 2>/dev/null | grep -q Inode; then
			debugfs -R "$2" "$ext" 2>/dev/null
			return
		fi
		n=$((n - 1))
	done
	fail "$1 has no root filesystem that debugfs can read"
}

# The tree of an output, by its name: NAME.img is a disk, NAME.tar a tarball, NAME.squashfs a squashfs, else a directory.

# content OUTPUT PATH: the bytes of a file.
content() {
	case $1 in
	*.img) debug "$1" "cat \"$2\"" ;;
	*.tar) tar -xOf "$DATADIR/$1" ".$2" ;;
	*.squashfs) unsquashfs -cat "$DATADIR/$1" "$2" ;;
	*) cat "$DATADIR/$1$2" ;;
	esac
}

# link OUTPUT PATH: where a symbolic link points to; nothing if it is none.
link() {
	case $1 in
	*.img) debug "$1" "stat \"$2\"" | sed -n 's/^Fast link dest: "\(.*\)"$/\1/p' ;;
	*.tar) tar -tvf "$DATADIR/$1" ".$2" | sed -n 's/.* -> //p' ;;
	*.squashfs) unsquashfs -ll "$DATADIR/$1" "${2#/}" | sed -n 's/.* -> //p' ;;
	*) readlink "$DATADIR/$1$2" || true ;;
	esac
}

# owner OUTPUT PATH: UID:GID.
owner() {
	case $1 in
	*.img) debug "$1" "stat \"$2\"" | sed -n 's/^User: *\([0-9]*\) *Group: *\([0-9]*\) .*/\1:\2/p' ;;
	*.tar) tar --numeric-owner --no-recursion -tvf "$DATADIR/$1" ".$2/" | awk '{ sub("/", ":", $2); print $2 }' ;;
	*) stat -c %u:%g "$DATADIR/$1$2" ;;
	esac
}

# names OUTPUT DIRECTORY: what is in a directory, but what begins with a dot; nothing where none is.
names() {
	case $1 in
	*.img) debug "$1" "ls -p \"$2\"" | cut -d / -f 6 | grep -v -e '^\.' -e '^$' || true ;;
	*.tar) tar -tf "$DATADIR/$1" | sed -nE "s|^\\.$2/([^/.][^/]*)/?\$|\\1|p" ;;
	*.squashfs) unsquashfs -l "$DATADIR/$1" | sed -nE "s|^squashfs-root$2/([^/.][^/]*)\$|\\1|p" ;;
	*) ls "$DATADIR/$1$2" 2>/dev/null || true ;;
	esac
}

# exists OUTPUT PATH: whether something is there.
exists() {
	names "$1" "$(dirname "$2" | sed 's|^/$||')" | grep -qxF -e "$(basename "$2")"
}
