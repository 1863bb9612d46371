#!/bin/sh
# An image for the BeagleBone Black (TI AM335x), with Debian's own U-Boot and kernel:
#
#	examples/beaglebone-black.sh beaglebone.img --user=me/secret --sudo
#
# Further arguments are options of vmbuild. What comes out is beaglebone.img, to be copied to an SD card; the board starts
# from the card while button S2 (boot) is held at power-on, else from its eMMC. The console is that of the six pins J1.
#
# U-Boot is on the first partition, a FAT that the system mounts on /boot/firmware. With --board=beaglebone-black-raw at the
# end it is in front of the only partition.
set -eu
if [ "$#" -eq 0 ]; then
	echo "usage: $0 IMAGE [OPTION OF VMBUILD]..." >&2
	exit 2
fi
image=$1
shift
exec "${VMBUILD:-vmbuild}" build --image="$image" --size=2G --board=beaglebone-black "$@"
