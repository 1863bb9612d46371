#!/bin/sh
# For boards that U-Boot starts: /boot/extlinux/extlinux.conf, by Debian's package u-boot-menu, which from then on keeps it
# up to date for each kernel. The variable U_BOOT_PARAMETERS has what Linux is told beside its root file system:
#
#	U_BOOT_PARAMETERS='ro console=ttyS0,115200' vmbuild --image=board.img --arch=armhf --no-extlinux \
#		--package=u-boot-menu --customize=u-boot-menu.sh
#
# U-Boot itself is not part of it: see beaglebone-black.sh, cubietruck.sh and wandboard.sh.
set -eu
rootdir=$1
: "${U_BOOT_PARAMETERS:=ro}"

mkdir -p "$rootdir/etc/u-boot-menu/conf.d"
printf 'U_BOOT_PARAMETERS="%s"\n' "$U_BOOT_PARAMETERS" >"$rootdir/etc/u-boot-menu/conf.d/parameters.conf"

# u-boot-update names the initramfs that it finds, and vmbuild makes that after the last script: until then, an empty file
# stands for it.
stands=
for kernel in "$rootdir"/boot/vmlinuz-*; do
	initramfs=$rootdir/boot/initrd.img-${kernel##*/vmlinuz-}
	if [ -e "$kernel" ] && [ ! -e "$initramfs" ]; then
		: >"$initramfs"
		stands="$stands ${initramfs##*/}"
	fi
done
chroot "$rootdir" u-boot-update
for name in $stands; do
	rm "$rootdir/boot/$name"
done
