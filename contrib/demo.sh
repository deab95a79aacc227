#!/usr/bin/env bash
# Shows the status lines of three sessions that are played in a sandbox. Removes it at the end.
#
#   contrib/demo.sh                  runs until Ctrl-C
#   contrib/demo.sh --seconds 30     runs for 30 seconds
#   contrib/demo.sh --check          needs no terminal: checks that every line shows the facts of its
#                                    own session, and that no process is left running
#
# demo_sessions.py plays three Claude Code sessions: it writes their transcripts and works in git
# repositories. A real watcher watches them. Each line on the screen is the output of `ccstatusd
# show` for the document that Claude Code would pass to the status line of that session.
#
# Needs git, python3 and cargo. If $CCSTATUSD names a built program, cargo is not needed.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds=
mode=live

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

while [ $# -gt 0 ]; do
    case $1 in
        --seconds)
            case ${2-} in
                '' | *[!0-9]*) echo "demo.sh: --seconds needs a number" >&2; exit 2 ;;
            esac
            seconds=$2
            shift
            ;;
        --check) mode=check ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
if [ $mode = live ] && [ ! -t 1 ]; then
    echo "demo.sh: standard output is not a terminal; use --check without one" >&2
    exit 2
fi

# --- the program ------------------------------------------------------------------------------

# Must run before HOME changes: cargo, rustup and pyenv find their files through HOME.
python=$(python3 -c 'import sys; print(sys.executable)')
if [ -z "${CCSTATUSD:-}" ]; then
    (cd "$here/.." && cargo build --release)
    target=$(cd "$here/.." && cargo metadata --format-version 1 --no-deps |
        "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    CCSTATUSD=$target/release/ccstatusd
fi
ccstatusd=$(cd "$(dirname "$CCSTATUSD")" && pwd)/$(basename "$CCSTATUSD")

# --- the sandbox ------------------------------------------------------------------------------

# The path without symbolic links: on macOS /tmp is one, and a session is matched by its directory.
box=$(cd "$(mktemp -d "${TMPDIR:-/tmp}/ccstatusd-demo.XXXXXX")" && pwd -P)
players=()
watcher=
late=no

start_watcher() {
    "$ccstatusd" >>"$box/watcher.out" 2>>"$box/watcher.err" </dev/null &
    watcher=$!
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# Ends the processes that this script started, and no others. Each must end within 2.2 s of SIGTERM.
stop_all() {
    local pid tries
    for pid in ${players[@]+"${players[@]}"} $watcher; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in ${players[@]+"${players[@]}"} $watcher; do
        tries=0
        while alive "$pid" && [ $tries -lt 22 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        if alive "$pid"; then
            late=yes
            kill -KILL "$pid" 2>/dev/null || true
        fi
        wait "$pid" 2>/dev/null || true
    done
    players=()
    watcher=
}

clean_up() {
    local code=$?
    trap '' INT TERM HUP
    trap - EXIT
    # Restores wrapping, the cursor and the screen that `live` replaced. Fails if the terminal is gone.
    [ $mode = check ] || printf '\e[?7h\e[?25h\e[?1049l' || true
    stop_all
    rm -rf "$box"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The caller's environment must not change what is shown: its configuration, its git variables, or
# the Claude Code session that this script may have been started in.
unset "${!GIT_@}" "${!XDG_@}" CLAUDE_CODE_SESSION_ID CLAUDE_PROJECT_DIR NOTIFY_SOCKET
export HOME=$box/home CCSTATUSD_DIR=$box/state GIT_CONFIG_NOSYSTEM=1
export CLAUDE_CONFIG_DIR=$box/root-work,$box/root-home

play="$here/demo_sessions.py"
"$python" "$play" setup "$box"
ids=() accounts=() repos=()
while IFS=$'\t' read -r id account repo _; do
    ids+=("$id") accounts+=("$account") repos+=("$repo")
done < <("$python" "$play" list "$box")

start_watcher
[ $mode = live ] || export DEMO_PACE=0.3
for nth in "${!ids[@]}"; do
    "$python" "$play" play "$box" "$nth" 2>>"$box/players.err" </dev/null &
    players+=($!)
done

# The status line of session $1 in a terminal that is $2 columns wide.
status_line() {
    COLUMNS=$2 CLAUDE_CODE_SESSION_ID=$1 "$ccstatusd" show <"$box/stdin/$1.json"
}

# --- live -------------------------------------------------------------------------------------

bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'

# Prints a frame over the previous one, all at once so that nothing flickers.
draw() {
    local columns frame nth line event state=running
    columns=$(stty size </dev/tty 2>/dev/null | cut -d' ' -f2 || true)
    columns=${columns:-80}
    alive "$watcher" || state=dead
    frame=$'\e[H'" ${bold}ccstatusd${plain} ${dim}·${plain} three sessions, two accounts"
    frame+=" ${dim}· watcher $state · $SECONDS s · Ctrl-C ends${plain}"$'\e[K\n\e[K\n'
    for nth in "${!ids[@]}"; do
        event=$(cat "$box/events/${ids[nth]}")
        frame+=" ${dim}session $((nth + 1)) · account ${accounts[nth]} · ${repos[nth]}"
        frame+=" · just now: $event${plain}"$'\e[K\n'
        while IFS= read -r line; do
            frame+="  $line${plain}"$'\e[K\n'
        done <<<"$(status_line "${ids[nth]}" $((columns - 2)) || echo "(show failed: $?)")"
        frame+=$'\e[K\n'
    done
    printf '%s\e[J' "$frame"
}

live() {
    # Switches to the alternate screen, hides the cursor and turns wrapping off.
    printf '\e[?1049h\e[?25l\e[?7l'
    SECONDS=0
    while [ -z "$seconds" ] || [ "$SECONDS" -lt "$seconds" ]; do
        draw
        sleep 0.5
    done
}

# --- check ------------------------------------------------------------------------------------

# Prints the processes whose environment names the sandbox. Prints nothing where there is no /proc.
left_running() {
    [ -d /proc/self ] || return 0
    # The pattern is passed on stdin and the environment is empty, or grep would find itself.
    printf '%s\n' "$box" | env -i "$(command -v grep)" -lasF -f - /proc/[0-9]*/environ || true
}

check() {
    local failed=no id line tries=0 left
    until [ -s "$CCSTATUSD_DIR/snapshot.json" ] || [ $tries -ge 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    SECONDS=0
    while [ "$SECONDS" -lt "${seconds:-12}" ]; do
        for id in "${ids[@]}"; do
            if ! line=$(NO_COLOR=1 status_line "$id" 220) || [ -z "$line" ]; then
                echo "FAIL: show printed nothing, or failed"
                failed=yes
            fi
            printf '%s\n' "${line//$'\n'/ }" >>"$box/seen/$id"
            if [ -e "$CCSTATUSD_DIR/lines/$id" ]; then
                tr '\n' ' ' <"$CCSTATUSD_DIR/lines/$id" >>"$box/seen/$id.cat"
                echo >>"$box/seen/$id.cat"
            fi
        done
        sleep 0.4
    done
    for nth in "${!players[@]}"; do
        alive "${players[nth]}" || { echo "FAIL: player $nth ended early"; failed=yes; }
    done
    alive "$watcher" || { echo "FAIL: the watcher ended early"; failed=yes; }

    stop_all
    [ $late = no ] || { echo "FAIL: something did not end within 2 s of SIGTERM"; failed=yes; }
    left=$(left_running)
    [ -z "$left" ] || { echo "FAIL: still running: $left"; failed=yes; }
    "$python" "$play" check "$box" || failed=yes

    if [ $failed = yes ]; then
        tail -n 20 "$box"/watcher.err "$box"/players.err 2>/dev/null || true
        return 1
    fi
}

$mode
