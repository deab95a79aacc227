#!/usr/bin/env bash
# Builds the package for Debian and its descendants.
#
#   contrib/package/deb.sh TARGET PROGRAM FILES OUT
#
# FILES has the man pages and completions. The name and the address of the maintainer are those in
# DEBFULLNAME and DEBEMAIL. It needs only dpkg-deb: the tools that build Debian's own packages would
# build the program as well.

# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 4 ] || fail "usage: deb.sh TARGET PROGRAM FILES OUT"
target=$1 program=$2 files=$3 out=$4
case $target in
x86_64-*) architecture=amd64 ;;
aarch64-*) architecture=arm64 ;;
*) fail "Debian has no architecture for $target" ;;
esac

maintainer="${DEBFULLNAME:-The ccstatusd contributors} <${DEBEMAIL:-ccstatusd@example.com}>"
root=$scratch/root
documentation=$root/usr/share/doc/ccstatusd

install -D -m 755 "$program" "$root/usr/bin/ccstatusd"

# The comment at its beginning is for those who install the unit by hand.
mkdir -p "$root/usr/lib/systemd/user"
sed -n '/^\[Unit\]/,$ { s|^ExecStart=[^ ]*|ExecStart=/usr/bin/ccstatusd|; p }' \
    contrib/systemd/ccstatusd.service >"$root/usr/lib/systemd/user/ccstatusd.service"
grep -q '^ExecStart=/usr/bin/ccstatusd' "$root/usr/lib/systemd/user/ccstatusd.service" ||
    fail "the systemd unit has no ExecStart"

mkdir -p "$root/usr/share/man/man1"
for page in "$files"/man/*.1; do
    gzip -9nc "$page" >"$root/usr/share/man/man1/${page##*/}.gz"
done
completions=$files/completions
install -D -m 644 "$completions/ccstatusd.bash" "$root/usr/share/bash-completion/completions/ccstatusd"
install -D -m 644 "$completions/_ccstatusd" "$root/usr/share/zsh/vendor-completions/_ccstatusd"
install -D -m 644 "$completions/ccstatusd.fish" "$root/usr/share/fish/vendor_completions.d/ccstatusd.fish"
install -D -m 644 "$completions/ccstatusd.nu" "$root/usr/share/nushell/vendor/autoload/ccstatusd.nu"

mkdir -p "$documentation/examples"
cp README.md docs/config.schema.json "$documentation"
cp -R contrib/systemd/hardening.conf contrib/statusline.sh contrib/line "$documentation/examples"
gzip -9nc CHANGELOG.md >"$documentation/CHANGELOG.md.gz"
gzip -9nc >"$documentation/changelog.gz" <<END
ccstatusd ($version) unstable; urgency=medium

  * CHANGELOG.md beside this file says what has changed.

 -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END
cat >"$documentation/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ccstatusd
Source: $repository

Files: *
Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE-MIT)
License: Expat or Apache-2.0

License: Apache-2.0
 On Debian systems, the text of the licence is in /usr/share/common-licenses/Apache-2.0.

License: Expat
$(sed -n '/^Permission is hereby/,$ { s/^$/./; s/^/ /; p }' LICENSE-MIT)
END
install -D -m 644 contrib/package/debian/lintian-overrides "$root/usr/share/lintian/overrides/ccstatusd"

mkdir "$root/DEBIAN"
install -m 755 contrib/package/debian/prerm "$root/DEBIAN/prerm"
cat >"$root/DEBIAN/control" <<END
Package: ccstatusd
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f 1)
Recommends: git
Section: utils
Priority: optional
Homepage: $repository
Description: status daemon for Claude Code
 One small process for each user keeps model, directory, git state, context,
 cost and limits of every Claude Code session up to date in one file. The
 status line only reads that file.
 .
 The watcher is started for a user by "systemctl --user enable --now ccstatusd".
END
chmod -R u=rwX,go=rX "$root"
chmod 644 "$root/usr/lib/systemd/user/ccstatusd.service"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root/DEBIAN/md5sums" "$root/DEBIAN/control"
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/ccstatusd_${version}_$architecture.deb" >"$scratch/said" ||
    fail "$(cat "$scratch/said")"
