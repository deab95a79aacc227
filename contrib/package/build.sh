#!/usr/bin/env bash
# Builds everything that a release consists of, and its checksums.
#
#   contrib/package/build.sh [--out DIR] [TARGET | TARGET=PROGRAM]…
#
# For each target there is an archive, which has the name that cargo-binstall looks for, and a
# package for npm; for each one for Linux there is also a .deb. A program that is built already, as
# on another machine, is named after `=`. Without targets, the static ones for Linux are built.
# DIR is target/packages unless it is set.

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

out=${CARGO_TARGET_DIR:-target}/packages
if [ "${1:-}" = --out ]; then
    out=$2
    shift 2
fi
[ $# -gt 0 ] || set -- x86_64-unknown-linux-musl aarch64-unknown-linux-musl
mkdir -p "$out"
# What an earlier version left would get into the checksums.
rm -f "$out"/*.tar.gz "$out"/*.deb "$out"/*.tgz "$out/SHA256SUMS"

files=$scratch/files
date=$(python3 -c "import datetime, os
now = datetime.datetime.fromtimestamp(int(os.environ['SOURCE_DATE_EPOCH']), datetime.timezone.utc)
print(now.date())")
cargo run --quiet --locked --example package -- files "$files" "$date"

programs=()
for each; do
    target=${each%%=*}
    if [ "$each" != "$target" ]; then
        program=${each#*=}
    else
        # Nothing in it is written in C, so the linker that comes with Rust will do for another
        # processor.
        case $target in
        "$(uname -m)"-*) ;;
        *-musl) export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=rust-lld" ;;
        esac
        cargo build --locked --release --bin ccstatusd --target "$target"
        program=${CARGO_TARGET_DIR:-target}/$target/release/ccstatusd
    fi
    [ -x "$program" ] || fail "there is no program $program"
    contrib/package/archive.sh "$target" "$program" "$files" "$out"
    case $target in
    *linux*) contrib/package/deb.sh "$target" "$program" "$files" "$out" ;;
    esac
    programs+=("$target=$program")
done
contrib/package/npm.sh "$out" "${programs[@]}"

cd "$out"
sums=$(python3 -c "import hashlib, pathlib
for path in sorted(pathlib.Path().glob('*')):
    print(hashlib.sha256(path.read_bytes()).hexdigest(), '', path)")
echo "$sums" >SHA256SUMS
cat SHA256SUMS
