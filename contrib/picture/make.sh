#!/usr/bin/env bash
# Makes docs/demo.svg, the picture in the README: the screen of contrib/demo.sh after 20 seconds,
# as tmux has it. Nothing in it is drawn by hand.
#
#   contrib/picture/make.sh [FILE]      needs tmux, and what demo.sh needs

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
picture=${1:-$here/../../docs/demo.svg}
columns=${COLUMNS_OF_PICTURE:-118}
seconds=20

# A server of its own: the caller's tmux, its configuration and its sessions stay out of it.
socket=ccstatusd-picture-$$
work=$(mktemp -d)
stop() {
    # Ended by its own request, the demonstration clears its sandbox away; the server ends with it.
    tmux -L "$socket" send-keys -t demo C-c 2>/dev/null || true
    for _ in $(seq 40); do
        tmux -L "$socket" has-session -t demo 2>/dev/null || break
        sleep 0.1
    done
    tmux -L "$socket" kill-server 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# Built first, so that the picture is not one of a compiler.
if [ -z "${CCSTATUSD:-}" ]; then
    (cd "$here/../.." && cargo build --release)
fi

# Full colours inside tmux, or the capture would hold the nearest of 256.
cat >"$work/tmux.conf" <<'CONF'
set -g default-terminal "tmux-256color"
set -as terminal-features ",*:RGB"
set -g status off
CONF
unset NO_COLOR TMUX
LC_ALL=C.UTF-8 COLORTERM=truecolor tmux -L "$socket" -f "$work/tmux.conf" \
    new-session -d -s demo -x "$columns" -y 20 "exec '$here/../demo.sh' --seconds 60"
sleep "$seconds"
tmux -L "$socket" capture-pane -t demo -ep >"$work/screen"

mkdir -p "$(dirname "$picture")"
python3 "$here/screen_to_svg.py" --title "ccstatusd" --columns "$columns" \
    <"$work/screen" >"$work/picture.svg"
mv "$work/picture.svg" "$picture"
echo "$picture"
