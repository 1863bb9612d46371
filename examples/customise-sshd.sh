#!/bin/sh
# An SSH server in the image. Each image has host keys of its own; a login needs an account:
#
#	vmbuild --image=sshd.img --grub --user=me/secret --customize=customise-sshd.sh
set -e
rootdir=$1
. "$VMBUILD_HOOKS/customise.lib"
trap cleanup 0

export_env
mount_proc
disable_daemons
chroot "$rootdir" apt-get -q -y install openssh-server
