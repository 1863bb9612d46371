#!/bin/sh
# Root filesystems by the options of mmdebstrap, one line each:
#
#	examples/mmdebstrap.sh minimal tree.tar.zst
#	examples/mmdebstrap.sh foreign busybox.tar
#	examples/mmdebstrap.sh files tree.tar
#	examples/mmdebstrap.sh squashfs tree.squashfs
#
# What comes out is the file named. Further arguments are options of "vmbuild bootstrap"; through a link to vmbuild that is
# named mmdebstrap, the lines work as they are, from "--variant" on.
set -eu
if [ "$#" -lt 2 ]; then
	echo "usage: $0 minimal|foreign|files|squashfs FILE [OPTION OF VMBUILD BOOTSTRAP]..." >&2
	exit 2
fi
example=$1 file=$2
shift 2
bootstrap() { "${VMBUILD:-vmbuild}" bootstrap "$@"; }

case $example in
# The least that apt can work in, as for a container.
minimal) bootstrap --variant=apt "$@" trixie "$file" ;;
# A program of another architecture and what it needs, unpacked and not configured: no program runs.
foreign) bootstrap --architectures=arm64 --variant=extract --include=busybox-static "$@" trixie "$file" ;;
# Files of one's own put into the finished system, and one of the system's brought out.
files) bootstrap --variant=apt --customize-hook='copy-in /etc/hosts /etc' --customize-hook="upload '$0' /etc/made-by" \
	--customize-hook="download /var/lib/dpkg/status '$file.status'" "$@" trixie "$file" ;;
# A program alone, without what is not needed to run it, to be mounted as it is.
squashfs) bootstrap --variant=extract --include=busybox-static --dpkgopt='path-exclude=/usr/share/*' \
	--format=squashfs "$@" trixie "$file" ;;
*)
	echo "$0: there is no example \"$example\" (minimal, foreign, files, squashfs)" >&2
	exit 2
	;;
esac
