#!/bin/sh
# Prints the line that the watcher has published for this session. A status line without
# `ccstatusd show`.
#
# In Claude Code's settings.json:
#   "statusLine": { "type": "command", "command": "sh /path/to/statusline.sh" }
#
# Needs a running `ccstatusd`. Starts no program but one `cat`, and always prints something. The
# line ends with the time at which the watcher drew it, because `cat` cannot show its age.

case ${CCSTATUSD_DIR-} in
/*) dir=$CCSTATUSD_DIR ;;
*)
    # A relative path is ignored: the watcher would resolve it from another directory.
    case ${XDG_STATE_HOME-} in
    /*) dir=$XDG_STATE_HOME/ccstatusd ;;
    *) dir=${HOME-}/.local/state/ccstatusd ;;
    esac
    ;;
esac

case ${CLAUDE_CODE_SESSION_ID-} in
'' | *[!A-Za-z0-9_-]*)
    printf 'ccstatusd: CLAUDE_CODE_SESSION_ID names no session'
    exit 0
    ;;
esac

line=$dir/lines/$CLAUDE_CODE_SESSION_ID
# Another user's directory is not read. POSIX lacks -O, and every shell has it.
# shellcheck disable=SC3067
if [ -O "$dir" ] && [ -O "$line" ] && [ -f "$line" ] && [ -r "$line" ] && [ -s "$line" ]; then
    exec cat "$line"
fi
printf 'no data yet: ccstatusd start'
