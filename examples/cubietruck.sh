#!/bin/sh
# An image for the Cubietruck (Allwinner A20), with Debian's own U-Boot and kernel:
#
#	examples/cubietruck.sh cubietruck.img --user=me/secret --sudo
#
# Further arguments are options of vmbuild. What comes out is cubietruck.img, to be copied to an SD card, which the board
# prefers to its NAND. For another board of Allwinner's, take its directory of the package u-boot-sunxi.
#
# Where U-Boot goes, SPL and all: at 8 KiB, where the boot ROM of all these chips looks for "eGON.BT0" (U-Boot's
# documentation, board/allwinner/sunxi, "Installing on a (micro-) SD card").
set -eu
package=u-boot-sunxi
console=ttyS0,115200
loaders='8:Cubietruck/u-boot-sunxi-with-spl.bin'

# shellcheck source=board.lib
. "$(dirname -- "$0")/board.lib"
