# Read by the scripts beside this file, which run in the repository's root.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

manifest() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" Cargo.toml | head -n 1; }

# shellcheck disable=SC2034 # for the scripts that read this
version=$(manifest version)
# shellcheck disable=SC2034
repository=$(manifest repository)
# The same source gives the same packages, whenever they are built.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)
fi
export SOURCE_DATE_EPOCH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "$0: $*" >&2
    exit 2
}
