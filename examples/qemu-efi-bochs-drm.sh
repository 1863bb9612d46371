#!/bin/sh
# For guests that start by UEFI under QEMU with its standard graphics adapter, whose driver, bochs-drm, leaves the console
# blank there: without it the console stays on the framebuffer that the firmware has made.
#
#	vmbuild --image=efi.img --grub --use-uefi --customize=qemu-efi-bochs-drm.sh
#
# The initramfs, which loads drivers too, has this setting as well: vmbuild makes it after the last hook.
set -e
rootdir=$1
. "$VMBUILD_HOOKS/customise.lib"
trap cleanup 0

blacklist_qemu_bochs
