#!/bin/sh
# An image for PCs and virtual machines that start by UEFI, Secure Boot included:
#
#	examples/uefi-amd64.sh pc.img --root-password=secret
#
# Further arguments are options of vmbuild. What comes out is pc.img, with a GPT: copy it to a disk, or start it here by
# "vmbuild run --firmware secure-boot pc.img".
set -eu
if [ "$#" -eq 0 ]; then
	echo "usage: $0 IMAGE [OPTION OF VMBUILD]..." >&2
	exit 2
fi
image=$1
shift
exec "${VMBUILD:-vmbuild}" build --image="$image" --size=2G --arch=amd64 --grub --use-uefi --part-type=gpt \
	--customize=qemu-efi-bochs-drm.sh "$@"
