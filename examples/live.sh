#!/bin/sh
# A live system for PCs, which starts from a disc or a USB stick by BIOS and by UEFI, and forgets at its end what was done:
#
#	examples/live.sh live.iso --package=openssh-client
#
# Further arguments are options of "vmbuild build". What comes out is live.iso: burn it, or copy it to a stick as it is
# (dd if=live.iso of=/dev/sdX bs=4M). The account is "user" with the password "live" and may use sudo; root cannot log in.
set -eu
if [ "$#" -eq 0 ]; then
	echo "usage: $0 IMAGE [OPTION OF VMBUILD]..." >&2
	exit 2
fi
image=$1
shift

# What the image is made of is kept only as long as it takes.
parts=$(mktemp -d -- "$image.XXXXXX")
trap 'rm -rf -- "$parts"' EXIT
trap 'exit 1' HUP INT TERM

"${VMBUILD:-vmbuild}" build --squash="$parts/live" --arch=amd64 --package=live-boot \
	--user=user/live --sudo --lock-root-password "$@"
if [ -d "$parts/live" ]; then # it is not after --dry-run
	"${VMBUILD:-vmbuild}" live --arch=amd64 "$parts/live" "$image"
fi
