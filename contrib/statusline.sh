#!/bin/sh
# The smallest display: prints the line that the watcher keeps ready for this session.
#
# In Claude Code's settings.json:
#   "statusLine": { "type": "command", "command": "sh /path/to/statusline.sh" }
#
# It needs a running `ccstatusd`, starts one `cat` and nothing else, and always prints something.
# The line ends with the time at which it was drawn: `cat` cannot know how old it is.

case ${CCSTATUSD_DIR-} in
/*) dir=$CCSTATUSD_DIR ;;
*)
    # A relative path would mean another place to the watcher than it means here.
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
