#!/bin/sh
# Starts the watcher when a session starts. If the program is missing, line.js says so.

# A relative part of PATH could lead to a program in the session's directory.
cd / || exit 0

program=${CLAUDE_PLUGIN_OPTION_BINARY:-ccstatusd}
case $program in
\~/*) program=$HOME/${program#??} ;;
esac
command -v "$program" >/dev/null && "$program" start </dev/null >/dev/null 2>&1
# A session does not depend on its status line.
exit 0
