#!/bin/sh
# The smallest display: prints the line that the watcher keeps ready for this session.
#
# In Claude Code's settings.json:
#   "statusLine": { "type": "command", "command": "sh /path/to/statusline.sh" }
#
# It needs a running `ccstatusd`, starts one `cat` and nothing else, and always prints something.
# The watcher ends the line with the time at which it drew it, since `cat` cannot show its age.

case ${CCSTATUSD_DIR-} in
/*) dir=$CCSTATUSD_DIR ;;
*)
    # A relative path is ignored: the watcher works in another directory, where it leads elsewhere.
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
if [ -f "$line" ] && [ -r "$line" ] && [ -s "$line" ]; then
    exec cat "$line"
fi
printf 'no data yet: start ccstatusd'
