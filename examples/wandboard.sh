#!/bin/sh
# An image for the Wandboard (NXP i.MX6, all three kinds), with Debian's own U-Boot and kernel:
#
#	examples/wandboard.sh wandboard.img --user=me/secret --sudo
#
# Further arguments are options of vmbuild. What comes out is wandboard.img, to be copied to the SD card in the slot of the
# processor's module. The console is the connector for RS-232.
set -eu
if [ "$#" -eq 0 ]; then
	echo "usage: $0 IMAGE [OPTION OF VMBUILD]..." >&2
	exit 2
fi
image=$1
shift
exec "${VMBUILD:-vmbuild}" build --image="$image" --size=2G --board=wandboard "$@"
