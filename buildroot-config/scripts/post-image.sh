#!/usr/bin/env bash
# Holds the kernel against its fragments, and has the disk made of what was built. Buildroot calls it with the folder of
# images and the board.
set -euo pipefail
board=$2

image=${LLMBASEDOS_IMAGE:-$BR2_EXTERNAL_LLMBASEDOS_PATH/../target/debug/image}
[ -x "$image" ] || {
    printf 'error: nothing is there that makes a disk of this\n' >&2
    printf '  why  LLMBASEDOS_IMAGE does not name the program, and %s is not built\n' "$image" >&2
    printf '  do   build it in the checkout (cargo build --package image), or let scripts/build-image do all of this\n' >&2
    exit 1
}

# Buildroot calls the folder so; a kernel that was unpacked elsewhere (LINUX_OVERRIDE_SRCDIR) is `custom`.
kernel=$BUILD_DIR/linux-$(sed -n 's/^BR2_LINUX_KERNEL_VERSION="\(.*\)"$/\1/p' "$BR2_CONFIG")/.config
[ -f "$kernel" ] || kernel=$BUILD_DIR/linux-custom/.config
"$image" buildroot check-kernel --buildroot-config "$BR2_CONFIG" --kernel-config "$kernel" \
    --external "$BR2_EXTERNAL_LLMBASEDOS_PATH"

"$image" product --board "$board" --images "$BINARIES_DIR" --target "$TARGET_DIR" --host "$HOST_DIR" \
    --output "$BINARIES_DIR/llmbasedos" ${LLMBASEDOS_STARTER_MODEL:+--starter-model "$LLMBASEDOS_STARTER_MODEL"}
