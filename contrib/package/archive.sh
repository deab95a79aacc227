#!/usr/bin/env bash
# Builds the archive for one target.
#
#   contrib/package/archive.sh TARGET PROGRAM FILES OUT
#
# FILES has the man pages and completions. cargo-binstall knows the archive by its name, and the
# program in it by its folder; Cargo.toml tells it both.

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 4 ] || fail "usage: archive.sh TARGET PROGRAM FILES OUT"
target=$1 program=$2 files=$3 out=$4

name=ccstatusd-$version-$target
root=$scratch/$name
mkdir -p "$root"
install -m 755 "$program" "$root/ccstatusd"
cp -R "$files/man" "$files/completions" "$root"
cp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT docs/config.schema.json "$root"
mkdir "$root/contrib"
cp -R contrib/systemd contrib/launchd contrib/autostart contrib/line contrib/statusline.sh \
    "$root/contrib"
chmod -R u=rwX,go=rX "$root"
tar -C "$scratch" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
