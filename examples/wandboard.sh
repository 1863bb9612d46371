#!/bin/sh
# An image for the Wandboard (NXP i.MX6, all three kinds), with Debian's own U-Boot and kernel:
#
#	examples/wandboard.sh wandboard.img --user=me/secret --sudo
#
# Further arguments are options of vmbuild. What comes out is wandboard.img, to be copied to the SD card in the slot of the
# processor's module. The console is the connector for RS-232.
#
# Where the parts of U-Boot go: the boot ROM looks for the image vector table, with which SPL begins, at 1 KiB (i.MX 6Dual/
# 6Quad Applications Processor Reference Manual, "Image Vector Table and Boot Data"); SPL looks for u-boot.img at
# sector 0x8a, 69 KiB (U-Boot's doc/imx/common/imx6.txt).
set -eu
package=u-boot-imx
console=ttymxc0,115200
loaders='1:wandboard/SPL 69:wandboard/u-boot.img'

# shellcheck source=board.lib
. "$(dirname -- "$0")/board.lib"
