package bootloader

import (
	"slices"

	"vmbuild/partition"
)

// How to add one: a row among its like, with what the package's README.Debian and
// configs/ in /usr/share/doc say: parts, device tree, and where U-Boot saves its environment, which must be over none of the
// parts. The serial port is that of stdout-path in the device tree. Then the sizes of its parts in testdata/u-boot.txt, and
// go test ./bootloader.
var boards = slices.Concat(omapBoards, sunxiBoards, imxBoards, rockchipBoards, sifiveBoards, otherBoards)

// omapBoards are TI's AM335x. Their ROM reads MLO as a file from the first active partition that is a FAT (Technical Reference
// Manual SPRUH73, 26.1.7.5.7, "MMC/SD File System Booting"), or from byte 0, 128, 256 or 384 KiB of the card (26.1.7.5.6). MLO
// looks for u-boot.img at sector 0x300, and then as a file of partition 1. On a FAT the two can be replaced by copying files,
// and U-Boot saves its environment beside them (CONFIG_ENV_IS_IN_FAT).
//
// Linux calls the port ttyO0 where its driver is Debian's, CONFIG_SERIAL_OMAP.
var omapBoards = []Board{
	omap("beaglebone-black", "TI AM335x BeagleBone Black", "am335x_boneblack", "am335x-boneblack.dtb"),
	inRoom(omap("beaglebone-black-raw", "TI AM335x BeagleBone Black", "am335x_boneblack", "am335x-boneblack.dtb"),
		128<<10, 384<<10),
	omap("beaglebone", "TI AM335x BeagleBone", "am335x_evm", "am335x-bone.dtb"),
	omap("beaglebone-green", "TI AM335x BeagleBone Green", "am335x_evm", "am335x-bonegreen.dtb"),
	omap("pocketbeagle", "TI AM335x PocketBeagle", "am335x_evm", "am335x-pocketbeagle.dtb"),
}

func omap(name, title, dir, tree string) Board {
	return Board{
		Name: name, Title: title, Arch: "armhf", Since: "bookworm", Package: "u-boot-omap", Tree: tree,
		Page:  "https://docs.u-boot.org/en/latest/board/ti/am335x_evm.html",
		Parts: []Part{{File: dir + "/MLO", In: "firmware"}, {File: dir + "/u-boot.img", In: "firmware"}},
		Partitions: []partition.Request{{
			Name: "firmware", Role: partition.Firmware, Size: 64 << 20, Filesystem: "vfat", Mount: "/boot/firmware", Active: true,
		}},
		Tables: []string{partition.MSDOS}, Console: "ttyO0",
	}
}

// inRoom has the parts in the room before the first partition, which begins after 4 MiB, instead of on a partition.
func inRoom(b Board, offsets ...int64) Board {
	parts := slices.Clone(b.Parts)
	for i := range parts {
		parts[i].In, parts[i].Offset = "", offsets[i]
	}
	b.Parts, b.Partitions, b.Offset = parts, nil, 4<<20
	return b
}

// sunxiBoards are Allwinner's. Their ROM looks for "eGON.BT0" at 8 KiB, which is among the entries of a gpt; what SPL loads
// follows in the same file. The builds for the 64-bit ones are such a file since trixie.
var sunxiBoards = []Board{
	sunxi("a10-olinuxino-lime", "Olimex A10-OLinuXino-LIME", "A10-OLinuXino-Lime", "sun4i-a10-olinuxino-lime.dtb"),
	sunxi("a10s-olinuxino-micro", "Olimex A10s-Olinuxino Micro", "A10s-OLinuXino-M", "sun5i-a10s-olinuxino-micro.dtb"),
	sunxi("a20-olinuxino-lime", "Olimex A20-OLinuXino-LIME", "A20-OLinuXino-Lime", "sun7i-a20-olinuxino-lime.dtb"),
	sunxi("a20-olinuxino-lime2", "Olimex A20-OLinuXino-LIME2", "A20-OLinuXino-Lime2", "sun7i-a20-olinuxino-lime2.dtb"),
	sunxi("a20-olinuxino-lime2-emmc", "Olimex A20-OLinuXino-LIME2-eMMC", "A20-OLinuXino-Lime2-eMMC",
		"sun7i-a20-olinuxino-lime2-emmc.dtb"),
	sunxi("a20-olinuxino-micro", "Olimex A20-Olinuxino Micro", "A20-OLinuXino_MICRO", "sun7i-a20-olinuxino-micro.dtb"),
	sunxi("a20-olinuxino-micro-emmc", "Olimex A20-OLinuXino-MICRO-eMMC", "A20-OLinuXino_MICRO-eMMC",
		"sun7i-a20-olinuxino-micro-emmc.dtb"),
	sunxi("a20-som-evb", "Olimex A20-Olimex-SOM-EVB", "A20-Olimex-SOM-EVB", "sun7i-a20-olimex-som-evb.dtb"),
	sunxi("bananapi", "LeMaker Banana Pi", "Bananapi", "sun7i-a20-bananapi.dtb"),
	sunxi("bananapi-m2-berry", "Banana Pi M2 Berry", "bananapi_m2_berry", "sun8i-v40-bananapi-m2-berry.dtb"),
	sunxi("bananapi-m2-ultra", "Banana Pi BPI-M2-Ultra", "Bananapi_M2_Ultra", "sun8i-r40-bananapi-m2-ultra.dtb"),
	sunxi("bananapi-m3", "Banana Pi BPI-M3", "Sinovoip_BPI_M3", "sun8i-a83t-bananapi-m3.dtb"),
	sunxi("bananapro", "LeMaker Banana Pro", "Bananapro", "sun7i-a20-bananapro.dtb"),
	sunxi("cubieboard", "Cubietech Cubieboard", "Cubieboard", "sun4i-a10-cubieboard.dtb"),
	sunxi("cubieboard2", "Cubietech Cubieboard2", "Cubieboard2", "sun7i-a20-cubieboard2.dtb"),
	sunxi("cubieboard4", "Cubietech Cubieboard4", "Cubieboard4", "sun9i-a80-cubieboard4.dtb"),
	sunxi("cubietruck", "Cubietech Cubietruck", "Cubietruck", "sun7i-a20-cubietruck.dtb"),
	sunxi("cubietruck-plus", "Cubietech Cubietruck Plus", "Cubietruck_plus", "sun8i-a83t-cubietruck-plus.dtb"),
	sunxi("lamobo-r1", "Lamobo R1", "Lamobo_R1", "sun7i-a20-lamobo-r1.dtb"),
	sunxi("mini-xplus", "PineRiver Mini X-Plus", "Mini-X", "sun4i-a10-mini-xplus.dtb"),
	sunxi("nanopi-neo", "FriendlyARM NanoPi NEO", "nanopi_neo", "sun8i-h3-nanopi-neo.dtb"),
	sunxi("nanopi-neo-air", "FriendlyARM NanoPi NEO Air", "nanopi_neo_air", "sun8i-h3-nanopi-neo-air.dtb"),
	// The Orange Pi PC is the PC Plus without eMMC and wireless network, and Debian has U-Boot for that one.
	named(since("trixie", sunxi("orangepi-pc", "Xunlong Orange Pi PC", "orangepi_pc_plus", "sun8i-h3-orangepi-pc.dtb"))),
	since("trixie", sunxi("orangepi-pc-plus", "Xunlong Orange Pi PC Plus", "orangepi_pc_plus", "sun8i-h3-orangepi-pc-plus.dtb")),
	sunxi("orangepi-plus", "Xunlong Orange Pi Plus / Plus 2", "orangepi_plus", "sun8i-h3-orangepi-plus.dtb"),
	sunxi("orangepi-zero", "Xunlong Orange Pi Zero", "orangepi_zero", "sun8i-h2-plus-orangepi-zero.dtb"),
	sunxi("pcduino", "LinkSprite pcDuino", "Linksprite_pcDuino", "sun4i-a10-pcduino.dtb"),
	sunxi("pcduino3", "LinkSprite pcDuino3", "Linksprite_pcDuino3", "sun7i-a20-pcduino3.dtb"),

	sunxi64("a64-olinuxino", "Olimex A64-Olinuxino", "a64-olinuxino", "sun50i-a64-olinuxino.dtb"),
	sunxi64("a64-olinuxino-emmc", "Olimex A64-Olinuxino-eMMC", "a64-olinuxino-emmc", "sun50i-a64-olinuxino-emmc.dtb"),
	sunxi64("nanopi-neo2", "FriendlyARM NanoPi NEO 2", "nanopi_neo2", "sun50i-h5-nanopi-neo2.dtb"),
	sunxi64("nanopi-neo-plus2", "FriendlyARM NanoPi NEO Plus2", "nanopi_neo_plus2", "sun50i-h5-nanopi-neo-plus2.dtb"),
	sunxi64("orangepi-one-plus", "OrangePi One Plus", "orangepi_one_plus", "sun50i-h6-orangepi-one-plus.dtb"),
	sunxi64("orangepi-zero-plus2", "OrangePi Zero Plus2", "orangepi_zero_plus2", "sun50i-h5-orangepi-zero-plus2.dtb"),
	sunxi64("pine64", "Pine64 PINE A64+", "pine64_plus", "sun50i-a64-pine64-plus.dtb"),
	sunxi64("pine64-lts", "Pine64 PINE A64 LTS", "pine64-lts", "sun50i-a64-pine64-lts.dtb"),
	sunxi64("pinebook", "Pine64 Pinebook", "pinebook", "sun50i-a64-pinebook.dtb"),
	sunxi64("pinephone", "Pine64 PinePhone (1.2)", "pinephone", "sun50i-a64-pinephone-1.2.dtb"),
	sunxi64("pinetab", "Pine64 PineTab Developer Sample", "pinetab", "sun50i-a64-pinetab.dtb"),
	sunxi64("sopine", "Pine64 SOPINE on Baseboard carrier board", "sopine_baseboard", "sun50i-a64-sopine-baseboard.dtb"),
	sunxi64("teres-i", "Olimex A64 Teres-I", "teres_i", "sun50i-a64-teres-i.dtb"),
}

func sunxi(name, title, dir, tree string) Board {
	return Board{
		Name: name, Title: title, Arch: "armhf", Since: "bookworm", Package: "u-boot-sunxi", Tree: tree,
		Page:   "https://docs.u-boot.org/en/latest/board/allwinner/sunxi.html",
		Parts:  []Part{{File: dir + "/u-boot-sunxi-with-spl.bin", Offset: 8 << 10}},
		Tables: []string{partition.MSDOS}, Offset: 4 << 20, Console: "ttyS0",
	}
}

func sunxi64(name, title, dir, tree string) Board {
	b := since("trixie", sunxi(name, title, dir, "allwinner/"+tree))
	b.Arch = "arm64"
	return b
}

func since(release string, b Board) Board {
	b.Since = release
	return b
}

func named(b Board) Board {
	b.Named = true
	return b
}

// imxBoards are NXP's i.MX6. Their ROM looks for an image vector table, with which SPL begins, at 1 KiB (Applications Processor
// Reference Manual, 8.7.1, "Image Vector Table and Boot Data"), where a gpt has its header; SPL looks for u-boot.img at sector
// 0x8a (U-Boot's doc/imx/common/imx6.txt).
var imxBoards = []Board{
	imx("cubox-i", "SolidRun Cubox-i and HummingBoard", "mx6cuboxi", "imx6q-cubox-i.dtb", "ttymxc0"),
	imx("udoo", "Udoo i.MX6 Quad Board", "udoo", "imx6q-udoo.dtb", "ttymxc1"),
	imx("wandboard", "Wandboard i.MX6 Quad Board", "wandboard", "imx6q-wandboard.dtb", "ttymxc0"),
}

func imx(name, title, dir, tree, console string) Board {
	return Board{
		Name: name, Title: title, Arch: "armhf", Since: "bookworm", Package: "u-boot-imx", Tree: tree,
		Page:   "https://salsa.debian.org/debian/u-boot/-/blob/debian/latest/debian/u-boot-imx.README.Debian",
		Parts:  []Part{{File: dir + "/SPL", Offset: 1 << 10}, {File: dir + "/u-boot.img", Offset: 0x8a * sector}},
		Tables: []string{partition.MSDOS}, Offset: 4 << 20, Console: console,
	}
}

// rockchipBoards have a ROM that looks at sector 64, behind the entries of a gpt; what is there looks for U-Boot at 8 MiB, but
// for the last one. Before 4 MiB U-Boot saves its environment (CONFIG_ENV_OFFSET).
var rockchipBoards = []Board{
	rockchip("firefly-rk3399", "Firefly-RK3399 Board", "firefly-rk3399", "rk3399-firefly.dtb"),
	rockchip("nanopc-t4", "FriendlyElec NanoPC-T4", "nanopc-t4-rk3399", "rk3399-nanopc-t4.dtb"),
	rockchip("nanopi-neo4", "FriendlyARM NanoPi NEO4", "nanopi-neo4-rk3399", "rk3399-nanopi-neo4.dtb"),
	rockchip("pinebook-pro", "Pine64 Pinebook Pro", "pinebook-pro-rk3399", "rk3399-pinebook-pro.dtb"),
	rockchip("roc-pc", "Firefly ROC-RK3399-PC Board", "roc-pc-rk3399", "rk3399-roc-pc.dtb"),
	since("trixie", rockchip("rock-4se", "Radxa ROCK 4SE", "rock-4se-rk3399", "rk3399-rock-4se.dtb")),
	rockchip("rock-pi-4", "Radxa ROCK Pi 4B", "rock-pi-4-rk3399", "rk3399-rock-pi-4b.dtb"),
	rockchip("rock-pi-e", "Radxa ROCK Pi E", "rock-pi-e-rk3328", "rk3328-rock-pi-e.dtb"),
	rockchip("rock64", "Pine64 Rock64", "rock64-rk3328", "rk3328-rock64.dtb"),
	rockchip("rockpro64", "Pine64 RockPro64 v2.1", "rockpro64-rk3399", "rk3399-rockpro64.dtb"),
	{
		Name: "puma", Title: "Theobroma Systems RK3399-Q7 SoM", Arch: "arm64", Since: "bookworm",
		Page:    "https://docs.u-boot.org/en/latest/board/theobroma-systems/puma_rk3399.html",
		Package: "u-boot-rockchip", Tree: "rockchip/rk3399-puma-haikou.dtb",
		Parts: []Part{
			{File: "puma-rk3399/idbloader.img", Offset: 64 * sector}, {File: "puma-rk3399/u-boot.itb", Offset: 512 * sector},
		},
		Tables: []string{partition.GPT, partition.MSDOS}, Offset: 16 << 20, Console: "ttyS0",
	},
	{
		Name: "firefly-rk3288", Title: "Firefly-RK3288", Arch: "armhf", Since: "bookworm",
		Page:    rockchipPage,
		Package: "u-boot-rockchip", Tree: "rk3288-firefly.dtb",
		Parts: []Part{
			{File: "firefly-rk3288/idbloader.img", Offset: 64 * sector}, {File: "firefly-rk3288/u-boot.img", Offset: 16384 * sector},
		},
		Tables: []string{partition.GPT, partition.MSDOS}, Offset: 16 << 20, Console: "ttyS2",
	},
}

const rockchipPage = "https://docs.u-boot.org/en/latest/board/rockchip/rockchip.html"

func rockchip(name, title, dir, tree string) Board {
	return Board{
		Name: name, Title: title, Arch: "arm64", Since: "bookworm", Package: "u-boot-rockchip", Tree: "rockchip/" + tree,
		Page:   rockchipPage,
		Parts:  []Part{{File: dir + "/idbloader.img", Offset: 64 * sector}, {File: dir + "/u-boot.itb", Offset: 16384 * sector}},
		Tables: []string{partition.GPT, partition.MSDOS}, Offset: 16 << 20, Console: "ttyS2", Speed: 1500000,
	}
}

// sifiveBoards have a ROM that starts the partition of a type of its own; SPL looks for u-boot.itb at sector 0x822, which is
// before the first partition here.
var sifiveBoards = []Board{
	sifive("hifive-unleashed", "SiFive HiFive Unleashed A00", "unleashed"),
	sifive("hifive-unmatched", "SiFive HiFive Unmatched A00", "unmatched"),
}

func sifive(name, title, kind string) Board {
	return Board{
		Name: name, Title: title, Arch: "riscv64", Since: "trixie", Package: "u-boot-sifive",
		Tree: "sifive/hifive-" + kind + "-a00.dtb",
		Page: "https://docs.u-boot.org/en/latest/board/sifive/" + kind + ".html",
		Parts: []Part{
			{File: "sifive_" + kind + "/u-boot-spl.bin", In: "spl"}, {File: "sifive_" + kind + "/u-boot.itb", Offset: 0x822 * sector},
		},
		Partitions: []partition.Request{{Name: "spl", Role: partition.FSBL, Size: 1 << 20}},
		Tables:     []string{partition.GPT}, Offset: 4 << 20, Console: "ttySIF0",
	}
}

// otherBoards have U-Boot on partitions alone. The ROM of the VisionFive 2 looks for the first one's type, and SPL for
// partition 2; that of an STM32MP1 looks for names, and SPL for partition 3.
var otherBoards = []Board{
	{
		Name: "stm32mp157c-dk2", Title: "STMicroelectronics STM32MP157C-DK2 Discovery Board", Arch: "armhf", Since: "bookworm",
		Page:    "https://docs.u-boot.org/en/latest/board/st/stm32mp1.html",
		Package: "u-boot-stm32", Tree: "stm32mp157c-dk2.dtb",
		Parts: []Part{
			{File: "stm32mp157c-dk2/u-boot-spl.stm32", In: "fsbl1"}, {File: "stm32mp157c-dk2/u-boot-spl.stm32", In: "fsbl2"},
			{File: "stm32mp157c-dk2/u-boot.img", In: "ssbl"},
		},
		Partitions: []partition.Request{
			{Name: "fsbl1", Role: partition.Firmware, Size: 1 << 20}, {Name: "fsbl2", Role: partition.Firmware, Size: 1 << 20},
			{Name: "ssbl", Role: partition.Firmware, Size: 2 << 20},
		},
		Tables: []string{partition.GPT}, Console: "ttySTM0",
	},
	{
		Name: "visionfive2", Title: "StarFive VisionFive 2 v1.3B", Arch: "riscv64", Since: "trixie",
		Page:    "https://docs.u-boot.org/en/latest/board/starfive/visionfive2.html",
		Package: "u-boot-starfive", Tree: "starfive/jh7110-starfive-visionfive-2-v1.3b.dtb",
		Parts: []Part{
			{File: "starfive_visionfive2/u-boot-spl.bin.normal.out", In: "spl"}, {File: "starfive_visionfive2/u-boot.itb", In: "u-boot"},
		},
		Partitions: []partition.Request{
			{Name: "spl", Role: partition.BBL, Size: 2 << 20}, {Name: "u-boot", Role: partition.Firmware, Size: 4 << 20},
		},
		Tables: []string{partition.GPT}, Console: "ttyS0",
	},
}
