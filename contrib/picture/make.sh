#!/usr/bin/env bash
# Makes the pictures in the README from the content of a tmux screen.
#
#   contrib/picture/make.sh demo [FILE]     docs/demo.svg: contrib/demo.sh after 20 seconds
#   contrib/picture/make.sh themes [FILE]   docs/themes.svg: `ccstatusd show --preview`
#
# Needs tmux, and everything that demo.sh needs.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
which=${1:-}
picture=${2:-$here/../../docs/$which.svg}
case $which in
    demo) columns=118 rows=20 seconds=20 ;;
    themes) columns=118 rows=42 seconds=2 ;;
    *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

# A tmux server of its own, so that the caller's sessions and configuration are left alone.
socket=ccstatusd-picture-$$
work=$(mktemp -d)
stop() {
    # On Ctrl-C demo.sh removes its sandbox and exits. The tmux server exits with its last program.
    tmux -L "$socket" send-keys -t demo C-c 2>/dev/null || true
    for _ in $(seq 40); do
        tmux -L "$socket" has-session -t demo 2>/dev/null || break
        sleep 0.1
    done
    tmux -L "$socket" kill-server 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# Builds before the recording starts, so that the picture does not show the compiler.
if [ -z "${CCSTATUSD:-}" ]; then
    (cd "$here/../.." && cargo build --release)
    CCSTATUSD=$here/../../target/release/ccstatusd
fi
export CCSTATUSD

# Without RGB, tmux would replace each colour by the nearest of 256.
cat >"$work/tmux.conf" <<'CONF'
set -g default-terminal "tmux-256color"
set -as terminal-features ",*:RGB"
set -g status off
CONF
unset NO_COLOR TMUX
case $which in
    demo) screen="exec '$here/../demo.sh' --seconds 60" ;;
    # An empty home has no configuration. Then the preview has the default theme twice: as preset and
    # as palette `terminal`. sed removes the second one.
    themes) screen="HOME='$work' COLUMNS=$((columns - 2)) '$CCSTATUSD' show --preview |
        sed -n '/preset default/,/palette terminal/{/palette/!p}'; exec sleep 60" ;;
esac
LC_ALL=C.UTF-8 COLORTERM=truecolor tmux -L "$socket" -f "$work/tmux.conf" \
    new-session -d -s demo -x "$columns" -y "$rows" "$screen"
sleep "$seconds"
tmux -L "$socket" capture-pane -t demo -ep >"$work/screen"

mkdir -p "$(dirname "$picture")"
python3 "$here/screen_to_svg.py" --title "ccstatusd" --columns "$columns" \
    <"$work/screen" >"$work/picture.svg"
mv "$work/picture.svg" "$picture"
echo "$picture"
