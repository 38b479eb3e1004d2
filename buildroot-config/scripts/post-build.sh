#!/usr/bin/env bash
# Takes from the root what nothing in it needs, and refuses a root with a shell. Buildroot calls it with the root and the
# board, and tells it where all the rest lies.
set -euo pipefail
root=$1
board=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
shells='^(sh|ash|bash|busybox|csh|dash|fish|ksh|mksh|toybox|zsh)$'

recovery=
! grep -q '^BR2_PACKAGE_LLMBASEDOS_RECOVERY=y' "$BR2_CONFIG" || recovery=yes

# Every other program. With a shell to repair with, all of them stay.
if [ -z "$recovery" ]; then
    mkdir -p "$root"/usr/{bin,sbin,libexec}
    (cd "$root" && find usr/bin usr/sbin usr/libexec -mindepth 1 ! -type d | LC_ALL=C sort) |
        LC_ALL=C comm -23 - <(grep -v '^#' "$here/board/programs" | LC_ALL=C sort) |
        while IFS= read -r program; do rm -f "$root/$program"; done
fi

# What belongs to other ways to run a machine: start scripts, accounts, mounts, and what only programs that are gone read.
cd "$root"
rm -rf etc/init.d etc/network etc/profile etc/profile.d etc/shells etc/shadow etc/fstab etc/inittab etc/mke2fs.conf \
    etc/e2scrub.conf etc/ssl/misc etc/ssl/openssl.cnf.dist etc/ssl/ct_log_list.cnf* etc/libnl etc/default \
    etc/dbus-1 etc/wpa_supplicant.conf etc/bash_completion.d etc/udev \
    usr/share/bash-completion usr/share/et usr/share/ss usr/share/dbus-1 usr/share/locale usr/share/doc usr/share/man \
    usr/share/info usr/share/udhcpc usr/share/ca-certificates usr/lib/e2fsprogs usr/lib/udev usr/lib/engines-3 \
    usr/lib/ossl-modules usr/lib/libnl usr/lib/gconv usr/lib/audit media mnt opt root srv
rm -rf usr/share/grub boot
# One file says whom a client trusts; links by hashes are for programs that are not here.
find etc/ssl/certs -type l -delete 2>/dev/null || true
find usr/lib -name '*.pc' -delete
find usr -depth -type d -empty -delete
"$here/scripts/prune-firmware.sh" "$root"
for folder in usr/bin usr/sbin usr/lib dev proc sys run tmp; do mkdir -p "$folder"; done

# Programs that were built outside may be of another machine.
BOARD_NAME='' BOARD_MACHINE=''
for meta in "$here"/board/*/"$board"/meta; do
    # shellcheck disable=SC1090
    . "$meta"
done
for program in usr/bin/* usr/sbin/*; do
    if [ -L "$program" ] || [ ! -f "$program" ]; then continue; fi
    readelf --file-header "$program" | grep -q "Machine:.*$BOARD_MACHINE" || {
        printf 'error: %s is no program for this board (%s)\n' "$program" "$BOARD_NAME" >&2
        printf '  why  readelf does not say "%s" of it\n' "$BOARD_MACHINE" >&2
        printf '  do   build it for the board, or look at BR2_PACKAGE_LLMBASEDOS_PREBUILT and BR2_PACKAGE_OLLAMA_LOCAL\n' >&2
        exit 1
    }
done

[ -n "$recovery" ] || {
    found=$(find . ! -type d -printf '%f\t%p\n' | awk -F '\t' -v shells="$shells" '$1 ~ shells { print $2 }')
    [ -z "$found" ] || {
        printf 'error: there is a shell in the root\n' >&2
        printf '  why  %s\n' "$found" >&2
        printf '  do   leave the package away that it comes from, or ask for BR2_PACKAGE_LLMBASEDOS_RECOVERY\n' >&2
        exit 1
    }
}
