#!/bin/sh
# An image for the BeagleBone Black (TI AM335x), with Debian's own U-Boot and kernel:
#
#	examples/beaglebone-black.sh beaglebone.img --user=me/secret --sudo
#
# Further arguments are options of vmbuild. What comes out is beaglebone.img, to be copied to an SD card; the board starts
# from the card while button S2 (boot) is held at power-on, else from its eMMC. The console is that of the six pins J1.
#
# Where the parts of U-Boot go: the boot ROM tries 0, 128, 256 and 384 KiB for MLO (AM335x Technical Reference Manual,
# SPRUH73, "MMC/SD Read Sector Procedure in Raw Mode"); MLO looks for u-boot.img at sector 0x300
# (CONFIG_SYS_MMCSD_RAW_MODE_U_BOOT_SECTOR of U-Boot's am335x_evm_defconfig), and that goes on beyond 1 MiB.
#
# Debian's kernel has the driver that calls the port ttyO0 (CONFIG_SERIAL_OMAP).
set -eu
package=u-boot-omap
console=ttyO0,115200n8
loaders='128:am335x_boneblack/MLO 384:am335x_boneblack/u-boot.img'

# shellcheck source=board.lib
. "$(dirname -- "$0")/board.lib"
