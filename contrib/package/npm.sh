#!/usr/bin/env bash
# Builds the packages for npm: one for each target, with the program in it, and the one that users
# name, which depends on them and starts the program.
#
#   contrib/package/npm.sh OUT TARGET=PROGRAM…
#
# No package has a script that npm would run at installation.

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -ge 2 ] || fail "usage: npm.sh OUT TARGET=PROGRAM…"
out=$(realpath "$1")
shift

names=()
for each; do
    target=${each%%=*} program=${each#*=}
    case $target in
    x86_64-*-linux-*) os=linux cpu=x64 ;;
    aarch64-*-linux-*) os=linux cpu=arm64 ;;
    x86_64-apple-darwin) os=darwin cpu=x64 ;;
    aarch64-apple-darwin) os=darwin cpu=arm64 ;;
    *) fail "npm has no name for $target" ;;
    esac
    name=ccstatusd-$os-$cpu
    names+=("$name")
    package=$scratch/$name
    mkdir -p "$package/bin"
    install -m 755 "$program" "$package/bin/ccstatusd"
    cp LICENSE-APACHE LICENSE-MIT "$package"
    echo "The program of [ccstatusd]($repository) for $os on $cpu. Install \`ccstatusd\`, which brings it." \
        >"$package/README.md"
    cat >"$package/package.json" <<END
{
  "name": "$name",
  "version": "$version",
  "description": "ccstatusd for $os on $cpu",
  "license": "MIT OR Apache-2.0",
  "repository": { "type": "git", "url": "git+$repository.git" },
  "os": ["$os"],
  "cpu": ["$cpu"],
  "files": ["bin", "LICENSE-*"],
  "preferUnplugged": true
}
END
done

package=$scratch/ccstatusd
cp -R contrib/npm/ccstatusd "$package"
cp LICENSE-APACHE LICENSE-MIT "$package"
chmod 755 "$package/bin/ccstatusd.js"
python3 - "$package/package.json" "$version" "$repository" "${names[@]}" <<'END'
import json, pathlib, sys
path, version, repository, *names = sys.argv[1:]
manifest = json.loads(pathlib.Path(path).read_text())
manifest["version"] = version
manifest["repository"] = {"type": "git", "url": f"git+{repository}.git"}
manifest["optionalDependencies"] = {name: version for name in names}
pathlib.Path(path).write_text(json.dumps(manifest, indent=2) + "\n")
END
for name in "${names[@]}" ccstatusd; do
    (cd "$scratch/$name" && npm pack --silent --ignore-scripts --pack-destination "$out" >/dev/null)
done
