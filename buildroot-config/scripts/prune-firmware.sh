#!/usr/bin/env bash
# Takes away the firmware of radios that no module of this kernel asks for: `prune-firmware.sh ROOT`. What a module names
# stays; of what it names by a version, the newest one that is there and not newer than that.
set -euo pipefail
cd "$1/usr/lib/firmware" 2>/dev/null || exit 0

asked=$(find ../modules -name '*.ko*' -exec modinfo --field firmware {} \; | sort -u)
kept=()
while IFS= read -r name; do
    if [[ $name =~ ^(iwlwifi-.+)-c?([0-9]+)\.ucode$ ]]; then
        family=${BASH_REMATCH[1]} most=${BASH_REMATCH[2]} newest=-1 best=
        for file in "$family"-*.ucode intel/iwlwifi/"$family"-*.ucode; do
            version=${file##*-} version=${version%.ucode} version=${version#c}
            [[ -e $file && $version =~ ^[0-9]+$ ]] || continue
            ((version > most || version <= newest)) || newest=$version best=$file
        done
        [ -z "$best" ] || kept+=("$best")
    else
        kept+=("$name")
    fi
done <<<"$asked"

# A link, and what it leads to.
for file in "${kept[@]}"; do
    [ ! -e "$file" ] || printf '%s\n' "$file" "$(realpath --relative-to . "$file")"
done | LC_ALL=C sort -u >.kept
find . -regextype posix-extended -regex './(iwlwifi-[^/]*\.ucode|(intel/iwlwifi|rtw88|rtw89|ath10k|mediatek)/.*\.(ucode|bin))' \
    -printf '%P\n' | LC_ALL=C sort | LC_ALL=C comm -23 - .kept | while IFS= read -r file; do rm "$file"; done
rm .kept
find . -xtype l -delete
