#!/bin/sh
# An image for the Cubietruck (Allwinner A20), with Debian's own U-Boot and kernel:
#
#	examples/cubietruck.sh cubietruck.img --user=me/secret --sudo
#
# Further arguments are options of vmbuild. What comes out is cubietruck.img, to be copied to an SD card, which the board
# prefers to its NAND. For other boards name them in place of this one: "vmbuild --board=list" prints all.
set -eu
if [ "$#" -eq 0 ]; then
	echo "usage: $0 IMAGE [OPTION OF VMBUILD]..." >&2
	exit 2
fi
image=$1
shift
exec "${VMBUILD:-vmbuild}" build --image="$image" --size=2G --board=cubietruck "$@"
