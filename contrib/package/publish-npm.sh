#!/usr/bin/env bash
# Publishes the packages for npm: the programs first, and the package that users name only when the
# registry has each program that it depends on.
#
#   contrib/package/publish-npm.sh DIR [OPTION…]
#
# DIR has what build.sh wrote. Options are passed to `npm publish`, as `--dry-run` and `--tag next`.

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -ge 1 ] || fail "usage: publish-npm.sh DIR [OPTION…]"
dir=$1
shift
wrapper=$dir/ccstatusd-$version.tgz
[ -f "$wrapper" ] || fail "there is no $wrapper"
programs=$(tar -xzOf "$wrapper" package/package.json | python3 -c "import json, sys
print('\n'.join(json.load(sys.stdin)['optionalDependencies']))")
for name in $programs; do
    [ -f "$dir/$name-$version.tgz" ] || fail "there is no $dir/$name-$version.tgz"
done

is_published() { npm view "$1@$version" version 2>/dev/null | grep -qxF "$version"; }

for name in $programs; do
    # A run that failed half-way can be repeated.
    is_published "$name" || npm publish "$dir/$name-$version.tgz" --access public "$@"
done
case " $* " in
*" --dry-run "*) ;;
*)
    for name in $programs; do
        n_tries=0
        # The registry shows a package some seconds after it took it.
        until is_published "$name"; do
            n_tries=$((n_tries + 1))
            [ "$n_tries" -lt 30 ] || fail "the registry has no $name $version: ccstatusd is not published"
            sleep 2
        done
    done
    ;;
esac
npm publish "$wrapper" --access public "$@"
